//! The unattended check: nights with their evenings, every object compared, clients steered right while things go wrong, and what one
//! appliance serves over HTTP and HTTPS.

mod bundles;
mod compared;
mod serving;
mod steering;

use std::path::Path;
use std::time::Instant;

use control_client::sources::SourceKind;

use crate::failure::{Failure, Step};
use crate::night::{self, Filled, NightOptions};
use crate::system::{System, mebibytes};
use crate::table;
use crate::title;
use compared::Compared;
use steering::Scene;

/// Checks everything, prints what was compared, and says whether all of it was right.
pub async fn run(options: &NightOptions) -> Result<bool, Failure> {
    let began = Instant::now();
    let program = std::env::current_exe().step("finding this program")?;
    let all = check(&program, options, began).await?;
    let is_right = all.iter().all(|part| part.problems.is_empty());
    compared::print(&all);
    println!(
        "{} in {:.1} s",
        if is_right { "all right" } else { "NOT right" },
        began.elapsed().as_secs_f64()
    );
    Ok(is_right)
}

async fn check(program: &Path, options: &NightOptions, began: Instant) -> Result<Vec<Compared>, Failure> {
    let files = title::read()?;
    let mut say = |line: String| println!("{:>6.1} s  {line}", began.elapsed().as_secs_f64());
    let mut system = System::start(program, &options.system(), &mut say).await?;
    let mut all = Vec::new();
    for night in 0..options.nights.max(1) {
        if night > 0 {
            let known = system.members.iter().map(|member| format!("http://{}", member.http())).collect();
            let evening = options.evening(night - 1, known);
            let played = night::evening(&system, &evening).await?;
            say(format!("evening {night}: {} objects watched: {}", played.objects, played.senders_text()));
            let mut compared = Compared::new(format!("evening {night}: every object that viewers got"));
            compared.requests = played.objects as usize;
            compared.bytes = played.bytes;
            compared.problems.extend(played.problems);
            all.push(compared);
            if let Some(title) = night::day(&mut system, &evening, night).await? {
                say(format!("day {night}: {} appears in a new edition", system.titles[title].name));
            }
        }
        night::wait_for_manifests(&system).await?;
        let sent_before = system.origin.counters().await?.body_bytes;
        let filled = night::fill(&system).await?;
        let sent = system.origin.counters().await?.body_bytes - sent_before;
        say(format!("night {}: {} left the origin", night + 1, mebibytes(sent)));
        println!("\n{}", night::table(&filled));
        all.push(night_compared(night + 1, &filled, sent));
    }
    all.extend(bundles::check(&system, "after the last night").await?);
    all.extend(serving::check(&system.members[0], &system.certificate, &files).await?);
    let scenes = steering::check(&mut system).await?;
    print_scenes(&scenes);
    all.extend(scenes.into_iter().map(|scene| scene.compared));
    all.extend(bundles::check(&system, "at the end").await?);
    all.push(serving::stop(&mut system.members[0]).await?);
    let mut ended = Compared::new("everything else stops with exit code 0");
    let is_well = system.stop().await?;
    ended.expect(is_well, || "a process ended with another code; its last words are above".to_owned());
    all.push(ended);
    Ok(all)
}

/// A night is right when every planned bundle was published, and when what two appliances of a site hold crossed the WAN once.
fn night_compared(night: u32, filled: &[Filled], sent: u64) -> Compared {
    let mut compared =
        Compared::new(format!("night {night}: everything planned is published, one copy from the origin"));
    compared.problems.extend(night::problems(filled));
    for Filled { appliance, run } in filled {
        compared.requests += run.published_bundles as usize;
        compared.bytes += run.published_bytes;
        compared.expect(run.published_bundles == run.planned_bundles, || {
            format!("{appliance}: {} of {} bundles published", run.published_bundles, run.planned_bundles)
        });
    }
    let reported = night::bytes_from(filled, SourceKind::Origin);
    compared.expect(sent == reported, || format!("{sent} bytes left the origin, {reported} were reported"));
    compared
}

fn print_scenes(scenes: &[Scene]) {
    let mut rows = vec![["what happened", "noticed after", "where clients go"].map(str::to_owned).to_vec()];
    for scene in scenes {
        let noticed = format!("{:.1} s", scene.noticed.as_secs_f64());
        rows.push(vec![scene.what.to_owned(), noticed, scene.list.clone()]);
    }
    println!("\n{}", table::render(&rows));
}

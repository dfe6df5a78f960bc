//! The unattended check: nights with their evenings, every object compared, clients steered right while things go wrong, and what one
//! appliance serves over HTTP and HTTPS.

mod bundles;
mod compared;
mod nights;
mod serving;
mod steering;

use std::path::Path;
use std::time::Instant;

use crate::failure::{Failure, Step};
use crate::night::NightOptions;
use crate::system::System;
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
    let mut all = nights::check(&mut system, options, &mut say).await?;
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

fn print_scenes(scenes: &[Scene]) {
    let mut rows = vec![["what happened", "noticed after", "where clients go"].map(str::to_owned).to_vec()];
    for scene in scenes {
        let noticed = format!("{:.1} s", scene.noticed.as_secs_f64());
        rows.push(vec![scene.what.to_owned(), noticed, scene.list.clone()]);
    }
    println!("\n{}", table::render(&rows));
}

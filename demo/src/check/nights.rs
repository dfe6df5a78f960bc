//! Nights, with an evening between two of them: everything planned is published, one copy crosses the WAN, what viewers do changes the
//! next manifest, and a new edition replaces the old one.

use std::collections::BTreeSet;

use control_client::fill::{FillRun, RunOutcome};
use control_client::sources::SourceKind;

use super::compared::Compared;
use crate::catalogue::TitleBundle;
use crate::failure::Failure;
use crate::night::{self, Filled, NightOptions};
use crate::system::{System, mebibytes};

/// What may leave the origin beyond one copy, in percent: a peer may be slower than an appliance is patient.
const EXCESS_PERCENT: u64 = 5;

/// Has all nights pass.
pub(super) async fn check(
    system: &mut System,
    options: &NightOptions,
    say: &mut dyn FnMut(String),
) -> Result<Vec<Compared>, Failure> {
    let mut all = Vec::new();
    night::wait_for_manifests(system).await?;
    let mut before = one_night(system, 1, &mut all, say).await?;
    for night in 1..options.nights {
        let has_edition = evening(system, options, night, &mut all, say).await?;
        let filled = one_night(system, night + 1, &mut all, say).await?;
        all.push(changes(night + 1, &before, &filled, has_edition));
        before = filled;
    }
    Ok(all)
}

async fn one_night(
    system: &System,
    night: u32,
    all: &mut Vec<Compared>,
    say: &mut dyn FnMut(String),
) -> Result<Vec<Filled>, Failure> {
    let sent_before = system.origin.counters().await?.body_bytes;
    let held_before = held(system).await?;
    let filled = night::fill(system).await?;
    let sent = system.origin.counters().await?.body_bytes - sent_before;
    let new: BTreeSet<(String, u64)> = held(system).await?.difference(&held_before).cloned().collect();
    say(format!("night {night}: {} left the origin", mebibytes(sent)));
    println!("\n{}", night::table(&filled));
    all.push(compared(night, &filled, sent, bytes_of(system, &new)));
    Ok(filled)
}

/// Paths and generations that the site holds, each once.
async fn held(system: &System) -> Result<BTreeSet<(String, u64)>, Failure> {
    let mut held = BTreeSet::new();
    for member in &system.members {
        let entries = member.held().await?;
        held.extend(
            entries.into_iter().map(|entry| (entry.path.as_str().to_owned(), entry.generation.number())),
        );
    }
    Ok(held)
}

/// The bytes of these bundles' objects.
fn bytes_of(system: &System, bundles: &BTreeSet<(String, u64)>) -> u64 {
    let known =
        || std::iter::once(&system.sample).chain(system.titles.iter()).flat_map(|title| &title.bundles);
    let bytes = |path: &str| known().find(|bundle| bundle.path == path).map_or(0, TitleBundle::bytes);
    bundles.iter().map(|(path, _)| bytes(path)).sum()
}

/// The evening after a night, and the day after it; whether a title appeared in a new edition that day.
async fn evening(
    system: &mut System,
    options: &NightOptions,
    night: u32,
    all: &mut Vec<Compared>,
    say: &mut dyn FnMut(String),
) -> Result<bool, Failure> {
    if options.titles == 0 {
        return Ok(false);
    }
    let known = system.members.iter().map(|member| format!("http://{}", member.http())).collect();
    let evening = options.evening(night - 1, known);
    let played = night::evening(system, &evening).await?;
    say(format!("evening {night}: {} objects watched: {}", played.objects, played.senders_text()));
    let mut compared = Compared::new(format!("evening {night}: every object that viewers got"));
    compared.requests = played.objects as usize;
    compared.bytes = played.bytes;
    compared.problems.extend(played.problems);
    all.push(compared);
    let title = night::day(system, &evening, night).await?;
    if let Some(title) = title {
        say(format!("day {night}: {} appears in a new edition", system.titles[title].name));
    }
    Ok(title.is_some())
}

/// Every planned bundle was published; what is new in the site left the origin once: `copy` is the bytes of that.
fn compared(night: u32, filled: &[Filled], sent: u64, copy: u64) -> Compared {
    let what = format!("night {night}: everything planned is published, one copy from the origin");
    let mut compared = Compared::new(what);
    compared.problems.extend(night::problems(filled));
    for Filled { appliance, run } in filled {
        compared.requests += run.published_bundles as usize;
        compared.bytes += run.published_bytes;
        // What was received counts against the night's bytes, with whatever came in vain: the last bundles of a plan that fills the
        // night exactly may have to wait for the next.
        let is_done = run.published_bundles == run.planned_bundles || run.outcome == RunOutcome::Suspended;
        compared.expect(is_done, || {
            format!("{appliance}: {} of {} bundles published", run.published_bundles, run.planned_bundles)
        });
    }
    let reported = night::bytes_from(filled, SourceKind::Origin);
    compared.expect(sent == reported, || format!("{sent} bytes left the origin, {reported} were reported"));
    compared.expect(sent <= copy + copy * EXCESS_PERCENT / 100, || {
        format!("{sent} bytes left the origin for one copy of {copy}")
    });
    compared
}

/// What was watched, and what is new, made another manifest; the old edition went.
fn changes(night: u32, before: &[Filled], after: &[Filled], has_edition: bool) -> Compared {
    let mut compared = Compared::new(format!("night {night}: another manifest, and the old edition retired"));
    let retired = |run: &FillRun| run.retired_bundles > 0;
    for (before, after) in before.iter().zip(after) {
        let (old, new) = (before.run.manifest_sequence, after.run.manifest_sequence);
        compared
            .expect(!has_edition || new > old, || format!("{}: manifest {new} after {old}", after.appliance));
        compared.expect(!has_edition || retired(&after.run), || {
            format!("{}: nothing was retired", after.appliance)
        });
    }
    compared
}

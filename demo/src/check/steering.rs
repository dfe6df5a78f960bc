//! Where clients are sent while things go wrong: an appliance lacks a title, drains, is killed, comes back; the control plane is
//! killed and comes back. Each time the client plays the sample title, and every byte is compared.

use std::time::Duration;

use control_client::admin::Retire;
use control_client::report::Order;
use control_client::steering::SteeringAnswer;

use super::compared::Compared;
use crate::catalogue::TitleBundle;
use crate::failure::{Failure, Step};
use crate::process::eventually;
use crate::system::System;
use crate::viewer::{Played, name_of};

/// How long the control plane may take to see what has happened.
const NOTICE_PATIENCE: Duration = Duration::from_secs(20);

/// Another one than those before it.
const NIGHT_AFTER_EVICTION: u32 = 29;

/// What each scene is about, and where the client was sent.
pub(super) struct Scene {
    /// What happened.
    pub(super) what: &'static str,
    /// Where the client was sent, in that order.
    pub(super) list: String,
    /// How long the control plane took to see it.
    pub(super) noticed: Duration,
    /// What was played, and how it was right.
    pub(super) compared: Compared,
}

/// Plays all scenes.
pub(super) async fn check(system: &mut System) -> Result<Vec<Scene>, Failure> {
    let mut scenes = vec![all_is_well(system).await?, lacking(system).await?, draining(system).await?];
    scenes.extend(killed(system).await?);
    scenes.push(without_control_plane(system).await?);
    Ok(scenes)
}

/// The bundle that is played in the scenes.
fn stage(system: &System) -> Result<TitleBundle, Failure> {
    let path = format!("{}/720p", system.sample.path);
    let bundle = system.sample.bundles.iter().find(|bundle| bundle.path == path);
    bundle.cloned().ok_or_else(|| Failure::new("the sample title has no 720p"))
}

fn names(answer: &SteeringAnswer) -> Vec<String> {
    answer.candidates.iter().map(name_of).collect()
}

/// Waits until the client's list is as it should be, then plays by it.
async fn scene(
    system: &System,
    what: &'static str,
    is_right: impl Fn(&[String]) -> bool,
) -> Result<Scene, Failure> {
    let began = std::time::Instant::now();
    let (viewer, bundle) = (system.viewer()?, stage(system)?);
    let mut last = String::new();
    let answer = eventually(what, NOTICE_PATIENCE, async || {
        let answer = viewer.steer(&bundle.path, true).await?;
        last = explain(&answer);
        Ok(is_right(&names(&answer)).then_some(answer))
    })
    .await
    .map_err(|failure| Failure::new(format!("{failure}; the last answer: {last}")))?;
    let noticed = began.elapsed();
    let played = viewer.watch(&bundle, 0, usize::MAX, system.tree()).await?;
    let mut compared = compared(what, &played, &bundle);
    let first = names(&answer)[0].clone();
    compared.expect(played.senders.keys().eq([&first]), || {
        format!("sent to {first} first, and it came from {}", played.senders_text())
    });
    Ok(Scene { what, list: names(&answer).join(", "), noticed, compared })
}

fn compared(what: &str, played: &Played, bundle: &TitleBundle) -> Compared {
    let mut compared = Compared::new(format!("played: {what}"));
    compared.requests = played.objects as usize;
    compared.bytes = played.bytes;
    compared.problems.extend(played.problems.clone());
    compared.expect(played.bytes == bundle.bytes(), || {
        format!("{} of {} bytes came", played.bytes, bundle.bytes())
    });
    compared
}

fn explain(answer: &SteeringAnswer) -> String {
    let explained: Vec<String> = answer
        .explanation
        .iter()
        .map(|explained| format!("{}: {}", explained.appliance, explained.why))
        .collect();
    format!("[{}]; {}", names(answer).join(", "), explained.join("; "))
}

async fn all_is_well(system: &System) -> Result<Scene, Failure> {
    scene(system, "both appliances have the title", |names| {
        names.len() >= 2 && names.iter().take(2).all(|name| name.starts_with("oca-"))
    })
    .await
}

/// The first appliance evicts the bundle; the window is closed, so it does not come back by itself.
async fn lacking(system: &mut System) -> Result<Scene, Failure> {
    let (first, second) = (&system.members[0], &system.members[1]);
    let path = stage(system)?.path;
    let path = control_client::content::BundlePath::parse(&path).step("the path")?;
    let retire = Retire { version: Default::default(), path, generation: None };
    first.premises().admin().retire(retire).await.step("evicting the bundle")?;
    let (lacks, has) = (first.name().to_owned(), second.name().to_owned());
    let scene =
        scene(system, "one appliance lacks the title", |names| names[0] == has && !names.contains(&lacks))
            .await?;
    // Another night brings it back.
    for member in &mut system.members {
        member.begin_night(NIGHT_AFTER_EVICTION).await?;
    }
    let filled = crate::night::fill(system).await?;
    match crate::night::problems(&filled).first() {
        Some(problem) => Err(Failure::new(format!("filling again what was evicted: {problem}"))),
        None => Ok(scene),
    }
}

/// The control plane tells the first appliance to drain; afterwards to serve again.
async fn draining(system: &System) -> Result<Scene, Failure> {
    all_is_well(system).await?;
    let (first, second) = (system.members[0].name().to_owned(), system.members[1].name().to_owned());
    system.control_plane.order(&first, &Order::Drain).await?;
    let drained =
        scene(system, "one appliance drains", |names| names[0] == second && !names.contains(&first)).await;
    system.control_plane.order(&first, &Order::Undrain).await?;
    all_is_well(system).await?;
    drained
}

/// The second appliance's daemon is killed: before the control plane has noticed, the client goes on with the next in its list.
async fn killed(system: &mut System) -> Result<Vec<Scene>, Failure> {
    let (viewer, bundle) = (system.viewer()?, stage(system)?);
    let (first, second) = (system.members[0].name().to_owned(), system.members[1].name().to_owned());
    system.members[1].kill_daemon()?;
    let at_once = viewer.watch(&bundle, 0, usize::MAX, system.tree()).await?;
    let mut at_once_compared = compared("one appliance was killed this moment", &at_once, &bundle);
    at_once_compared.expect(at_once.senders.keys().eq([&first]), || at_once.senders_text());
    let list = format!("{first} sent it after {} others did not answer", at_once.fallbacks);
    let at_once = Scene {
        what: "one appliance was killed this moment",
        list,
        noticed: Duration::ZERO,
        compared: at_once_compared,
    };
    let noticed = scene(system, "one appliance is dead, and that is known", |names| {
        names[0] == first && !names.contains(&second)
    })
    .await?;
    system.members[1].start_daemon().await?;
    let back = scene(system, "it was started again", |names| {
        names.len() >= 2 && names.contains(&first) && names.contains(&second)
    })
    .await?;
    Ok(vec![at_once, noticed, back])
}

/// The control plane is killed: a client that has its list plays by it, the appliances serve on, and afterwards they report again.
async fn without_control_plane(system: &mut System) -> Result<Scene, Failure> {
    let what = "the control plane was killed, and came back";
    let (viewer, bundle) = (system.viewer()?, stage(system)?);
    let answer = viewer.steer(&bundle.path, false).await?;
    system.control_plane.kill()?;
    let played = viewer.watch_by(&answer.candidates, &bundle, 0, usize::MAX, system.tree()).await?;
    let mut compared = compared(what, &played, &bundle);
    let began = std::time::Instant::now();
    system.control_plane.start().await?;
    crate::night::wait_for_reports(system).await?;
    let noticed = began.elapsed();
    let again = all_is_well(system).await?;
    compared.problems.extend(again.compared.problems);
    Ok(Scene { what, list: names(&answer).join(", "), noticed, compared })
}

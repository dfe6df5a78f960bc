//! A volume that pulled content has a share of: bundles leave it its share, and no more than that.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::collections::BTreeMap;
use std::fs::File;

use cache_store::Volume;
use control_client::config::{OnMiss, PullConfig, PullRule};
use control_client::fill::{FillRun, RunOutcome};
use control_client::units::ByteCount;
use rustix::fs::{FallocateFlags, fallocate};
use support::appliance::{Appliance, origin};
use support::content::Content;
use support::scripted_source::ScriptedSource;

const MIB: u64 = 1 << 20;

/// What others may take or give back of the memory meanwhile.
const SLACK: u64 = 64 * MIB;

/// All is pulled that is not held, and may take one percent of each volume.
fn pull() -> PullConfig {
    PullConfig {
        rules: vec![PullRule::new("/", OnMiss::Pull, "")],
        volume_percent: 1,
        ..PullConfig::default()
    }
}

fn space(appliance: &Appliance) -> (u64, u64) {
    let space = Volume::open(&appliance.volume(), false).unwrap().space().unwrap();
    (space.free_bytes, space.total_bytes)
}

/// A run with so much room beside `fill.keep_free`, while nothing or all that misses is pulled.
async fn run_with_room(appliance: &mut Appliance, room_bytes: u64, pull: PullConfig) -> FillRun {
    let mut config = appliance.agent.config.clone();
    config.fill.keep_free = ByteCount::new(space(appliance).0 - room_bytes);
    config.pull = pull;
    appliance.restart_with(config);
    appliance.run().await
}

/// As if so much had been pulled.
fn put_demand_content(appliance: &Appliance, bytes: u64) {
    let folder = appliance.volume().join("demand");
    std::fs::create_dir(&folder).unwrap();
    let file = File::create(folder.join("segment")).unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_pulled_content_may_take_is_not_filled_with_bundles() {
    let content = Content::new("/titles/a", 1, &[4 * MIB as usize]);
    let source = ScriptedSource::right(&[&content]);
    let mut appliance = Appliance::in_memory(&[(&content, vec![origin(source.url())])], |_| {});
    let share = space(&appliance).1 / 100;
    let run = run_with_room(&mut appliance, share / 2, pull()).await;
    assert_eq!((run.outcome, run.planned_bundles), (RunOutcome::Completed, 0), "{run:?}");
    // Once it is there, it is not kept free a second time.
    put_demand_content(&appliance, share);
    let run = run_with_room(&mut appliance, SLACK, pull()).await;
    // Planned is enough: the descriptor, which nobody serves here, went with the run that did not want it.
    assert_eq!(run.planned_bundles, 1, "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_is_pulled_bundles_may_have_all() {
    let content = Content::new("/titles/a", 1, &[4 * MIB as usize]);
    let source = ScriptedSource::right(&[&content]);
    let mut appliance = Appliance::in_memory(&[(&content, vec![origin(source.url())])], |_| {});
    let share = space(&appliance).1 / 100;
    let run = run_with_room(&mut appliance, share / 2, PullConfig::default()).await;
    assert_eq!((run.planned_bundles, run.published_bundles), (1, 1), "{run:?}");
}

/// Found in review: over a full volume no title was updated any more, and pulled content got none of its share where nothing is kept
/// free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_full_volume_titles_are_updated_still_and_what_nobody_wants_gives_way_to_pulled_content() {
    let (old, unwanted) =
        (Content::new("/titles/a", 1, &[1_000]), Content::new("/titles/unwanted", 1, &[1_000]));
    let new = Content::new("/titles/a", 2, &[4 * MIB as usize]);
    let source = ScriptedSource::right(&[&new]);
    let mut appliance = Appliance::in_memory(&[(&new, vec![origin(source.url())])], |_| {});
    appliance.daemon.hold(&old.key(), SLACK * 3 / 2);
    appliance.daemon.hold(&unwanted.key(), SLACK * 2);
    let (free, total) = space(&appliance);
    let mut config = appliance.agent.config.clone();
    // There is room for nothing, and of what is to stay free pulled content has taken some.
    config.fill.keep_free = ByteCount::new(free);
    config.pull = pull();
    appliance.restart_with(config);
    put_demand_content(&appliance, total / 100 * 3 / 4);
    let run = appliance.run().await;
    assert_eq!((run.outcome, run.published_bundles), (RunOutcome::Completed, 1), "{run:?}");
    assert_eq!((appliance.daemon.held(), run.retired_bundles), (vec![new.key()], 2));
}

async fn room_bytes(appliance: &Appliance) -> i128 {
    appliance.agent.volumes.capacity_bytes(&BTreeMap::new()).await.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_capacity_that_is_told_leaves_out_the_share_of_pulled_content_whether_it_is_there_or_not() {
    let mut appliance = Appliance::in_memory(&[], |_| {});
    let all = room_bytes(&appliance).await;
    let share = space(&appliance).1 / 100;
    let mut config = appliance.agent.config.clone();
    config.pull = pull();
    appliance.restart_with(config);
    let before = room_bytes(&appliance).await;
    assert!((all - before - i128::from(share)).unsigned_abs() < SLACK.into(), "{all} {before} {share}");
    put_demand_content(&appliance, share);
    let after = room_bytes(&appliance).await;
    assert!(before.abs_diff(after) < SLACK.into(), "{before} {after}");
}

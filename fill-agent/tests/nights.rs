//! Nights as data: each file in `nights/` tells an appliance, what is on its disks and in its manifest, what
//! happens, and, line by line, what the night has to look like.
//!
//! Plan, window, pace, breaker, escalation, yielding and night budget are the real ones. Simulated are the
//! clock, the disks and the sources, and the loop around them; while it runs, every second is held against
//! what no night may do.
//!
//! With `OCA_WRITE_NIGHTS` set, a night that differs is written into its file, for a reader to judge.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "nights/agent.rs"]
mod agent;
#[path = "nights/diary.rs"]
mod diary;
#[path = "nights/night.rs"]
mod night;
#[path = "nights/scenario.rs"]
mod scenario;
#[path = "nights/simulated_clock.rs"]
mod simulated_clock;
#[path = "nights/simulated_disk.rs"]
mod simulated_disk;
#[path = "nights/simulated_source.rs"]
mod simulated_source;
#[path = "nights/transfer.rs"]
mod transfer;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use night::Night;
use scenario::Scenario;

macro_rules! nights {
    ($($name:ident)+) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )+

        const NIGHTS: &[&str] = &[$(stringify!($name)),+];
    };
}

nights! {
    nothing_to_do
    an_empty_appliance
    an_ordinary_night
    the_window_closes_mid_run
    a_window_over_midnight
    daylight_saving_time_begins_in_the_window
    daylight_saving_time_ends_in_the_window
    the_clock_jumps_forward_unsynchronised
    the_clock_jumps_out_of_the_window
    the_clock_jumps_back_into_a_spent_night
    the_origin_is_slow
    the_origin_is_away_for_an_hour
    the_origin_is_away_all_night
    the_origin_is_busy
    a_source_stalls
    a_peer_lies
    a_peer_gets_it_first
    a_peer_never_gets_it
    the_disk_fills_up
    a_volume_is_lost
    the_catalogue_is_larger_than_the_disk
    the_nights_bytes_are_spent
    a_licence_expires_tonight
    prewarmed_before_release
    pinned_whatever_it_takes
    a_new_generation
    a_new_generation_on_a_full_disk
    much_the_same_popularity
    no_longer_in_the_manifest
    a_new_manifest_mid_run
    killed_mid_bundle
    viewers_come_first
}

#[test]
fn every_file_is_one_of_the_nights() {
    let files = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name());
    let names = files.filter_map(|name| Some(name.to_str()?.strip_suffix(".toml")?.to_owned()));
    let named: BTreeSet<String> = NIGHTS.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(names.collect::<BTreeSet<_>>(), named);
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nights")
}

fn check(name: &str) {
    let file = folder().join(name).with_extension("toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let scenario: Scenario = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let expected = scenario.night.trim().to_owned();
    let found = Night::new(scenario).play();
    if found != expected && std::env::var_os("OCA_WRITE_NIGHTS").is_some() {
        let (before, _) = text.split_once("night = '''").unwrap();
        std::fs::write(&file, format!("{before}night = '''\n{found}\n'''\n")).unwrap();
    }
    assert!(found == expected, "{name}: expected\n{expected}\n\nfound\n{found}\n");
}

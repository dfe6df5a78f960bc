//! What is purged goes for good, whatever restarts, leaves or is configured meanwhile; all else stays.

use control_client::admin::{Purge, Purged};
use control_client::content::BundlePath;
use control_client::wire::DocumentVersion;

use super::client::Client;
use super::support::{Daemon, eventually, runtime};
use super::{LARGE, cache_status, daemon, get, origin, wait_until_it_keeps};

fn purge(daemon: &Daemon, path: &str, prefix: bool) -> Purged {
    let path = BundlePath::parse(path).unwrap();
    runtime().block_on(daemon.admin().purge(Purge { version: DocumentVersion, path, prefix })).unwrap()
}

#[test]
fn what_is_purged_is_pulled_anew_and_what_is_held_outlives_a_restart() {
    let origin = origin();
    let mut daemon = daemon(&origin, "");
    let asked = |target: &str| origin.asked().iter().filter(|asked| asked.target == target).count();
    let ask = |daemon: &Daemon, target: &str| get(&mut Client::connect(daemon.http()), target);
    let is_hit = |daemon: &Daemon, target: &str| cache_status(&ask(daemon, target)).starts_with("oca;hit");
    wait_until_it_keeps(&daemon);
    for target in ["/films/large.mp4", "/films/large.mp4?a", "/films/x/1.mp4"] {
        eventually("it is held", || is_hit(&daemon, target));
    }
    let before = asked("/films/large.mp4");
    assert_eq!((before, asked("/films/large.mp4?a")), (1, 1));

    daemon.restart();
    wait_until_it_keeps(&daemon);
    assert!(is_hit(&daemon, "/films/large.mp4"));
    assert_eq!(asked("/films/large.mp4"), before, "a restart costs upstream nothing");

    let purged = purge(&daemon, "/films/large.mp4", false);
    assert!(purged.bundles.is_empty() && purged.pulled_objects >= 2, "{purged:?}");
    daemon.restart();
    wait_until_it_keeps(&daemon);
    assert!(ask(&daemon, "/films/large.mp4").body == origin::bytes(1, LARGE));
    assert_eq!(asked("/films/large.mp4"), before + 1, "what is purged does not come back");

    eventually("it is held", || is_hit(&daemon, "/films/x/1.mp4"));
    let before = asked("/films/x/1.mp4");
    assert!(purge(&daemon, "/films", true).pulled_objects >= 1);
    assert!(!is_hit(&daemon, "/films/x/1.mp4"));
    assert_eq!(asked("/films/x/1.mp4"), before + 1);
    assert!(daemon.metric("oca_pull_purged_objects_total", "") >= 1);
}

#[test]
fn a_volume_that_was_away_does_not_bring_back_what_was_purged_meanwhile() {
    let (origin, state) = (origin(), tempfile::tempdir().unwrap());
    let lines = format!("missed_purges = {:?}\n", state.path().join("missed-purges"));
    let mut daemon = daemon(&origin, &lines);
    let asked = |target: &str| origin.asked().iter().filter(|asked| asked.target == target).count();
    let ask = |daemon: &Daemon, target: &str| get(&mut Client::connect(daemon.http()), target);
    let is_hit = |daemon: &Daemon, target: &str| cache_status(&ask(daemon, target)).starts_with("oca;hit");
    let (purged, kept) = ("/films/large.mp4", "/films/first.mp4");
    wait_until_it_keeps(&daemon);
    for target in [purged, kept] {
        eventually("it is held", || is_hit(&daemon, target));
    }
    let (volume, away) = (daemon.folder().join("volume"), daemon.folder().join("away"));
    daemon.kill();
    std::fs::rename(&volume, &away).unwrap();
    daemon.restart();
    assert_eq!(purge(&daemon, purged, false).not_reached, [volume.display().to_string()]);

    daemon.kill();
    std::fs::rename(&away, &volume).unwrap();
    daemon.restart();
    wait_until_it_keeps(&daemon);
    let (purged_before, kept_before) = (asked(purged), asked(kept));
    assert!(is_hit(&daemon, kept) && !is_hit(&daemon, purged));
    assert_eq!((asked(purged), asked(kept)), (purged_before + 1, kept_before));
}

#[test]
fn a_purge_says_so_where_a_volume_has_missed_it_and_that_cannot_be_written_down() {
    let origin = origin();
    let mut daemon = daemon(&origin, "");
    wait_until_it_keeps(&daemon);
    daemon.kill();
    std::fs::remove_dir_all(daemon.folder().join("volume")).unwrap();
    // In the way of what is written beside the file.
    std::fs::create_dir(daemon.folder().join("missed-purges.new")).unwrap();
    daemon.restart();
    let path = BundlePath::parse("/films").unwrap();
    let purge = Purge { version: DocumentVersion, path, prefix: true };
    let refused = runtime().block_on(daemon.admin().purge(purge)).unwrap_err().to_string();
    assert!(refused.contains("pulled_not_purged") && refused.contains("missed-purges"), "{refused}");
}

/// Found in review: such a purge was said to be done, and what had been pulled came back with the rule.
#[test]
fn what_is_purged_while_no_rule_pulls_does_not_come_back_when_one_does() {
    let origin = origin();
    let mut daemon = daemon(&origin, "");
    let ask = |daemon: &Daemon, target: &str| get(&mut Client::connect(daemon.http()), target);
    let is_hit = |daemon: &Daemon, target: &str| cache_status(&ask(daemon, target)).starts_with("oca;hit");
    let (purged, kept) = ("/films/large.mp4", "/films/first.mp4");
    wait_until_it_keeps(&daemon);
    for target in [purged, kept] {
        eventually("it is held", || is_hit(&daemon, target));
    }
    let config = daemon.folder().join("config.toml");
    let pulls = std::fs::read_to_string(&config).unwrap();
    daemon.kill();
    std::fs::write(&config, pulls.replace("on_miss = \"pull\"", "on_miss = \"reject\"")).unwrap();
    daemon.restart();
    assert_eq!(ask(&daemon, kept).status, 404);
    assert_eq!(purge(&daemon, purged, false).pulled_objects, 0);

    daemon.kill();
    std::fs::write(&config, pulls).unwrap();
    daemon.restart();
    wait_until_it_keeps(&daemon);
    assert!(is_hit(&daemon, kept) && !is_hit(&daemon, purged));
}

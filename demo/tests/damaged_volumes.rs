//! What a disk does to bundles and inventories while they lie there: cut, lengthened, lost, flipped bits. No
//! wrong byte is sent, metrics and health name the damage, and everything else serves.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support {
    pub(crate) mod at_once;
    pub(crate) mod http;
    pub(crate) mod reading;
    pub(crate) mod site;
}

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use control_client::health::Verdict;

use support::at_once::try_each;
use support::http::Connection;
use support::reading::{
    End, has_reason, publish_all, read_carefully, read_right, samples, wait_until_serving,
};
use support::site::{Daemon, Sample, Site, bundle_files, eventually, file_name};

/// Damages that are tested at once: most of the time goes into waiting for the disk to sync.
const TESTERS: usize = 4;

/// Damages a bundle's file behind the daemon's back.
struct Damage {
    name: &'static str,
    when: When,
    damage: fn(file: &Path, data_bytes: u64) -> io::Result<()>,
    /// What the bundle has to be quarantined for.
    reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// While the daemon does not run.
    Stopped,
    /// While the bundle is not open.
    Unopened,
    /// While its file is open, and its footer is in memory.
    Open,
}

const DAMAGES: &[Damage] = &[
    Damage {
        name: "truncated, stopped",
        when: When::Stopped,
        damage: |file, _| cut(file),
        reason: "truncated",
    },
    Damage {
        name: "truncated, unopened",
        when: When::Unopened,
        damage: |file, _| cut(file),
        reason: "truncated",
    },
    Damage { name: "truncated, open", when: When::Open, damage: |file, _| cut(file), reason: "truncated" },
    Damage {
        name: "emptied, stopped",
        when: When::Stopped,
        damage: |file, _| set_length(file, 0),
        reason: "truncated",
    },
    Damage {
        name: "longer, stopped",
        when: When::Stopped,
        damage: |file, _| lengthen(file),
        reason: "overlong",
    },
    Damage {
        name: "longer, unopened",
        when: When::Unopened,
        damage: |file, _| lengthen(file),
        reason: "overlong",
    },
    Damage {
        name: "gone, stopped",
        when: When::Stopped,
        damage: |file, _| fs::remove_file(file),
        reason: "missing",
    },
    Damage {
        name: "gone, unopened",
        when: When::Unopened,
        damage: |file, _| fs::remove_file(file),
        reason: "missing",
    },
    Damage {
        name: "bit in data, stopped",
        when: When::Stopped,
        damage: |file, data| flip(file, data - 5000),
        reason: "data",
    },
    Damage {
        name: "bit in data, unopened",
        when: When::Unopened,
        damage: |file, data| flip(file, data - 5000),
        reason: "data",
    },
    Damage {
        name: "bit in data, open",
        when: When::Open,
        damage: |file, data| flip(file, data - 5000),
        reason: "data",
    },
    Damage {
        name: "bit in footer, stopped",
        when: When::Stopped,
        damage: |file, data| flip(file, data + 100),
        reason: "footer",
    },
    Damage {
        name: "bit in footer, unopened",
        when: When::Unopened,
        damage: |file, data| flip(file, data + 100),
        reason: "footer",
    },
    Damage {
        name: "bit in trailer, stopped",
        when: When::Stopped,
        damage: |file, _| flip_in_trailer(file),
        reason: "trailer",
    },
    Damage {
        name: "bit in trailer, unopened",
        when: When::Unopened,
        damage: |file, _| flip_in_trailer(file),
        reason: "trailer",
    },
    Damage {
        name: "zeroes, unopened",
        when: When::Unopened,
        damage: |file, _| zero(file),
        reason: "trailer",
    },
];

fn cut(file: &Path) -> io::Result<()> {
    let length = fs::metadata(file)?.len();
    set_length(file, length / 2 / 4096 * 4096)
}

fn set_length(file: &Path, length: u64) -> io::Result<()> {
    File::options().write(true).open(file)?.set_len(length)
}

fn lengthen(file: &Path) -> io::Result<()> {
    set_length(file, fs::metadata(file)?.len() + 4096)
}

fn flip_in_trailer(file: &Path) -> io::Result<()> {
    flip(file, fs::metadata(file)?.len() - 40)
}

fn flip(file: &Path, offset: u64) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(file)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    file.write_all_at(&[byte[0] ^ 0x10], offset)?;
    file.sync_all()
}

fn zero(file: &Path) -> io::Result<()> {
    let length = fs::metadata(file)?.len();
    File::options().write(true).open(file)?.write_all_at(&vec![0; length as usize], 0)
}

#[test]
fn no_wrong_byte_of_a_damaged_bundle_is_sent_and_metrics_and_health_name_the_damage() {
    try_each(DAMAGES, TESTERS, damage_and_read);
}

fn damage_and_read(damage: &Damage) {
    let site = Site::new(1);
    let (whole, damaged) = (Sample::new("/whole", 1, 2, 150_000), Sample::new("/damaged", 1, 2, 150_000));
    [&whole, &damaged].iter().for_each(|sample| sample.publish(site.volume(0)));
    let daemon = site.start();
    wait_until_serving(&site, 2);
    let data_bytes = 2 * 150_000u64.next_multiple_of(4096);
    let file = site.volume(0).join("bundles").join(file_name(&damaged));
    let daemon = match damage.when {
        When::Stopped => {
            assert!(daemon.stop().success());
            (damage.damage)(&file, data_bytes).unwrap();
            site.start()
        }
        When::Unopened => {
            (damage.damage)(&file, data_bytes).unwrap();
            daemon
        }
        When::Open => {
            read_right(&mut Connection::open(daemon.http()).unwrap(), &damaged, "0");
            (damage.damage)(&file, data_bytes).unwrap();
            daemon
        }
    };
    check_damage(&site, &daemon, &whole, &damaged, damage);
    assert!(daemon.stop().success());
}

fn check_damage(site: &Site, daemon: &Daemon<'_>, whole: &Sample, damaged: &Sample, damage: &Damage) {
    // What lies before the damage may be served; the last object never.
    let ends = ["1", "0", "1"].map(|object| read_carefully(daemon.http(), damaged, object));
    assert_ne!(ends[0], End::Right, "{}", damage.name);
    assert_ne!(ends[2], End::Right, "{}", damage.name);
    let reason = format!("\"{}\"", damage.reason);
    eventually(&format!("{}: metrics name it", damage.name), || {
        site.metric("oca_bundles_quarantined_total", &[&reason]) == 1.0
    });
    assert_eq!(site.metric("oca_bundles_quarantined_total", &[]), 1.0, "{}", damage.name);
    eventually(&format!("{}: health names it", damage.name), || {
        has_reason(&site.health(), "bundles_quarantined")
    });
    eventually(&format!("{}: it is out of the inventory", damage.name), || site.serving() == [whole.key()]);
    assert_eq!(site.health().verdict, Verdict::Healthy, "{}", damage.name);
    let mut connection = Connection::open(daemon.http()).unwrap();
    read_right(&mut connection, whole, "0");
    read_right(&mut connection, whole, "1");
    assert_eq!(connection.get(&damaged.request_path("0")).unwrap().head.status, 404, "{}", damage.name);
    eventually(&format!("{}: its file is out of the way", damage.name), || {
        bundle_files(site.volume(0)) == [file_name(whole)]
    });
}

#[test]
fn damage_late_in_a_large_object_cuts_the_response_off_before_the_wrong_byte() {
    let site = Site::new(1);
    let sample = Sample::new("/large", 1, 1, 6 << 20);
    sample.publish(site.volume(0));
    let daemon = site.start();
    wait_until_serving(&site, 1);
    flip(&site.volume(0).join("bundles").join(file_name(&sample)), 5 << 20).unwrap();
    assert_eq!(read_carefully(daemon.http(), &sample, "0"), End::CutOff);
    eventually("the abort is counted", || site.metric("oca_requests_total", &["\"aborted_corrupt\""]) == 1.0);
    assert!(daemon.stop().success());
}

#[test]
fn a_damaged_inventory_is_made_anew_from_the_bundles_and_loses_none() {
    std::thread::scope(|scope| {
        for (name, place, event) in
            [("head", 10, "rebuilt"), ("first record", 50, "rebuilt"), ("last record", -10, "cut")]
        {
            scope.spawn(move || damage_inventory(name, place, event));
        }
    });
}

/// The byte at `place` is another one; where that is negative, so far from the end.
fn damage_inventory(name: &str, place: i64, event: &str) {
    let site = Site::new(1);
    let samples = samples("/held", 12, 50_000);
    publish_all(&samples, site.volume(0));
    let daemon = site.start();
    wait_until_serving(&site, samples.len());
    let retired = &samples[3];
    site.retire(retired).unwrap();
    assert!(daemon.stop().success());

    let journal = site.volume(0).join("inventory/journal");
    let length = i64::try_from(fs::metadata(&journal).unwrap().len()).unwrap();
    let place = if place < 0 { length + place } else { place };
    flip(&journal, place as u64).unwrap();
    let daemon = site.start();
    wait_until_serving(&site, samples.len() - 1);
    let mut connection = Connection::open(daemon.http()).unwrap();
    for sample in samples.iter().filter(|sample| *sample != retired) {
        read_right(&mut connection, sample, "0");
        read_right(&mut connection, sample, "1");
    }
    assert_eq!(
        connection.get(&retired.request_path("0")).unwrap().head.status,
        404,
        "{name}: a retired bundle is back"
    );
    let event = format!("\"{event}\"");
    assert_eq!(site.metric("oca_journal_events_total", &[&event]), 1.0, "{name}");
    if event == "\"rebuilt\"" {
        eventually("health names it", || has_reason(&site.health(), "inventory_rebuilt"));
    }
    assert!(daemon.stop().success());
}

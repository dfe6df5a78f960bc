//! What is not in memory is read past the page cache: that would hold a second copy of what the read buffers and the RAM tier hold, and
//! push out what others need.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::fs;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use support::{Daemon, ask, eventually};

const OBJECT: &str = "/title/1.m4s";

/// Whether the file system of the daemon's volume reads past the page cache.
fn takes_direct_reads(daemon: &Daemon) -> bool {
    let bundle = daemon.bundle_file("title");
    let opened = rustix::fs::open(
        format!("/proc/self/fd/{}", bundle.as_raw_fd()),
        OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC,
        Mode::empty(),
    );
    if let Err(error) = &opened {
        // Where everything is to be tested, it must be.
        assert!(std::env::var_os("CI").is_none(), "O_DIRECT is refused ({error}); set TMPDIR");
        eprintln!("skipped: the file system of the temporary folder refuses O_DIRECT ({error}); set TMPDIR");
    }
    opened.is_ok()
}

/// How a process has opened the bundles that it has open.
fn flags_of_bundles(process: u32) -> Vec<OFlags> {
    let is_bundle = |descriptor: &PathBuf| {
        fs::read_link(descriptor).is_ok_and(|file| file.to_string_lossy().contains(".bundle"))
    };
    let open = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let bundles = open.map(|descriptor| descriptor.unwrap().path()).filter(is_bundle);
    bundles.map(|descriptor| flags(process, &descriptor)).collect()
}

fn flags(process: u32, descriptor: &Path) -> OFlags {
    let number = descriptor.file_name().unwrap().to_string_lossy();
    let facts = fs::read_to_string(format!("/proc/{process}/fdinfo/{number}")).unwrap();
    let flags = facts.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    OFlags::from_bits_retain(u32::from_str_radix(flags.trim(), 8).unwrap())
}

#[test]
fn what_is_read_from_disk_is_read_past_the_page_cache() {
    let object = support::tls::noise(3_000_000);
    let daemon = Daemon::start_with(&[(OBJECT, &object)], "workers = 1\nram_tier = \"off\"\n", "");
    if !takes_direct_reads(&daemon) {
        return;
    }
    let get = || ask(&mut TcpStream::connect(daemon.http()).unwrap(), "GET", OBJECT, "").unwrap();
    eventually("the bundle is served", || get().status == 200);
    assert!(get().body == object);
    let read = daemon.metric("oca_volume_read_bytes_total", "");
    assert!(read >= object.len() as u64, "{read} bytes were read from disk");
    // Without a RAM tier nothing else has a bundle open than what reads it for clients.
    let flags = flags_of_bundles(daemon.process());
    assert!(!flags.is_empty() && flags.iter().all(|flags| flags.contains(OFlags::DIRECT)), "{flags:?}");
}

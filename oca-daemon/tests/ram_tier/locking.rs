//! Blocks are locked in memory, within what the host lets a process lock. Where that is less than was wanted, the daemon says so, and
//! what to do.

use std::fs;
use std::path::Path;
use std::process::Command;

use control_client::admin::Purge;
use control_client::content::BundlePath;
use control_client::wire::DocumentVersion;

use super::support::{Daemon, eventually, runtime};
use super::{OBJECT, bring_into_memory, bytes};

/// Bytes that a process has locked in memory.
fn locked_bytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn what_is_in_memory_is_locked_for_as_long_as_it_is_there() {
    const TIER_BYTES: u64 = 8 << 20;
    let object = bytes(5 << 20);
    let daemon = Daemon::start(&[(OBJECT, &object)]);
    let budget = daemon.metric("oca_ram_tier_budget_bytes", "");
    if budget < TIER_BYTES {
        // Where everything is to be tested, it must be.
        assert!(std::env::var_os("CI").is_none(), "the daemon may lock {budget} bytes; raise ulimit -l");
        eprintln!("skipped: the daemon may lock {budget} bytes, and {TIER_BYTES} are needed (ulimit -l)");
        return;
    }
    let before = locked_bytes(daemon.process());
    bring_into_memory(&daemon, OBJECT, object.len());
    let resident = daemon.metric("oca_ram_tier_bytes", "resident");
    let locked = locked_bytes(daemon.process()) - before;
    assert!(resident >= object.len() as u64 && locked >= resident, "{locked} of {resident} bytes are locked");

    let path = BundlePath::parse("/").unwrap();
    runtime().block_on(daemon.admin().purge(Purge { version: DocumentVersion, path, prefix: true })).unwrap();
    eventually("it is not locked any more", || locked_bytes(daemon.process()) == before);
}

/// The command that runs a program which may lock so much memory, without the right to lock more; what the program says goes to `log`.
/// `None`, and says so, where this machine lets nobody do that.
fn with_locked_memory(kib: u64, log: &Path) -> Option<Vec<String>> {
    let limit = format!("ulimit -l {kib} && exec \"$@\" 2>'{}'", log.display());
    let limited = ["sh", "-c", &limit, "-"];
    // Root may lock as much as it likes, until it has given up the right to.
    let without_right: &[&str] = if rustix::process::geteuid().is_root() {
        &["setpriv", "--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock"]
    } else {
        &[]
    };
    let runner: Vec<String> = without_right.iter().chain(&limited).map(|word| (*word).to_owned()).collect();
    let tried = Command::new(&runner[0]).args(&runner[1..]).arg("true").status();
    if tried.is_ok_and(|status| status.success()) {
        return Some(runner);
    }
    // Where everything is to be tested, it must be.
    assert!(std::env::var_os("CI").is_none(), "setpriv or ulimit is refused here");
    eprintln!("skipped: nobody can be kept from locking memory here: setpriv (util-linux) or ulimit refuses");
    None
}

#[test]
fn a_tier_that_is_cut_by_the_limit_of_locked_memory_keeps_within_it_and_the_daemon_says_how_to_raise_it() {
    const LIMIT_BYTES: u64 = 4 << 20;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("daemon.log");
    let Some(runner) = with_locked_memory(LIMIT_BYTES / 1024, &log) else { return };
    let object = bytes(300_000);
    let serve = "workers = 1\nram_tier = \"64 MiB\"\n";
    let daemon = Daemon::start_by(runner, &[(OBJECT, &object)], serve, "");
    let tier = runtime().block_on(daemon.admin().status()).unwrap().ram_tier.expect("a tier was wanted");
    assert_eq!(tier.budget_bytes, LIMIT_BYTES);
    let cut = tier.cut.expect("why it is smaller");
    let said = fs::read_to_string(&log).unwrap();
    for part in ["64 MiB", "RLIMIT_MEMLOCK", "LimitMEMLOCK=infinity", "ulimit -l unlimited"] {
        assert!(cut.contains(part), "{cut}");
        assert!(said.contains(part), "{said}");
    }
    // What fits is locked as elsewhere.
    bring_into_memory(&daemon, OBJECT, object.len());
    assert!(locked_bytes(daemon.process()) >= object.len() as u64);
    assert_eq!(daemon.metric("oca_ram_tier_loads_total", "lock_refused"), 0);
}

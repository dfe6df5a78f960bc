//! The daemon under the tracer, while somebody makes use of it.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use control_client::status::ListenerRole;
use demo::appliance::{address, wait_until_serving};
use rustix::process::{Signal, pidfd_send_signal};

use super::site::Site;
use super::tracer::{Call, Ended, Traced, Verdict};

/// Runs the daemon of a site under the tracer, which shows `decide` its calls. `drive` makes use of it once it serves, unless it is
/// killed before; then it is told to stop.
pub(crate) fn run_daemon(
    site: &Site,
    decide: impl FnMut(&Call) -> Verdict,
    drive: impl FnOnce(SocketAddr) -> Option<()> + Send,
) -> Ended {
    let has_ended = AtomicBool::new(false);
    let daemon = Traced::start(site.daemon_command()).expect("the daemon can be traced");
    let stop = StopOnDrop(daemon.handle().expect("the daemon has just been started"));
    std::thread::scope(|scope| {
        let has_ended = &has_ended;
        scope.spawn(move || {
            let _stop = stop;
            let admin = site.admin();
            let serving = wait_until_serving(&admin, || Ok(has_ended.load(Ordering::SeqCst)));
            if let Ok(status) = site.wait_for(serving) {
                drive(address(&status, ListenerRole::Http).expect("a listener"));
            }
        });
        let ended = daemon.follow(decide);
        has_ended.store(true, Ordering::SeqCst);
        ended.expect("the daemon can be followed")
    })
}

/// Tells a process to stop, also when its driver panics; one that was killed is gone already. By a descriptor: it cannot become
/// another's.
struct StopOnDrop(OwnedFd);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(&self.0, Signal::TERM);
    }
}

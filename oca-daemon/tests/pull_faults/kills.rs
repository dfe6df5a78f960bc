//! Daemons that are killed while they write what they pull.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::sleep;
use std::time::Duration;

use super::pull_from;
use super::purges::{purge, wait_until_it_keeps};
use super::support::{Daemon, ask, eventually};
use super::versions::{self, Films};

const KILLS: u64 = 10;

/// Asks for one film after another, whatever becomes of the daemon.
fn ask_on(address: SocketAddr, number: usize, is_over: &AtomicBool) {
    let mut stream = None;
    for turn in 0.. {
        if is_over.load(SeqCst) {
            return;
        }
        let film = (turn + number) % versions::COUNT;
        if stream.is_none() {
            stream = TcpStream::connect(address).ok();
        }
        let Some(open) = &mut stream else { continue };
        match ask(open, "GET", &Films::path(film), "") {
            Ok(answer) => {
                assert_eq!((answer.status, answer.body.len()), (200, Films::size(film)), "{}", answer.head);
                Films::version_of(film, 0, &answer.body);
            }
            Err(_) => stream = None,
        }
    }
}

#[test]
fn ten_kills_leave_right_bytes_and_what_was_acknowledged_as_purged_stays_purged() {
    let films = Films::start();
    let mut daemon = Daemon::start_with(
        &[("/held/1.m4s", b"of a bundle")],
        "workers = 2\n",
        &pull_from(&films.origin, ""),
    );
    wait_until_it_keeps(&daemon);
    let (mut acknowledged, mut hits) = ([0; versions::COUNT], 0);
    for kill in 0..KILLS {
        let (address, is_over) = (daemon.http(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for number in 0..3 {
                let is_over = &is_over;
                scope.spawn(move || ask_on(address, number, is_over));
            }
            for purged in 0..3 {
                let film = (kill as usize * 3 + purged) % versions::COUNT;
                let now = films.change(film);
                purge(&daemon, &Films::path(film), false);
                acknowledged[film] = now;
                sleep(Duration::from_millis(kill * 7 % 30));
            }
            daemon.kill();
            is_over.store(true, SeqCst);
        });
        daemon.restart();
        // A moment after it serves; had it been asked before, it would have pulled all of it anew.
        eventually("the volume's log of pulled content is open", || {
            daemon.metric("oca_pull_volume_records", "") > 0
        });
        let mut stream = TcpStream::connect(daemon.http()).unwrap();
        for (film, &least) in acknowledged.iter().enumerate() {
            let answer = ask(&mut stream, "GET", &Films::path(film), "").unwrap();
            assert_eq!((answer.status, answer.body.len()), (200, Films::size(film)), "{}", answer.head);
            let version = Films::version_of(film, 0, &answer.body);
            hits += u64::from(answer.head.to_ascii_lowercase().contains("\ncache-status: oca;hit"));
            assert!(
                version >= least,
                "film {film} after kill {kill}: {version}, purged up to {least}: {}",
                answer.head
            );
        }
    }
    assert!(hits > 0, "nothing was served that a kill could have spoilt");
}

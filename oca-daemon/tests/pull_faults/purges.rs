//! Purges under load.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use control_client::admin::{Purge, Purged};
use control_client::content::BundlePath;
use control_client::wire::DocumentVersion;

use super::client::Client;
use super::pull_from;
use super::support::{Daemon, eventually, runtime};
use super::versions::{self, Films};

pub fn purge(daemon: &Daemon, path: &str, prefix: bool) -> Purged {
    let path = BundlePath::parse(path).unwrap();
    runtime().block_on(daemon.admin().purge(Purge { version: DocumentVersion, path, prefix })).unwrap()
}

/// Waits until the volume's log of pulled content is open, which is a moment after the daemon serves.
pub fn wait_until_it_keeps(daemon: &Daemon) {
    eventually("it keeps what it pulls", || {
        for film in 0..versions::COUNT {
            let mut client = Client::connect(daemon.http());
            client.ask("GET", &Films::path(film), "").unwrap();
        }
        daemon.metric("oca_pull_volume_records", "") > 0
    });
}

/// What clients have seen.
#[derive(Debug, Default)]
struct Seen {
    answers: AtomicU64,
    hits: AtomicU64,
    broken: AtomicU64,
}

impl Seen {
    /// Whether there was enough that could have been wrong.
    fn is_enough(&self) -> bool {
        let [answers, hits, broken] =
            [&self.answers, &self.hits, &self.broken].map(|count| count.load(SeqCst));
        hits >= 20 && answers >= 2 * broken
    }
}

/// For so long it is purged, and until enough was seen, within a bound that a busy machine keeps.
const WHILE: Duration = Duration::from_secs(6);
const PATIENCE: Duration = Duration::from_secs(90);

/// Asks until it is over; whatever was acknowledged as purged before a request was sent is not answered.
fn ask_on(daemon: &Daemon, number: usize, acknowledged: &[AtomicU64], is_over: &AtomicBool, seen: &Seen) {
    let mut client = Client::connect(daemon.http());
    for turn in 0.. {
        if is_over.load(SeqCst) {
            return;
        }
        let film = (turn * 7 + number) % versions::COUNT;
        let start = if turn % 3 == 0 { Films::size(film) / 2 / 8 * 8 } else { 0 };
        let range = if start > 0 { format!("Range: bytes={start}-\r\n") } else { String::new() };
        let least = acknowledged[film].load(SeqCst);
        // A body whose film changes while it is fetched is cut.
        let Ok(answer) = client.ask("GET", &Films::path(film), &range) else {
            seen.broken.fetch_add(1, SeqCst);
            client = Client::connect(daemon.http());
            continue;
        };
        let start = if answer.status == 206 { start } else { 0 };
        assert!([200, 206].contains(&answer.status), "{}", answer.head);
        assert_eq!(answer.body.len(), Films::size(film) - start);
        let version = Films::version_of(film, start, &answer.body);
        assert!(
            version >= least,
            "film {film}: version {version} after {least} was acknowledged: {}",
            answer.head
        );
        seen.answers.fetch_add(1, SeqCst);
        seen.hits.fetch_add(u64::from(answer.field("cache-status").unwrap().starts_with("oca;hit")), SeqCst);
    }
}

#[test]
fn after_a_purge_is_acknowledged_no_client_gets_what_was_there_before() {
    let films = Films::start();
    let daemon = Daemon::start_with(
        &[("/held/1.m4s", b"of a bundle")],
        "workers = 2\n",
        &pull_from(&films.origin, ""),
    );
    wait_until_it_keeps(&daemon);
    let acknowledged: [AtomicU64; versions::COUNT] = Default::default();
    let (is_over, seen) = (AtomicBool::new(false), Seen::default());
    let mut purges = 0;
    let is_enough = std::thread::scope(|scope| {
        for number in 0..4 {
            let (daemon, acknowledged, is_over, seen) = (&daemon, &acknowledged, &is_over, &seen);
            scope.spawn(move || ask_on(daemon, number, acknowledged, is_over, seen));
        }
        // Ends the clients where a purge fails, too.
        let _end = End(&is_over);
        let began = Instant::now();
        loop {
            let is_enough = purges >= 20 && seen.is_enough();
            let at_least = if is_enough { WHILE } else { PATIENCE };
            if began.elapsed() > at_least {
                return is_enough;
            }
            purges += 1;
            if purges % 5 == 0 {
                let now: Vec<u64> = (0..versions::COUNT).map(|film| films.change(film)).collect();
                purge(&daemon, "/films", true);
                for (least, version) in acknowledged.iter().zip(now) {
                    least.store(version, SeqCst);
                }
            } else {
                let film = purges % versions::COUNT;
                let now = films.change(film);
                purge(&daemon, &Films::path(film), false);
                acknowledged[film].store(now, SeqCst);
            }
            // On a busy machine, more and more rarely.
            let pause = Duration::from_millis(purges as u64 * 13 % 50);
            std::thread::sleep(pause + began.elapsed().saturating_sub(WHILE) / 50);
        }
    });
    assert!(is_enough, "{purges} purges: {seen:?}");
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

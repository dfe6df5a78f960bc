//! Bundles are published, replaced by a new generation and retired while clients read. A bundle that leaves
//! while a slow client still reads it serves that client to the end with its own bytes; then its space
//! returns, and only then is that acknowledged.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support {
    pub(crate) mod http;
    pub(crate) mod site;
}

use std::fs;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use control_client::content::Generation;

use support::http::Connection;
use support::site::{Daemon, Sample, Site, bundle_files, eventually, file_name};

/// Titles that come and go.
const TITLES: usize = 12;
/// Threads that publish and retire, each its own titles.
const FILLERS: usize = 3;
/// Threads that read.
const READERS: usize = 4;

/// What a slow client reads: more than the sockets between it and the disk hold.
const SLOW_BYTES: usize = 8 << 20;
/// What the load reads.
const QUICK_BYTES: usize = 40_000;

/// How long a retire is watched not to be acknowledged while its bundle is being read.
const UNACKNOWLEDGED: Duration = Duration::from_millis(150);

/// What may be answered for a title now.
#[derive(Clone, Copy, Default)]
struct Title {
    /// The highest generation whose adoption was acknowledged: nothing older may be answered to a later request.
    generation: u64,
    /// It is being retired, or is retired.
    may_be_absent: bool,
}

struct Stage<'a> {
    site: &'a Site,
    daemon: &'a Daemon<'a>,
    titles: Vec<Mutex<Title>>,
    is_over: AtomicBool,
    reads: AtomicU64,
    retirements: AtomicU64,
}

fn sample(title: usize, generation: u64) -> Sample {
    let objects = vec![("quick".to_owned(), QUICK_BYTES), ("slow".to_owned(), SLOW_BYTES)];
    Sample { path: format!("/titles/{title}"), generation, objects }
}

#[test]
fn a_retired_bundle_serves_its_last_reader_to_the_end_and_then_its_space_returns() {
    let site = Site::new(2);
    let daemon = site.start();
    let stage = Stage {
        site: &site,
        daemon: &daemon,
        titles: (0..TITLES).map(|_| Mutex::new(Title { generation: 0, may_be_absent: true })).collect(),
        is_over: AtomicBool::new(false),
        reads: AtomicU64::new(0),
        retirements: AtomicU64::new(0),
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                scope.spawn({
                    let stage = &stage;
                    move || stage.read(reader)
                })
            })
            .collect();
        let fillers: Vec<_> = (0..FILLERS)
            .map(|filler| {
                let stage = &stage;
                scope.spawn(move || {
                    (filler..TITLES).step_by(FILLERS).for_each(|title| stage.come_and_go(title))
                })
            })
            .collect();
        let filled: Vec<_> = fillers.into_iter().map(|filler| filler.join()).collect();
        stage.is_over.store(true, Ordering::SeqCst);
        let read: Vec<_> = readers.into_iter().map(|reader| reader.join()).collect();
        assert!(filled.iter().chain(&read).all(Result::is_ok), "a thread has panicked; see above");
    });
    let (reads, retirements) = (stage.reads.into_inner(), stage.retirements.into_inner());
    println!("{retirements} bundles left while they were being read, beside {reads} verified reads");
    assert_eq!(retirements, 2 * TITLES as u64);
    assert!(reads > 10 * retirements, "only {reads} reads: that was no load");
    check_the_end(&site, &daemon);
    assert!(daemon.stop().success());
}

/// Of each title the last generation serves, and nothing else takes space.
fn check_the_end(site: &Site, daemon: &Daemon<'_>) {
    let expected: Vec<(String, u64)> = (0..TITLES).map(|title| sample(title, 3).key()).collect();
    let mut serving = site.serving();
    serving.sort_by_key(|(path, _)| path.rsplit('/').next().and_then(|number| number.parse::<usize>().ok()));
    assert_eq!(serving, expected);
    let files: usize = (0..2).map(|volume| bundle_files(site.volume(volume)).len()).sum();
    assert_eq!(files, TITLES);
    assert_eq!(deleted_files(daemon.id()), Vec::<String>::new());
    assert_eq!(site.metric("oca_volume_returning_bytes", &[]), 0.0);
    assert_eq!(site.metric("oca_requests_total", &["aborted"]), 0.0);
    assert_eq!(site.metric("oca_requests_total", &["refused"]), 0.0);
}

impl Stage<'_> {
    /// The life of a title: published; replaced while it is read; retired while it is read; published again.
    fn come_and_go(&self, title: usize) {
        let volume = title % 2;
        let (first, second, third) = (sample(title, 1), sample(title, 2), sample(title, 3));
        self.publish(title, volume, &first);
        let reader = self.begin_slow(&first);
        self.publish(title, volume, &second);
        self.watch_leaving(&first, reader, volume);

        let reader = self.begin_slow(&second);
        self.titles[title].lock().unwrap().may_be_absent = true;
        self.watch_leaving(&second, reader, volume);
        let answer = self.daemon.get(&second.request_path("quick")).expect("an answer");
        assert_eq!(answer.head.status, 404, "{} was retired", second.path);

        self.publish(title, volume, &third);
    }

    fn publish(&self, title: usize, volume: usize, sample: &Sample) {
        sample.publish(self.site.volume(volume));
        let adopted = self.site.adopt(volume, sample).expect("adopted");
        assert_eq!(adopted.bundle.generation, Generation::new(sample.generation));
        *self.titles[title].lock().unwrap() = Title { generation: sample.generation, may_be_absent: false };
    }

    /// Has a bundle retired while a response from it is in flight, and watches: nothing is acknowledged and
    /// the space is taken until the client has every byte; then both change.
    fn watch_leaving(&self, sample: &Sample, mut reader: SlowReader, volume: usize) {
        let is_acknowledged = AtomicBool::new(false);
        let file = file_name(sample);
        let bytes = fs::metadata(self.site.volume(volume).join("bundles").join(&file))
            .map(|metadata| metadata.len())
            .ok();
        std::thread::scope(|scope| {
            let retire = scope.spawn(|| {
                let retired = self.site.retire(sample);
                is_acknowledged.store(true, Ordering::SeqCst);
                retired
            });
            eventually("the file's name is gone", || !bundle_files(self.site.volume(volume)).contains(&file));
            std::thread::sleep(UNACKNOWLEDGED);
            assert!(
                !is_acknowledged.load(Ordering::SeqCst),
                "{} is being read, and its space was reported free",
                sample.path
            );
            assert!(is_held(self.daemon.id(), &file), "{file} is being read, and nobody holds it");
            reader.read_on();
            assert!(
                !is_acknowledged.load(Ordering::SeqCst),
                "{} is being read, and its space was reported free",
                sample.path
            );
            reader.finish();
            let retired = retire.join().expect("no panic").expect("retired");
            assert!(
                !is_held(self.daemon.id(), &file),
                "{file} takes space after its retirement was acknowledged"
            );
            if let Some(bytes) = bytes {
                assert_eq!(retired.freed_bytes, bytes);
            }
        });
        self.retirements.fetch_add(1, Ordering::SeqCst);
    }

    fn begin_slow(&self, sample: &Sample) -> SlowReader {
        SlowReader::begin(self.daemon.http(), sample)
    }

    /// Reads one title after another, and compares every byte.
    fn read(&self, reader: usize) {
        let mut connection = Connection::open(self.daemon.http()).expect("a connection");
        let expected: Vec<Vec<Vec<u8>>> = (0..TITLES)
            .map(|title| (1..=3).map(|generation| sample(title, generation).bytes("quick")).collect())
            .collect();
        let mut title = reader;
        while !self.is_over.load(Ordering::SeqCst) {
            title = (title + 1) % TITLES;
            let before = *self.titles[title].lock().unwrap();
            let answer = connection.get(&format!("/titles/{title}/quick")).expect("an answer");
            let after = *self.titles[title].lock().unwrap();
            match answer.head.status {
                404 => assert!(before.may_be_absent || after.may_be_absent, "title {title} is published"),
                200 => {
                    let found = expected[title].iter().position(|bytes| *bytes == answer.body);
                    let generation = found.expect("the bytes of one of the generations") as u64 + 1;
                    assert!(
                        generation >= before.generation,
                        "{generation} after {} was adopted",
                        before.generation
                    );
                }
                status => panic!("title {title}: {status}"),
            }
            self.reads.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A client that has begun to read a response, and does not read on until it is told to.
struct SlowReader {
    connection: Connection,
    expected: Vec<u8>,
    read: usize,
}

impl SlowReader {
    fn begin(http: SocketAddr, sample: &Sample) -> Self {
        let expected = sample.bytes("slow");
        let mut connection = Connection::open_narrow(http).expect("a connection");
        let head = connection.begin_get(&sample.request_path("slow"), None).expect("a head");
        assert_eq!((head.status, head.content_length()), (200, expected.len() as u64));
        let mut reader = Self { connection, expected, read: 0 };
        reader.read_bytes(10_000);
        reader
    }

    /// Reads a part of the rest; not so much that the remainder could be on its way already.
    fn read_on(&mut self) {
        self.read_bytes(SLOW_BYTES / 2);
    }

    fn finish(mut self) {
        self.read_bytes(self.expected.len() - self.read);
    }

    fn read_bytes(&mut self, count: usize) {
        let bytes = self.connection.read_bytes(count).expect("the response goes on");
        assert!(bytes == self.expected[self.read..self.read + count], "wrong bytes after {}", self.read);
        self.read += count;
    }
}

/// Files without a name that a process holds open.
fn deleted_files(process: u32) -> Vec<String> {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else { return Vec::new() };
    descriptors
        .filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok())
        .map(|path| path.to_string_lossy().into_owned())
        .filter(|path| path.ends_with(".bundle (deleted)"))
        .collect()
}

fn is_held(process: u32, file: &str) -> bool {
    deleted_files(process).iter().any(|path| path.contains(file))
}

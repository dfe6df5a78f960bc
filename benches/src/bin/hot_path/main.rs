//! What a request costs on a worker besides the kernel: parsing, deciding, looking up, counting, logging, and sealing what is sent over TLS.
//! By criterion, which says how long each takes, between its bounds of 95 %, and by how much that differs from the last time.
//!
//! `cargo run --release -p benches --bin hot_path`; with `-- --quick` each is run for a moment, which is what CI
//! does: that it runs, never how fast.

mod players;
mod residency;
mod sealing;
mod timing;

use std::error::Error;
use std::hint::black_box;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cache_store::generate::{GenerateOptions, generate};
use cache_store::{Bundle, OpenBundle, Store, StoreOptions, Volume, VolumeOptions};
use control_client::content::BundlePath;
use control_client::units::ByteCount;
use oca_daemon::access_log::{AccessLog, Record};
use oca_daemon::demand::{Asked, DemandTable};
use oca_daemon::outcome::Outcome;
use oca_daemon::request::{Parsed, Request, Scheme, parse};
use oca_daemon::serve::{ObjectFacts, Policy, Route, answer, route};
use oca_daemon::stats::WorkerStats;
use timing::Timing;

/// Bundles in the store that is looked up in.
const BUNDLES: u32 = 4096;

const HEAD: &[u8] = b"GET /bench/001234/00007.m4s HTTP/1.1\r\nHost: oca-17.isp.example\r\nConnection: keep-alive\r\n\
    User-Agent: Mozilla/5.0 (Linux; Android 12; TV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/114.0 Safari/537.36\r\n\
    Accept: */*\r\nOrigin: https://player.example\r\nReferer: https://player.example/\r\nAccept-Encoding: identity\r\n\
    Accept-Language: en-GB,en;q=0.9\r\nRange: bytes=0-\r\n\r\n";

const DATE: &[u8; 29] = b"Sat, 21 Nov 2026 00:00:00 GMT";

fn main() -> Result<(), Box<dyn Error>> {
    let timing = Timing { is_quick: std::env::args().any(|argument| argument == "--quick") };
    let folder = tempfile::tempdir()?;
    let (store, bundle) = store(folder.path())?;
    let policy = Policy::new(
        "oca-1",
        "*",
        Duration::from_secs(31_536_000),
        Duration::from_secs(60),
        Duration::from_secs(5),
    )?;

    timing.measure("parse a head of a browser's size", |_| {
        black_box(matches!(parse(black_box(HEAD)), Parsed::Complete(_)));
    });
    respond(&bundle, &policy, timing)?;
    timing.measure(&format!("look a bundle up among {BUNDLES}, and an object in it"), |_| {
        let found = store.lookup(black_box("/bench/001234"));
        black_box(found.and_then(|_| bundle.object(black_box("00007.m4s")).map(|object| object.range)));
    });
    let stats = WorkerStats::new(1);
    timing.measure("count a request", |number| {
        stats.began();
        let duration = Duration::from_micros(number % 50_000);
        stats.ended(Outcome::HitDisk, black_box(number), Some(duration), duration);
    });
    demand(&store, timing)?;
    residency::measure(&store, timing)?;
    sealing::measure(timing)?;
    players::measure(timing)?;
    log(folder.path(), timing)?;
    store.close();
    Ok(())
}

/// What a request costs between its last byte and the first of its answer: all of it, and its two parts beside the parsing.
fn respond(bundle: &OpenBundle, policy: &Policy, timing: Timing) -> Result<(), Box<dyn Error>> {
    let decide = |request: &Request<'_>| {
        let Route::Find(location) = route(request, Scheme::Http, policy) else { return None };
        let object = bundle.object(&location.object)?;
        let facts = ObjectFacts {
            range_in_file: object.range,
            sha256: object.sha256,
            last_modified: object.last_modified,
            media_type: object.media_type,
        };
        Some(answer(request, &facts, policy, 1_795_219_200))
    };
    let mut head = Vec::with_capacity(1024);
    timing.measure("parse, route, answer, write the head", |_| {
        head.clear();
        if let Parsed::Complete(request) = parse(black_box(HEAD))
            && let Some(response) = decide(&request)
        {
            response.write_head(&mut head, DATE);
        }
        black_box(&head);
    });
    let Parsed::Complete(request) = parse(HEAD) else { return Err("the head is not taken".into()) };
    timing.measure("route and answer", |_| {
        black_box(decide(black_box(&request)));
    });
    let response = decide(&request).ok_or("the object is not found")?;
    timing.measure("write the head", |_| {
        head.clear();
        black_box(&response).write_head(&mut head, DATE);
        black_box(&head);
    });
    Ok(())
}

/// The bundles are asked for in an order that no cache foresees, all of them equally often: viewers are kinder.
fn demand(store: &Store, timing: Timing) -> Result<(), Box<dyn Error>> {
    let bundles = (0..BUNDLES).map(|number| store.lookup(&format!("/bench/{number:06}")).map(Asked::Bundle));
    let asked: Vec<Asked> = bundles.collect::<Option<_>>().ok_or("a generated bundle is not in the index")?;
    let mut table = DemandTable::default();
    let what = format!("count demand for one of {BUNDLES} bundles");
    timing.measure(&what, |number| {
        let place = number.wrapping_mul(0x9e37_79b9) as usize % asked.len();
        black_box(table.count(black_box(&asked[place]), number));
    });
    let viewed = &asked[..40];
    timing.measure("count demand for one of 40 bundles", |number| {
        black_box(table.count(black_box(&viewed[number as usize % viewed.len()]), number));
    });
    Ok(())
}

/// A generated store of sparse bundles, and one of them open.
fn store(folder: &Path) -> Result<(Arc<Store>, Arc<OpenBundle>), Box<dyn Error>> {
    let path = folder.join("volume");
    std::fs::create_dir(&path)?;
    Volume::init(&path)?;
    let volume = Arc::new(Volume::open(&path, false)?);
    let prefix = BundlePath::parse("/bench")?;
    let options = GenerateOptions {
        prefix,
        first_bundle: 0,
        bundles: BUNDLES,
        objects: 10,
        object_bytes: 64 * 1024,
        seed: 1,
        is_sparse: true,
    };
    generate(&volume, &options)?;
    let store = Store::open(StoreOptions {
        volumes: vec![VolumeOptions { path, mount_required: false }],
        footer_cache: ByteCount::mib(64),
        open_bundles: 256,
        open_queue: 256,
        volume_errors: 8,
    })?;
    let bundle = store.lookup("/bench/001234").ok_or("the generated bundle is not in the index")?;
    let open = open(&store, &bundle)?;
    Ok((store, open))
}

fn open(store: &Store, bundle: &Arc<Bundle>) -> Result<Arc<OpenBundle>, Box<dyn Error>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    store
        .open_bundle(bundle, Box::new(move |result| drop(sender.send(result))))
        .map_err(|_| "the queue of openings is full")?;
    receiver.recv()?.map_err(|error| format!("{error:?}").into())
}

/// With pauses in which the writer's thread empties the queue, as it does when a worker has other things to do, too.
fn log(folder: &Path, timing: Timing) -> Result<(), Box<dyn Error>> {
    let (log, mut senders) = AccessLog::start(Some(&folder.join("access.log")), 1, ByteCount::mib(2))?;
    let client: SocketAddr = ([192, 0, 2, 7], 50_000).into();
    let mut record = Record {
        method: "GET",
        version: "HTTP/1.1",
        status: 200,
        outcome: Outcome::HitDisk,
        ..Record::begin(1_795_219_200_000_000_000, client, 0, None)
    };
    timing.measure_with_pauses("make a line of the log and queue it", |number| {
        record.began_unix_nanos += number;
        record.target.set(black_box(b"/bench/001234/00007.m4s"));
        record.body_bytes = number;
        record.first_byte = Some(Duration::from_micros(number));
        record.duration = Duration::from_micros(number);
        senders[0].push(&record);
    });
    log.stop();
    let totals = log.totals();
    println!("log lines written {}, dropped {}", totals.written, totals.dropped);
    Ok(())
}

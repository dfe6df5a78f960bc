//! What becomes of an object's bytes between the source and the disk, and of a bundle's when the disk does not keep them.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::fs;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use control_client::fill::{FailureReason, RunOutcome};
use control_client::sources::SourceKind;
use control_client::units::{BitRate, ByteRange};
use fill_agent::disk::{DiskFile, DiskThread};
use fill_agent::fetch::{Connections, Failed, Fault, Fetcher, ObjectWriter, SourceUrl, Wanted, connector};
use fill_agent::limits::BLOCK_BYTES;
use fill_agent::shared_pace::SharedPace;
use fill_agent::tally::SourceTally;
use support::appliance::{Appliance, failures, origin};
use support::content::Content;
use support::scripted_source::{Act, Asked, ScriptedSource};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_failed_has_nothing_on_its_way_to_the_disk() {
    let content = Content::new("/titles/a", 1, &[BLOCK_BYTES * 3 / 2]);
    // All of it, and more: that is no object, when its first block is on its way to the disk.
    let source = ScriptedSource::start(&[&content], |_| Act::Endless);
    let url = SourceUrl::parse(&source.url()).unwrap();
    // A pipe takes a block only as far as somebody reads.
    let (mut reader, writer) = std::io::pipe().unwrap();
    let disk = DiskThread::start(0, 2, PATIENCE).unwrap();
    let file = DiskFile::of(&writer).unwrap();
    drop(writer);
    let pace = Arc::new(SharedPace::new(BitRate::new(8_000_000_000), 1, 1 << 20));
    let connections = Connections::new(pace, connector().unwrap(), 1 << 20, PATIENCE, 1);
    let fetcher = Fetcher { connections, stall_timeout: PATIENCE };
    let object = &content.descriptor.objects[0];
    let wanted = Wanted {
        url: &url,
        kind: SourceKind::Origin,
        target: url.target(&content.key().path, &object.name),
        bytes: object.bytes,
        sha256: object.sha256,
    };
    let into = ObjectWriter::new(&disk, &file, ByteRange { start: 0, end: object.bytes });
    let tally = Arc::new(SourceTally::default());
    let mut fetching = Box::pin(fetcher.fetch(wanted, into, &tally));
    let early = tokio::time::timeout(Duration::from_millis(500), &mut fetching).await;
    assert!(early.is_err(), "it is over before the disk has the block: {early:?}");
    let drained = std::thread::spawn(move || {
        let mut bytes = vec![0; BLOCK_BYTES];
        reader.read_exact(&mut bytes).unwrap();
        (bytes, reader)
    });
    let failed = tokio::time::timeout(PATIENCE, fetching).await.unwrap().unwrap_err();
    assert!(matches!(failed, Failed::Source(Fault::Length { .. })), "{failed}");
    let (bytes, _reader) = drained.join().unwrap();
    assert!(bytes == content.objects[0].1[..BLOCK_BYTES]);
    drop(file);
    assert!(disk.stop(PATIENCE));
}

/// Flips a bit of an object on the disk, behind the agent's back: the first object of the file, or the second.
fn spoil(volume: &Path, is_first: bool) {
    let names = fs::read_dir(volume.join("incoming")).unwrap();
    let path = names.map(|name| name.unwrap().path()).next().unwrap();
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let (place, mut byte) = (if is_first { 1000 } else { SECOND_STARTS + 1000 }, [0]);
    file.read_exact_at(&mut byte, place).unwrap();
    file.write_all_at(&[byte[0] ^ 1], place).unwrap();
}

const LENGTHS: [usize; 2] = [700_000, 300_000];
const SECOND_STARTS: u64 = 700_416;

/// One object after another, and `spoilt` says what is to be spoilt when one is asked for.
async fn fill_and_spoil(
    spoilt: impl Fn(&Asked) -> Option<bool> + Send + Sync + 'static,
) -> (Appliance, ScriptedSource, Content, control_client::fill::FillRun) {
    let content = Content::new("/titles/a", 1, &LENGTHS);
    let volume: Arc<OnceLock<PathBuf>> = Arc::default();
    let known = Arc::clone(&volume);
    let source = ScriptedSource::start(&[&content], move |asked| {
        if let Some(is_first) = spoilt(asked) {
            spoil(known.get().unwrap(), is_first);
        }
        Act::Right
    });
    let appliance = Appliance::with(
        &[(&content, vec![origin(source.url())])],
        |_| {},
        |config| config.fill.concurrency = 1,
    );
    volume.set(appliance.volume()).unwrap();
    let run = appliance.run().await;
    (appliance, source, content, run)
}

fn is_get(asked: &Asked, object: &str) -> bool {
    asked.method == "GET" && asked.target.ends_with(object)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_disk_gives_back_otherwise_is_fetched_once_more() {
    // The first object lies on the disk when the second is asked for.
    let (appliance, source, content, run) =
        fill_and_spoil(|asked| is_get(asked, "seg-0001.m4s").then_some(true)).await;
    assert_eq!(run.outcome, RunOutcome::Completed, "{run:?}");
    assert!(appliance.has_published(&content));
    let asked = source.asked();
    let times = |object: &str| asked.iter().filter(|asked| is_get(asked, object)).count();
    assert_eq!((times("seg-0000.m4s"), times("seg-0001.m4s")), (2, 1), "only what was spoilt");
    let path = appliance.volume().join(cache_store::BundleId::of(&content.key()).file_path());
    let published = fs::read(path).unwrap();
    assert!(published[..LENGTHS[0]] == content.objects[0].1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_does_not_keep_them_the_second_time_either_loses_the_bundle() {
    let (appliance, _, content, run) = fill_and_spoil(|asked| match asked {
        asked if is_get(asked, "seg-0001.m4s") => Some(true),
        asked if is_get(asked, "seg-0000.m4s") && asked.times == 1 => Some(false),
        _ => None,
    })
    .await;
    assert_eq!(failures(&run), [("/titles/a".to_owned(), FailureReason::DiskFailed)], "{run:?}");
    assert!(run.failures[0].detail.contains("gives back other bytes"), "{}", run.failures[0].detail);
    assert!(!appliance.has_published(&content));
    assert_eq!(appliance.incoming(), Vec::<String>::new(), "nobody goes on with it");
}

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::*;
use crate::demand::Selector;

const KEYS: usize = 24;
const APPENDS: usize = 400;

/// What one version of an object consists of: metadata say which, blocks follow from it.
fn metadata(key: usize, version: usize) -> String {
    format!("{key}/{version}")
}

fn block(key: usize, version: usize, number: u32) -> Vec<u8> {
    bytes(3000 + key * 100, key * 1000 + version * 10 + number as usize)
}

fn write(log: &DemandLog, key: usize, version: usize) {
    let (path, metadata) = (format!("/{key}"), metadata(key, version));
    let (key_bytes, metadata) = (path.as_bytes(), metadata.as_bytes());
    let entry = NewEntry { key: key_bytes, secondary: b"", metadata, total_bytes: None };
    let Ok(id) = log.append_head(&entry, log.mark()) else { return };
    for number in 0..2 {
        match append_block(log, id, number, &block(key, version, number)) {
            Ok(()) | Err(AppendError::Gone) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Reads what there is of an object; returns how many blocks.
fn read(log: &DemandLog, key: usize) -> usize {
    let mut blocks = 0;
    for view in log.entries(format!("/{key}").as_bytes()).unwrap() {
        let text = String::from_utf8(view.metadata.into()).unwrap();
        let version = text.split_once('/').unwrap().1.parse().unwrap();
        assert_eq!(text, metadata(key, version));
        for number in view.held.into_iter().flatten() {
            if let Some(found) = log.read_block(view.id, number).unwrap() {
                assert_eq!(found.as_ref(), block(key, version, number));
                blocks += 1;
            }
        }
    }
    blocks
}

#[test]
fn readers_writers_and_purges_at_once_meet_only_right_bytes_while_segments_come_and_go() {
    let site = Site::new(Shape { capacity_bytes: 6 * SEGMENT, ..SMALL });
    let log = site.log();
    let (is_over, blocks_read) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for key in (0..KEYS).cycle() {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    blocks_read.fetch_add(read(&log, key), Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            for key in (0..KEYS).cycle() {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                log.purge(Selector::Exact(format!("/{key}").as_bytes())).unwrap();
                thread::yield_now();
            }
        });
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let log = &log;
                scope.spawn(move || {
                    (0..APPENDS).for_each(|at| write(log, (at * 2 + writer) % KEYS, at * 2 + writer));
                })
            })
            .collect();
        let ended: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    let stats = log.stats();
    assert!(blocks_read.load(Ordering::Relaxed) > 0 && stats.corrupt == 0, "{stats:?}");
    assert!(stats.purged > 0 && stats.records > 1000, "{stats:?}");
    assert_eq!(stats.bytes, site.segment_bytes());
    assert!(stats.bytes <= 6 * SEGMENT);
    let held: Vec<_> = (0..KEYS).map(|key| view(&log, &format!("/{key}"))).collect();
    drop(log);
    let log = site.log();
    for (key, held) in held.into_iter().enumerate() {
        assert_eq!(view(&log, &format!("/{key}")), held);
        read(&log, key);
    }
}

//! Opening a log on which there is much more than is held, or than there is memory for.

use super::*;
use crate::demand::files::Files;
use crate::demand::purges::PurgeSet;
use crate::demand::recovery::Loading;
use crate::demand::segment::RECORD_MEMORY;
use crate::demand::state::State;
use crate::limits::DEMAND_SUMMARIES_TIMES;

/// Looks at what is known after each step of opening.
fn each_step(site: &Site, era: u64, mut look: impl FnMut(&State)) {
    let files = Files::open(&site.volume).unwrap();
    let sequences = files.sequences().unwrap();
    let mut loading = Loading::new(site.shape, PurgeSet::default(), era, &sequences);
    for sequence in sequences.iter().rev() {
        loading.load_heads(&files, *sequence).unwrap();
        look(&loading.state);
    }
    for sequence in sequences.iter().rev() {
        loading.load_blocks(&files, *sequence).unwrap();
        look(&loading.state);
    }
}

/// Found in review: every record on the disk was noted, held or not, before anything was swept out.
#[test]
fn what_is_not_held_is_not_noted_while_a_log_is_opened() {
    let site =
        Site::new(Shape { capacity_bytes: 64 << 20, segment_bytes: 256 << 10, index_bytes_max: 1 << 20 });
    let log = site.log();
    let id = add(&log, "/updated", b"text");
    for number in 0..200 {
        add(&log, &format!("/{}", number % 20), &bytes(5000, number));
        for _ in 0..5 {
            update_head(&log, id, b"still right", Some(4)).unwrap();
        }
    }
    log.close();
    let era = log.state().era;
    let recorded = log.state().recorded;
    drop(log);
    let mut entries = 0;
    each_step(&site, era, |state| {
        let noted: usize = state.segments.iter().map(|segment| segment.records.len()).sum();
        assert_eq!(noted as u64, state.index.entry_count() + state.index.block_count());
        entries = state.index.entry_count();
    });
    assert_eq!((entries, recorded), (21, 1402));
    let (log, recovery) = site.open();
    assert_eq!((recovery.entries, recovery.blocks), (21, 21));
    assert_eq!(log.state().recorded, recorded);
    assert!((0..20).all(|key| fetch(&log, &format!("/{key}")) == Some(bytes(5000, 180 + key))));
    assert_eq!(fetch(&log, "/updated").unwrap(), b"text");
}

#[test]
fn a_log_that_holds_more_than_there_is_memory_for_is_opened_within_it_and_keeps_the_newest() {
    let mut site = Site::new(Shape { capacity_bytes: 64 << 20, ..SMALL });
    let log = site.log();
    for number in 0..200 {
        add(&log, &format!("/{number}"), &bytes(5000, number));
    }
    log.close();
    let era = log.state().era;
    drop(log);
    let before = site.segments().len();
    site.shape.index_bytes_max = 32 << 10;
    let one_segment = 8 << 10;
    each_step(&site, era, |state| {
        assert!(state.stats().index_bytes < site.shape.index_bytes_max + one_segment);
    });
    let log = site.log();
    assert!(site.segments().len() < before / 2 && log.stats().index_bytes <= site.shape.index_bytes_max);
    let held: Vec<usize> = (0..200).filter(|number| fetch(&log, &format!("/{number}")).is_some()).collect();
    assert!(held.len() > 20 && held[0] + held.len() == 200, "{held:?}");
}

/// Found in review: with hundreds of millions of them on the disk, opening took for ever.
#[test]
fn the_oldest_segment_leaves_for_records_that_are_held_no_more_and_what_is_hot_does_not() {
    let index_bytes_max = 16 << 10;
    let site = Site::new(Shape { capacity_bytes: 64 << 20, segment_bytes: SEGMENT, index_bytes_max });
    let log = site.log();
    add(&log, "/hot", &bytes(5000, 1));
    add(&log, "/cold", &bytes(5000, 2));
    let id = add(&log, "/updated", b"text");
    let recorded_max = DEMAND_SUMMARIES_TIMES * index_bytes_max / RECORD_MEMORY;
    for number in 0..recorded_max * 2 {
        update_head(&log, id, b"still right", Some(4)).unwrap();
        if number % 100 == 0 {
            assert_eq!(fetch(&log, "/hot"), Some(bytes(5000, 1)));
        }
        assert!(log.state().recorded <= recorded_max + SEGMENT / 4096);
    }
    assert_eq!((fetch(&log, "/hot"), view(&log, "/cold")), (Some(bytes(5000, 1)), None));
    assert!(log.stats().bytes < site.shape.capacity_bytes / 2);
}

/// Found in review: they counted as held no more, for ever, and every append swept for them in vain.
#[test]
fn of_a_head_that_a_segment_has_many_times_a_sweep_leaves_one() {
    let site =
        Site::new(Shape { capacity_bytes: 64 << 20, segment_bytes: 4 << 20, index_bytes_max: 1 << 20 });
    let log = site.log();
    let id = add(&log, "/a", b"text");
    for _ in 0..100 {
        update_head(&log, id, b"still right", Some(4)).unwrap();
    }
    log.close();
    let mut state = log.state();
    for sequence in state.sequences() {
        state.sweep(sequence);
    }
    let noted: usize = state.segments.iter().map(|segment| segment.records.len()).sum();
    assert_eq!(noted, 2);
}

//! The outbox: whatever its file holds, it opens, goes on, and tells everything once; what cannot be believed is put aside.

use std::path::Path;

use control_client::demand::{Demand, PathDemand};
use control_client::digest::sha256;
use control_client::limits::REPORT_PATHS_MAX;
use control_client::outbox::{Delivery, Outbox};
use control_client::report::DirectiveResult;
use control_client::wire::DocumentVersion;

/// Takes `data` for the file of an outbox: as it is, and as the JSON under the checksum that no fuzzer guesses.
pub(crate) fn check(data: &[u8]) {
    check_file(data);
    check_file(&[format!("{}\n", sha256(data)).as_bytes(), data].concat());
}

fn check_file(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    std::fs::write(folder.path().join("outbox"), bytes).expect("it can be written");
    let mut outbox = open(folder.path());
    assert_eq!(outbox.damage().is_some(), folder.path().join("outbox.damaged").exists());
    let instance = outbox.instance().to_owned();
    // What is in flight stays what it is, over a restart too.
    let first = outbox.next().expect("it can be saved").clone();
    let mut outbox = open(folder.path());
    assert_eq!((outbox.instance(), outbox.damage()), (instance.as_str(), None));
    assert_eq!(*outbox.next().expect("it can be saved"), first);

    outbox.add_totals(20_000, &totals()).expect("it can be saved");
    outbox.add_result(DirectiveResult { id: 7, failure: None }).expect("it can be saved");
    let mut before = None;
    let mut results = 0;
    loop {
        let delivery = outbox.next().expect("it can be saved").clone();
        check_delivery(&delivery, before);
        before = Some(delivery.sequence);
        results += delivery.directives.iter().filter(|result| result.id == 7).count();
        assert!(outbox.acknowledged(delivery.sequence) && !outbox.acknowledged(delivery.sequence ^ 1));
        if !outbox.has_more() {
            break;
        }
    }
    assert!(results > 0, "what was added is told");
    let last = outbox.next().expect("it can be saved");
    assert!(last.demand.is_empty() && last.runs.is_empty() && last.directives.is_empty());
}

fn check_delivery(delivery: &Delivery, before: Option<u64>) {
    // At the end of all numbers there is no next one.
    assert!(before.is_none_or(|before| delivery.sequence > before || before == u64::MAX));
    // The one in flight is taken as it was frozen, whoever froze it.
    if before.is_some() {
        assert!(delivery.demand.iter().map(|day| day.paths.len()).sum::<usize>() <= REPORT_PATHS_MAX);
    }
}

fn totals() -> Demand {
    let path = control_client::content::BundlePath::parse("/titles/fuzz").expect("a path");
    Demand {
        version: DocumentVersion,
        instance: "fuzz".to_owned(),
        paths: vec![PathDemand { path, requests: 3, bytes: 300, absent: 1 }],
        other_absent_requests: 1,
    }
}

fn open(folder: &Path) -> Outbox {
    Outbox::open(folder).expect("any file is read or put aside")
}

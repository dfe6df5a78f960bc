//! Replays a corpus in the ordinary test run: no fuzzer, no nightly compiler.

use std::fs;
use std::panic::{RefUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

/// Gives every file of `fuzz/corpus/<target>` to `check`, in the order of their names. A panic names its file; a folder that is
/// missing or empty is one too, since it would prove nothing.
pub(crate) fn replay(target: &str, check: impl Fn(&[u8]) + RefUnwindSafe) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("the folder can be listed").path()).collect();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths.sort();
    for path in paths {
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if let Err(panic) = catch_unwind(|| check(&bytes)) {
            eprintln!("the input is {}", path.display());
            resume_unwind(panic);
        }
    }
}

use std::fmt::Write;

use cache_store::PartialBundle;
use control_client::units::ByteCount;
use serde_json::{Value, json};

/// A line for each bundle that was begun and is not published; nothing where there is none. Its path is not known:
/// there is nothing but its hash in the name of the file.
pub(crate) fn text(partial: &[PartialBundle]) -> String {
    let mut text = String::new();
    for bundle in partial {
        let _ = writeln!(
            text,
            "{}: begun, and not published; {} are reserved for it",
            bundle.file_path(),
            ByteCount::new(bundle.bytes).rounded()
        );
    }
    text
}

/// The same as JSON.
pub(crate) fn documents(partial: &[PartialBundle]) -> Vec<Value> {
    let document = |bundle: &PartialBundle| {
        json!({
            "file": bundle.file_path(),
            "generation": bundle.id.generation,
            "file_bytes": bundle.bytes,
            "modified": bundle.modified,
        })
    };
    partial.iter().map(document).collect()
}

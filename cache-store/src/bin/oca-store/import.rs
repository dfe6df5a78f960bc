use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;

use cache_store::import::{ImportReport, import};
use cache_store::{PublishedBundle, Volume};
use control_client::units::ByteCount;
use serde_json::{Value, json};

use crate::arguments::ImportArguments;
use crate::output::{print, printable};
use crate::{Failure, adopt};

/// Imports a directory tree, and has a daemon adopt it where one is named.
pub(crate) fn run(arguments: &ImportArguments) -> Result<ExitCode, Failure> {
    let directory = &arguments.directory;
    if !directory.is_dir() {
        return Err(Failure::Failed(format!("{}: not a directory", directory.display())));
    }
    let volume = Arc::new(Volume::open(&arguments.volume, false).map_err(Failure::new)?);
    if let Some(isolation) = volume.isolation().map_err(Failure::new)? {
        return Err(Failure::Failed(format!(
            "{}: isolated, and nothing on it is served ({}); check its disk, then `oca init --readmit`",
            volume.path().display(),
            isolation.reason
        )));
    }
    let mut report = import(directory, &arguments.as_path, &volume);
    if let Some(socket) = arguments.socket.as_ref().filter(|_| !report.is_adopted) {
        adopt::tell_daemon(socket, &volume, &report.published)?;
        report.is_adopted = true;
    }
    print(arguments.json, &document(&report), &text(&report))?;
    for (path, reason) in &report.skipped {
        eprintln!("oca-store: skipped {}: {}", printable(&path.to_string_lossy()), printable(reason));
    }
    for (path, error) in &report.failed {
        eprintln!(
            "oca-store: failed {}: {}",
            printable(&path.to_string_lossy()),
            printable(&error.to_string())
        );
    }
    if report.published.is_empty() && report.failed.is_empty() {
        return Err(Failure::Failed(format!("{}: holds no file that can be imported", directory.display())));
    }
    Ok(if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(report: &ImportReport) -> String {
    let mut text = String::new();
    for PublishedBundle { record, .. } in &report.published {
        let _ = writeln!(
            text,
            "{}  generation {}, {} objects, {}",
            printable(record.key.path.as_str()),
            record.key.generation,
            record.object_count,
            ByteCount::new(record.object_bytes).rounded()
        );
    }
    let count = report.published.len();
    let _ = match report.is_adopted {
        true => writeln!(text, "{count} bundles published and adopted"),
        false => writeln!(
            text,
            "{count} bundles published; the daemon that uses the volume adopts them when it starts next, or at once with --socket"
        ),
    };
    text
}

fn document(report: &ImportReport) -> Value {
    let published = report.published.iter().map(|PublishedBundle { id, record }| {
        json!({
            "path": record.key.path,
            "generation": record.key.generation,
            "file": id.file_name(),
            "objects": record.object_count,
            "object_bytes": record.object_bytes,
            "file_bytes": record.file_bytes,
        })
    });
    let skipped = report
        .skipped
        .iter()
        .map(|(path, reason)| json!({ "path": path.to_string_lossy(), "reason": reason }));
    let failed = report
        .failed
        .iter()
        .map(|(path, error)| json!({ "path": path.to_string_lossy(), "reason": error.to_string() }));
    json!({
        "published": published.collect::<Vec<_>>(),
        "skipped": skipped.collect::<Vec<_>>(),
        "failed": failed.collect::<Vec<_>>(),
        "is_adopted": report.is_adopted,
    })
}

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
    let report = import(directory, &arguments.as_path, &volume);
    let told = match &arguments.socket {
        Some(socket) if report.adoption.is_err() => {
            Some(adopt::tell_daemon(socket, &volume, &report.published)?)
        }
        _ => None,
    };
    let adoption = Adoption::new(&report, told);
    print(arguments.json, &document(&report, &adoption), &text(&report, &adoption))?;
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
    for refusal in &adoption.refusals {
        eprintln!("oca-store: not adopted: {}", printable(refusal));
    }
    if let Some(unreachable) = adoption.unreachable {
        return Err(Failure::Unreachable(unreachable));
    }
    let is_done = report.failed.is_empty() && adoption.refusals.is_empty();
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How many of the bundles are served, or will be.
struct Adoption {
    adopted: usize,
    /// Why the others are not in the inventory.
    reason: Option<String>,
    /// What a daemon said to those that it did not adopt.
    refusals: Vec<String>,
    /// How it is that the daemon did not answer.
    unreachable: Option<String>,
}

impl Adoption {
    fn new(report: &ImportReport, told: Option<adopt::Told>) -> Self {
        match (&report.adoption, told) {
            (_, Some(told)) => Self {
                adopted: told.adopted,
                reason: (told.adopted < report.published.len()).then(|| {
                    "the daemon did not; it adopts them when it starts next, if they are right".to_owned()
                }),
                refusals: told.refusals,
                unreachable: told.unreachable,
            },
            (Ok(()), None) => Self {
                adopted: report.published.len(),
                reason: None,
                refusals: Vec::new(),
                unreachable: None,
            },
            (Err(error), None) => {
                Self { adopted: 0, reason: Some(error.to_string()), refusals: Vec::new(), unreachable: None }
            }
        }
    }
}

fn text(report: &ImportReport, adoption: &Adoption) -> String {
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
    let _ = match &adoption.reason {
        None => writeln!(text, "{count} bundles published and adopted"),
        Some(reason) => {
            writeln!(text, "{count} bundles published, {} adopted: {}", adoption.adopted, printable(reason))
        }
    };
    text
}

fn document(report: &ImportReport, adoption: &Adoption) -> Value {
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
        "is_adopted": adoption.reason.is_none(),
        "not_adopted": adoption.reason,
        "refused": adoption.refusals,
    })
}

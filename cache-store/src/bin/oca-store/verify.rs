use std::fmt::Write;
use std::process::ExitCode;

use cache_store::Volume;
use cache_store::verify::{VerifyReport, verify};
use control_client::units::ByteCount;
use serde_json::{Value, json};

use crate::Failure;
use crate::arguments::VerifyArguments;
use crate::output::{print, printable};
use crate::partial;

/// Verifies a volume.
pub(crate) fn run(arguments: &VerifyArguments) -> Result<ExitCode, Failure> {
    let volume = Volume::open(&arguments.volume, false).map_err(Failure::new)?;
    let report = verify(&volume, |id, problems| {
        if arguments.verbose {
            eprintln!("{}  {}", id.file_path(), if problems.is_empty() { "right" } else { "WRONG" });
        }
    })?;
    let isolation = volume.isolation()?;
    let mut text = text(&report);
    if let Some(isolation) = &isolation {
        let _ = writeln!(text, "the volume is isolated: {}", isolation.reason);
    }
    let mut document = document(&report);
    document["isolated"] = json!(isolation.map(|isolation| isolation.reason));
    print(arguments.json, &document, &text)?;
    Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(report: &VerifyReport) -> String {
    let mut text = String::new();
    for problem in &report.problems {
        let path = problem.path.as_deref().map(|path| format!(" ({})", printable(path))).unwrap_or_default();
        let _ = writeln!(text, "{}{path}: {}", printable(&problem.file), printable(&problem.what));
    }
    let _ = writeln!(
        text,
        "{} bundles, {} objects, {} read: {}",
        report.bundles,
        report.objects,
        ByteCount::new(report.bytes).rounded(),
        match report.problems.len() {
            0 => "all right".to_owned(),
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        }
    );
    if report.not_adopted > 0 {
        let _ = writeln!(text, "{} bundles are published and not adopted yet", report.not_adopted);
    }
    text.push_str(&partial::text(&report.partial));
    text
}

fn document(report: &VerifyReport) -> Value {
    let problems = report
        .problems
        .iter()
        .map(|problem| json!({ "file": problem.file, "path": problem.path, "what": problem.what }));
    json!({
        "bundles": report.bundles,
        "objects": report.objects,
        "bytes": report.bytes,
        "not_adopted": report.not_adopted,
        "partial": partial::documents(&report.partial),
        "problems": problems.collect::<Vec<_>>(),
    })
}

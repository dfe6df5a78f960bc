use std::process::ExitCode;
use std::sync::Arc;

use cache_store::Volume;
use cache_store::generate::{GenerateOptions, generate};
use control_client::units::ByteCount;
use serde_json::json;

use crate::Failure;
use crate::arguments::GenerateArguments;
use crate::output::print;

/// Makes a synthetic store.
pub(crate) fn run(arguments: &GenerateArguments) -> Result<ExitCode, Failure> {
    let volume = Arc::new(Volume::open(&arguments.volume, false).map_err(Failure::new)?);
    let options = GenerateOptions {
        prefix: arguments.prefix.clone(),
        first_bundle: arguments.first_bundle,
        bundles: arguments.bundles,
        objects: arguments.objects,
        object_bytes: arguments.object_bytes.bytes(),
        seed: arguments.seed,
        is_sparse: arguments.sparse,
    };
    let report = generate(&volume, &options).map_err(Failure::new)?;
    let document = json!({
        "bundles": report.bundles,
        "objects": report.objects,
        "object_bytes": report.object_bytes,
        "file_bytes": report.file_bytes,
    });
    let text = format!(
        "{} bundles, {} objects, {} in files of {}\n",
        report.bundles,
        report.objects,
        ByteCount::new(report.object_bytes).rounded(),
        ByteCount::new(report.file_bytes).rounded()
    );
    print(arguments.json, &document, &text)?;
    Ok(ExitCode::SUCCESS)
}

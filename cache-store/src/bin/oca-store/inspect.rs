use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use cache_store::format::Footer;
use cache_store::{BundleId, Volume, inventory, partial_bundles};
use control_client::content::{BundlePath, Sha256};
use control_client::units::ByteCount;
use serde_json::{Value, json};

use crate::Failure;
use crate::arguments::InspectArguments;
use crate::output::{print, printable};
use crate::partial;

/// Shows a bundle, by its file or by its path on a volume, or what a volume's inventory holds.
pub(crate) fn run(arguments: &InspectArguments) -> Result<ExitCode, Failure> {
    let (document, text) = match &arguments.path {
        Some(path) => inspect_path(&arguments.file, path)?,
        None if arguments.file.is_dir() => inspect_volume(&arguments.file)?,
        None => inspect_file(&arguments.file)?,
    };
    print(arguments.json, &document, &text)?;
    Ok(ExitCode::SUCCESS)
}

fn inspect_path(volume: &Path, path: &BundlePath) -> Result<(Value, String), Failure> {
    let volume = Volume::open(volume, false).map_err(Failure::new)?;
    let generation = volume
        .newest_generation(path)?
        .ok_or_else(|| Failure::Failed(format!("{path}: the volume holds no such bundle")))?;
    inspect_file(&volume.path().join(BundleId::new(path, generation).file_path()))
}

fn inspect_file(file: &Path) -> Result<(Value, String), Failure> {
    let footer = cache_store::read_footer_of(file)
        .map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))?;
    Ok((bundle_document(&footer), bundle_text(&footer)))
}

fn inspect_volume(volume: &Path) -> Result<(Value, String), Failure> {
    let volume = Volume::open(volume, false).map_err(Failure::new)?;
    let decoded = inventory::read(&volume)?;
    let mut text = String::new();
    let mut documents = Vec::new();
    for record in inventory::bundles(&decoded.records).values() {
        let _ = writeln!(
            text,
            "{}  generation {}, {} objects, {}",
            printable(record.key.path.as_str()),
            record.key.generation,
            record.object_count,
            ByteCount::new(record.object_bytes).rounded()
        );
        documents.push(json!({
            "path": record.key.path,
            "generation": record.key.generation,
            "objects": record.object_count,
            "object_bytes": record.object_bytes,
            "file_bytes": record.file_bytes,
        }));
    }
    if let Some(cut) = decoded.cut {
        let _ = writeln!(text, "the journal is damaged at byte {}: {cut}", decoded.valid_bytes);
    }
    let begun = partial_bundles(&volume)?;
    text.push_str(&partial::text(&begun));
    let document = json!({
        "volume": volume.id().to_string(),
        "journal_bytes": decoded.valid_bytes,
        "journal_cut": decoded.cut.map(|cut| cut.as_str()),
        "bundles": documents,
        "partial": partial::documents(&begun),
    });
    Ok((document, text))
}

fn bundle_text(footer: &Footer) -> String {
    let mut text = format!(
        "{}  generation {}, {} objects, {}, data {} in {} chunks\n",
        printable(footer.path()),
        footer.generation(),
        footer.object_count(),
        ByteCount::new(footer.object_bytes()).rounded(),
        ByteCount::new(footer.data_bytes()).rounded(),
        footer.chunk_count(),
    );
    for object in footer.objects() {
        let _ = writeln!(
            text,
            "{:>14}  {:>12}  {}  {}  {}",
            object.range.start,
            object.range.len(),
            Sha256::new(*object.sha256),
            object.media_type,
            printable(object.name)
        );
    }
    text
}

fn bundle_document(footer: &Footer) -> Value {
    let objects = footer.objects().map(|object| {
        json!({
            "name": object.name,
            "offset": object.range.start,
            "bytes": object.range.len(),
            "sha256": Sha256::new(*object.sha256),
            "last_modified": object.last_modified,
            "media_type": object.media_type,
        })
    });
    json!({
        "path": footer.path(),
        "generation": footer.generation(),
        "descriptor_digest": footer.descriptor_digest(),
        "data_bytes": footer.data_bytes(),
        "chunks": footer.chunk_count(),
        "objects": objects.collect::<Vec<_>>(),
    })
}

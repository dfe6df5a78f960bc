//! Every object of every bundle that an appliance holds, compared by SHA-256 with the origin's tree.

use std::fs;
use std::path::Path;

use control_client::inventory::InventoryEntry;

use super::compared::Compared;
use crate::failure::{Failure, Step};
use crate::member::Member;
use crate::system::System;
use crate::title::sha256_hex;
use crate::viewer::Viewer;

/// Compares everything that each member holds.
pub(super) async fn check(system: &System, when: &str) -> Result<Vec<Compared>, Failure> {
    let viewer = system.viewer()?;
    let mut all = Vec::new();
    for member in &system.members {
        let held = member.held().await?;
        let what = format!("{} {when}: every object of {} bundles, SHA-256", member.name(), held.len());
        let mut compared = Compared::new(what);
        for entry in &held {
            bundle(member, entry, system.tree(), &viewer, &mut compared).await?;
        }
        compared.expect(!held.is_empty(), || "it holds nothing".to_owned());
        all.push(compared);
    }
    Ok(all)
}

async fn bundle(
    member: &Member,
    entry: &InventoryEntry,
    tree: &Path,
    viewer: &Viewer,
    compared: &mut Compared,
) -> Result<(), Failure> {
    let directory = tree.join(&entry.path.as_str()[1..]);
    let mut objects = 0;
    for file in fs::read_dir(&directory).step(entry.path.as_str())? {
        let file = file.step(entry.path.as_str())?;
        if !file.file_type().step(entry.path.as_str())?.is_file() {
            continue;
        }
        objects += 1;
        let request_path = format!("{}/{}", entry.path, file.file_name().to_string_lossy());
        let expected = fs::read(file.path()).step(&request_path)?;
        compared.requests += 1;
        match viewer.get(&format!("http://{}{request_path}", member.http())).await {
            Ok(body) => {
                compared.bytes += body.len() as u64;
                compared.expect(sha256_hex(&body) == sha256_hex(&expected), || {
                    format!("{request_path}: wrong bytes")
                });
            }
            Err(why) => compared.expect(false, || format!("{request_path}: {why}")),
        }
    }
    compared.expect(objects == entry.objects, || {
        format!("{}: {objects} files at the origin, {} objects held", entry.path, entry.objects)
    });
    Ok(())
}

//! Descriptors of bundles: asked of the control plane, and kept while their bundles are on their way, so that a fill goes on
//! without the control plane.

use std::fs;
use std::sync::Arc;

use control_client::content::{BundleKey, Sha256};
use control_client::control_plane_client::ControlPlaneError;
use control_client::descriptor::{Descriptor, DescriptorError};
use control_client::limits::DESCRIPTOR_BYTES_MAX;

use crate::agent::Agent;
use crate::limits::DESCRIPTORS_BYTES_MAX;
use crate::state::{StateFolder, or_warn};

const FOLDER: &str = "descriptors";

/// Why there is no descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoDescriptor {
    /// The control plane cannot give it now.
    Later(String),
    /// Asking again would not help.
    Never(String),
}

/// The descriptor of that digest, kept or asked for.
pub async fn descriptor(
    agent: &Arc<Agent>,
    digest: &Sha256,
    key: &BundleKey,
) -> Result<Descriptor, NoDescriptor> {
    let (wanted, of) = (*digest, key.clone());
    if let Some(descriptor) = agent.blocking(move |agent| read(&agent.state, &wanted, &of)).await {
        return Ok(descriptor);
    }
    let nobody = || "no descriptor was kept, and control.url names nobody to ask".to_owned();
    let control_plane = agent.control_plane.as_ref().ok_or_else(|| NoDescriptor::Never(nobody()))?;
    let bytes = control_plane.descriptor(digest).await.map_err(|error| match error {
        ControlPlaneError::Unreachable { .. }
        | ControlPlaneError::TimedOut { .. }
        | ControlPlaneError::Unavailable { .. } => NoDescriptor::Later(error.to_string()),
        _ => NoDescriptor::Never(error.to_string()),
    })?;
    let of = key.clone();
    let taking = agent.blocking(move |agent| {
        let descriptor = Descriptor::parse(&bytes, &wanted, &of)?;
        keep(&agent.state, &file_name(&wanted), &bytes);
        Ok(descriptor)
    });
    taking.await.map_err(|error: DescriptorError| NoDescriptor::Never(error.to_string()))
}

/// The one that was kept. Blocks.
fn read(state: &StateFolder, digest: &Sha256, key: &BundleKey) -> Option<Descriptor> {
    let bytes = state.read_bytes(&file_name(digest), DESCRIPTOR_BYTES_MAX)?;
    match Descriptor::parse(&bytes, digest, key) {
        Ok(descriptor) => Some(descriptor),
        Err(error) => {
            tracing::warn!(%digest, %error, "a descriptor that was kept is damaged; it is asked for again");
            None
        }
    }
}

/// Forgets the descriptors that nobody wants any more, and what an agent left that died while it kept one.
pub fn forget_others(state: &StateFolder, is_wanted: impl Fn(&Sha256) -> bool) {
    for (name, _) in kept(state) {
        if !Sha256::parse(&name).is_ok_and(|digest| is_wanted(&digest)) {
            or_warn(state.remove(&format!("{FOLDER}/{name}")));
        }
    }
}

/// Forgets one descriptor: its bundle is published.
pub fn forget(state: &StateFolder, digest: &Sha256) {
    or_warn(state.remove(&file_name(digest)));
}

fn keep(state: &StateFolder, name: &str, bytes: &[u8]) {
    let held: u64 = kept(state).into_iter().map(|(_, bytes)| bytes).sum();
    if held.saturating_add(bytes.len() as u64) > DESCRIPTORS_BYTES_MAX {
        return;
    }
    let _ = fs::create_dir_all(state.path().join(FOLDER));
    or_warn(state.write_bytes(name, bytes));
}

/// Their names, and how long they are.
fn kept(state: &StateFolder) -> Vec<(String, u64)> {
    let Ok(entries) = fs::read_dir(state.path().join(FOLDER)) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.metadata().ok()?.len())))
        .collect()
}

fn file_name(digest: &Sha256) -> String {
    format!("{FOLDER}/{digest}")
}

#[cfg(test)]
mod tests {
    use control_client::content::{BundlePath, Generation, ObjectName};
    use control_client::descriptor::DescribedObject;
    use control_client::wire::DocumentVersion;

    use super::*;

    #[test]
    fn a_descriptor_that_was_kept_is_verified_again_and_what_is_left_over_goes() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let key = BundleKey { path: BundlePath::parse("/t").unwrap(), generation: Generation::new(1) };
        let described = Descriptor {
            version: DocumentVersion,
            path: key.path.clone(),
            generation: key.generation,
            objects: vec![DescribedObject {
                name: ObjectName::parse("a").unwrap(),
                bytes: 1,
                sha256: Sha256::new([1; 32]),
                media_type: "video/mp4".to_owned(),
                last_modified: 0,
            }],
        };
        let bytes = described.to_bytes();
        let digest = control_client::digest::sha256(&bytes);
        assert!(read(&state, &digest, &key).is_none());
        keep(&state, &file_name(&digest), &bytes);
        assert_eq!(read(&state, &digest, &key).unwrap(), described);
        state.write_bytes(&format!("{}.new", file_name(&digest)), b"torn").unwrap();
        forget_others(&state, |wanted| *wanted == digest);
        assert_eq!(kept(&state).len(), 1, "what an agent left that died while it kept one is gone");
        assert!(read(&state, &digest, &key).is_some());
        state.write_bytes(&file_name(&digest), b"torn").unwrap();
        assert!(read(&state, &digest, &key).is_none());
        forget_others(&state, |_| false);
        assert!(kept(&state).is_empty());
    }
}

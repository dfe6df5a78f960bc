use std::io::Read as _;
use std::path::Path;

use control_client::content::{BundlePath, ObjectName};
use control_client::descriptor::DescribedObject;
use control_client::digest::sha256;

use super::PublishError;
use super::scan::open;
use crate::limits::MEDIA_MANIFESTS_MAX;
use crate::media_manifest::{Format, ManifestError};

/// The media manifests of a directory: HLS multivariant playlists and MPDs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaManifests {
    /// Those that are kept, as they are.
    pub kept: Vec<(ObjectName, String)>,
    /// Paths of those that are not, and why.
    pub unsteered: Vec<(String, ManifestError)>,
}

impl MediaManifests {
    /// Reads those among the objects of a directory; at most [`MEDIA_MANIFESTS_MAX`].
    pub(super) fn of(
        directory: &Path,
        path: &BundlePath,
        objects: &[DescribedObject],
    ) -> Result<Self, PublishError> {
        let mut manifests = Self::default();
        for object in objects {
            let Some(format) = Format::of(object.name.as_str()) else { continue };
            if manifests.kept.len() + manifests.unsteered.len() == MEDIA_MANIFESTS_MAX {
                break;
            }
            match read(directory, path, format, object)? {
                Ok(Some(content)) => manifests.kept.push((object.name.clone(), content)),
                Ok(None) => {}
                Err(error) => manifests.unsteered.push((format!("{path}/{}", object.name), error)),
            }
        }
        Ok(manifests)
    }
}

type Kept = Result<Option<String>, ManifestError>;

/// The content of a media manifest that can carry pathways; none of a playlist of segments.
fn read(
    directory: &Path,
    path: &BundlePath,
    format: Format,
    object: &DescribedObject,
) -> Result<Kept, PublishError> {
    if object.bytes > format.bytes_max() {
        // Playlists of segments may be longer than any multivariant one.
        let error = ManifestError::TooLarge { most: format.bytes_max() };
        return Ok(if format == Format::Hls { Ok(None) } else { Err(error) });
    }
    let file_path = directory.join(object.name.as_str());
    let mut content = Vec::with_capacity(object.bytes as usize);
    open(&file_path)
        .and_then(|file| file.take(object.bytes + 1).read_to_end(&mut content))
        .map_err(|error| PublishError::Source(file_path.clone(), error))?;
    if sha256(&content) != object.sha256 {
        return Err(PublishError::Changing(file_path));
    }
    let Ok(content) = String::from_utf8(content) else { return Ok(Err(ManifestError::NotText)) };
    if !format.is_manifest(&content) {
        return Ok(Ok(None));
    }
    Ok(format.check(&content, path).map(|()| Some(content)))
}

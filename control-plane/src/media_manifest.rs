//! Media manifests that carry the pathways of a steering decision, made of a title's own: an HLS multivariant playlist with the variants and
//! rendition groups of every pathway, an MPD with a `BaseURL` for each. Both name the content steering server.
//!
//! The original is edited, not made anew: what is not about places stays as the packager wrote it. What its URLs refer to must lie under the
//! paths of bundles, as [`crate::content_steering`] says.

mod attributes;
mod dash;
mod hls;

use std::fmt;

use control_client::content::BundlePath;
use reqwest::Url;

use crate::content_steering::Pathway;
use crate::limits::{MPD_BYTES_MAX, MULTIVARIANT_PLAYLIST_BYTES_MAX};

/// What kind of media manifest it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// An HLS multivariant playlist (RFC 8216, section 4.3.4).
    Hls,
    /// An MPD (ISO/IEC 23009-1).
    Dash,
}

/// Why a media manifest cannot carry pathways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestError {
    /// It is larger than is kept.
    TooLarge {
        /// The most, in bytes.
        most: u64,
    },
    /// It is not text in UTF-8.
    NotText,
    /// It is not what its name says.
    Malformed(String),
    /// A URL of it cannot be one.
    Url(String),
    /// Its URLs have variables (`EXT-X-DEFINE`), whose values may be anything.
    Variables,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { most } => write!(formatter, "it has more than {most} bytes"),
            Self::NotText => formatter.write_str("it is not text in UTF-8"),
            Self::Malformed(what) => write!(formatter, "it is malformed: {what}"),
            Self::Url(url) => write!(formatter, "{url:?} is no URL"),
            Self::Variables => formatter.write_str("its URLs have variables (EXT-X-DEFINE)"),
        }
    }
}

impl std::error::Error for ManifestError {}

impl Format {
    /// What a file of that name may be.
    pub fn of(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1 {
            extension if extension.eq_ignore_ascii_case("m3u8") => Some(Self::Hls),
            extension if extension.eq_ignore_ascii_case("mpd") => Some(Self::Dash),
            _ => None,
        }
    }

    /// The most bytes that an original may have.
    pub const fn bytes_max(self) -> u64 {
        match self {
            Self::Hls => MULTIVARIANT_PLAYLIST_BYTES_MAX,
            Self::Dash => MPD_BYTES_MAX,
        }
    }

    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Hls => "application/vnd.apple.mpegurl",
            Self::Dash => "application/dash+xml",
        }
    }

    /// Whether it is a manifest that pathways belong in: a playlist of segments is none.
    pub fn is_manifest(self, original: &str) -> bool {
        match self {
            Self::Hls => hls::is_multivariant(original),
            Self::Dash => true,
        }
    }

    /// The manifest with these pathways, of which there is at least one, the best first. `directory` is where the original lies, `steering_url` what it
    /// names as the content steering server.
    pub fn with_pathways(
        self,
        original: &str,
        directory: &BundlePath,
        pathways: &[Pathway],
        steering_url: &str,
    ) -> Result<String, ManifestError> {
        if original.len() as u64 > self.bytes_max() {
            return Err(ManifestError::TooLarge { most: self.bytes_max() });
        }
        match self {
            Self::Hls => hls::with_pathways(original, &Place::new(directory), pathways, steering_url),
            Self::Dash => dash::with_pathways(original, &Place::new(directory), pathways, steering_url),
        }
    }

    /// Whether an original can be given pathways at all.
    pub fn check(self, original: &str, directory: &BundlePath) -> Result<(), ManifestError> {
        let pathway = Pathway { id: "a".to_owned(), base_url: "http://a".to_owned() };
        self.with_pathways(original, directory, &[pathway], "http://a").map(drop)
    }
}

/// The directory that a manifest's URLs are relative to, whichever appliance has it.
struct Place(Url);

/// Stands for the host of whichever appliance it is; reserved (RFC 2606), so that no URL has it already.
const ANY_HOST: &str = "appliance.invalid";

impl Place {
    fn new(directory: &BundlePath) -> Self {
        let mut url = Self::any();
        url.set_path(&format!("{}/", directory.as_str().trim_end_matches('/')));
        Self(url)
    }

    /// The top of whichever appliance it is.
    fn any() -> Url {
        Url::parse("http://appliance.invalid/").expect("it is a URL")
    }

    /// Where a URL of the manifest leads by a pathway. One of another host stays as it is unless it leads into the title's directory:
    /// there, appliances have what it leads to.
    fn by(&self, pathway: &Pathway, reference: &str) -> Result<String, ManifestError> {
        let url = self.0.join(reference).map_err(|_| ManifestError::Url(shortened(reference)))?;
        let is_ours = url.host_str() == Some(ANY_HOST)
            || (matches!(url.scheme(), "http" | "https") && url.path().starts_with(self.0.path()));
        if !is_ours {
            return Ok(reference.to_owned());
        }
        let query = url.query().map_or_else(String::new, |query| format!("?{query}"));
        Ok(format!("{}{}{query}", pathway.base_url, url.path()))
    }

    /// The directory that a `BaseURL` leads to by a pathway, whatever host it names.
    fn base_by(&self, pathway: &Pathway, reference: &str) -> Result<String, ManifestError> {
        let url = self.0.join(reference).map_err(|_| ManifestError::Url(shortened(reference)))?;
        Ok(format!("{}{}", pathway.base_url, url.path()))
    }
}

/// For a message.
fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests;

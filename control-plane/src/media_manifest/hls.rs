//! Multivariant playlists (RFC 8216, section 4.3.4, and 8216bis for pathways).

use super::attributes::Attributes;
use super::{ManifestError, Place, shortened};
use crate::content_steering::{HLS_BASE, Pathway};

const VARIANT: &str = "#EXT-X-STREAM-INF:";
const IFRAME_VARIANT: &str = "#EXT-X-I-FRAME-STREAM-INF:";
/// Not of the RFC, but of packagers that make thumbnails.
const IMAGE_VARIANT: &str = "#EXT-X-IMAGE-STREAM-INF:";
const RENDITION: &str = "#EXT-X-MEDIA:";
const STEERING: &str = "#EXT-X-CONTENT-STEERING:";

/// Attributes of a variant that name rendition groups with URLs. Closed captions have none: they lie in the video.
const GROUPS: [&str; 3] = ["AUDIO", "VIDEO", "SUBTITLES"];

/// Whether a playlist has variants.
pub(super) fn is_multivariant(playlist: &str) -> bool {
    playlist.trim_start_matches('\u{feff}').starts_with("#EXTM3U")
        && playlist.lines().any(|line| line.starts_with(VARIANT))
}

/// What a multivariant playlist says, by what happens to it.
#[derive(Default)]
struct Playlist<'a> {
    /// Lines that stand once, and the place of a URL in them where they have one.
    once: Vec<Once<'a>>,
    /// Renditions that lie in the video, wherever that comes from.
    captions: Vec<Attributes<'a>>,
    /// All others.
    renditions: Vec<Attributes<'a>>,
    variants: Vec<Variant<'a>>,
    /// The pathway that the original begins with.
    pathway: Option<String>,
}

enum Once<'a> {
    Line(&'a str),
    Tag(&'a str, Attributes<'a>),
}

struct Variant<'a> {
    tag: &'static str,
    attributes: Attributes<'a>,
    /// What stands on the next line; variants of key frames and of images have theirs among the attributes.
    url: Option<&'a str>,
}

pub(super) fn with_pathways(
    original: &str,
    place: &Place,
    pathways: &[Pathway],
    steering_url: &str,
) -> Result<String, ManifestError> {
    let mut playlist = parse(original)?;
    playlist.keep_one_pathway();
    let first = pathways.first().ok_or_else(|| malformed("there is no pathway"))?;
    let mut text = "#EXTM3U\n".to_owned();
    for once in &playlist.once {
        match once {
            Once::Line(line) => push(&mut text, line),
            Once::Tag(tag, attributes) => {
                push(&mut text, &format!("{tag}{}", placed(attributes, place, first)?.text()))
            }
        }
    }
    push(&mut text, &format!("{STEERING}SERVER-URI=\"{steering_url}\",PATHWAY-ID=\"{}\"", first.id));
    // Their groups are those of all pathways, and no two renditions of a group may have one name (RFC 8216, section 4.3.4.1.1).
    for captions in &playlist.captions {
        push(&mut text, &format!("{RENDITION}{}", captions.text()));
    }
    for pathway in pathways {
        text.push('\n');
        push_pathway(&mut text, &playlist, place, pathway)?;
    }
    Ok(text)
}

/// What each pathway has of its own.
fn push_pathway(
    text: &mut String,
    playlist: &Playlist<'_>,
    place: &Place,
    pathway: &Pathway,
) -> Result<(), ManifestError> {
    for rendition in &playlist.renditions {
        let mut rendition = placed(rendition, place, pathway)?;
        if let Some(group) = rendition.get("GROUP-ID").map(|group| group_of(group, pathway)) {
            rendition.set_quoted("GROUP-ID", &group);
        }
        push(text, &format!("{RENDITION}{}", rendition.text()));
    }
    for variant in &playlist.variants {
        let mut attributes = placed(&variant.attributes, place, pathway)?;
        for name in GROUPS {
            if let Some(group) = attributes.get(name).map(|group| group_of(group, pathway)) {
                attributes.set_quoted(name, &group);
            }
        }
        attributes.set_quoted("PATHWAY-ID", &pathway.id);
        push(text, &format!("{}{}", variant.tag, attributes.text()));
        if let Some(url) = variant.url {
            push(text, &by(place, pathway, url)?);
        }
    }
    Ok(())
}

fn parse(original: &str) -> Result<Playlist<'_>, ManifestError> {
    let mut lines =
        original.trim_start_matches('\u{feff}').lines().map(str::trim).filter(|line| !line.is_empty());
    if lines.next() != Some("#EXTM3U") {
        return Err(malformed("it does not begin with #EXTM3U"));
    }
    let mut playlist = Playlist::default();
    while let Some(line) = lines.next() {
        if let Some(list) = line.strip_prefix(VARIANT) {
            // What stands between the tag and its URL belongs to neither.
            let url = lines.find(|line| !line.starts_with('#'));
            let url = Some(url.ok_or_else(|| malformed("a variant has no URL"))?);
            playlist.variants.push(Variant { tag: VARIANT, attributes: attributes(list)?, url });
        } else if let Some(list) = line.strip_prefix(IFRAME_VARIANT) {
            playlist.variants.push(Variant { tag: IFRAME_VARIANT, attributes: attributes(list)?, url: None });
        } else if let Some(list) = line.strip_prefix(IMAGE_VARIANT) {
            playlist.variants.push(Variant { tag: IMAGE_VARIANT, attributes: attributes(list)?, url: None });
        } else if let Some(list) = line.strip_prefix(RENDITION) {
            let rendition = attributes(list)?;
            let is_captions = rendition.get("TYPE") == Some("CLOSED-CAPTIONS");
            if is_captions { &mut playlist.captions } else { &mut playlist.renditions }.push(rendition);
        } else if let Some(list) = line.strip_prefix(STEERING) {
            playlist.pathway = attributes(list)?.get("PATHWAY-ID").map(str::to_owned);
        } else if line.starts_with("#EXT-X-") && line.contains("URI=\"") {
            // Whatever it is, its URL was relative to the original.
            let (tag, list) = line.split_at(line.find(':').map_or(line.len(), |colon| colon + 1));
            playlist.once.push(Once::Tag(tag, attributes(list)?));
        } else if line.starts_with("#EXT") {
            playlist.once.push(Once::Line(line));
        } else if !line.starts_with('#') {
            return Err(malformed("a URL belongs to no variant"));
        }
    }
    if playlist.variants.is_empty() {
        return Err(malformed("it has no variant"));
    }
    Ok(playlist)
}

impl Playlist<'_> {
    /// Where the original has several pathways, which lead elsewhere, one of them stands for all.
    fn keep_one_pathway(&mut self) {
        let id = |variant: &Variant<'_>| variant.attributes.get("PATHWAY-ID").unwrap_or(HLS_BASE).to_owned();
        let wanted =
            self.pathway.take().filter(|wanted| self.variants.iter().any(|variant| id(variant) == *wanted));
        let wanted = wanted.unwrap_or_else(|| id(&self.variants[0]));
        if self.variants.iter().all(|variant| id(variant) == wanted) {
            return;
        }
        self.variants.retain(|variant| id(variant) == wanted);
        let variants = &self.variants;
        let is_used = |rendition: &Attributes<'_>| {
            let group = rendition.get("GROUP-ID");
            rendition
                .get("TYPE")
                .is_some_and(|kind| variants.iter().any(|one| one.attributes.get(kind) == group))
        };
        self.captions.retain(is_used);
        self.renditions.retain(is_used);
    }
}

/// The attributes with their URL as it is by a pathway.
fn placed<'a>(
    attributes: &Attributes<'a>,
    place: &Place,
    pathway: &Pathway,
) -> Result<Attributes<'a>, ManifestError> {
    let mut attributes = attributes.clone();
    if let Some(url) = attributes.get("URI").map(|url| by(place, pathway, url)).transpose()? {
        attributes.set_quoted("URI", &url);
    }
    Ok(attributes)
}

fn by(place: &Place, pathway: &Pathway, url: &str) -> Result<String, ManifestError> {
    if url.contains("{$") { Err(ManifestError::Variables) } else { place.by(pathway, url) }
}

/// Renditions of one group are alternatives of each other, so those of each pathway are a group of their own.
fn group_of(group: &str, pathway: &Pathway) -> String {
    format!("{group}@{}", pathway.id)
}

fn attributes(list: &str) -> Result<Attributes<'_>, ManifestError> {
    Attributes::parse(list).ok_or_else(|| malformed(&format!("no attributes: {}", shortened(list))))
}

fn malformed(what: &str) -> ManifestError {
    ManifestError::Malformed(what.to_owned())
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

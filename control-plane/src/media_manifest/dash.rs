//! MPDs (ISO/IEC 23009-1, section 5.6 for `BaseURL`; ETSI TS 103 998 for `ContentSteering`).

use std::ops::Range;

use quick_xml::Reader;
use quick_xml::escape::escape;
use quick_xml::events::Event;

use super::{ManifestError, Place};
use crate::content_steering::Pathway;

/// Elements within one another. Deeper documents are no MPDs.
const DEPTH_MAX: usize = 64;

/// What there is at the top of an MPD.
struct Top {
    /// Where `BaseURL` belongs: after `ProgramInformation`, before all else.
    place: usize,
    /// `BaseURL` and `ContentSteering` elements, which are replaced.
    replaced: Vec<Range<usize>>,
    /// The first of the `BaseURL`.
    base: Option<String>,
}

pub(super) fn with_pathways(
    original: &str,
    place: &Place,
    pathways: &[Pathway],
    steering_url: &str,
) -> Result<String, ManifestError> {
    // A byte order mark is none of the text's characters, and would count as one of its positions.
    let original = original.trim_start_matches('\u{feff}');
    let top = read(original)?;
    let first = pathways.first().ok_or_else(|| malformed("there is no pathway"))?;
    let base = top.base.as_deref().unwrap_or("").trim();
    let mut added = String::new();
    for pathway in pathways {
        let url = place.base_by(pathway, base)?;
        added +=
            &format!("<BaseURL serviceLocation=\"{}\">{}</BaseURL>\n  ", escape(&*pathway.id), escape(&*url));
    }
    // The pathways are those of this moment: there is nothing newer to ask for before the start.
    added += &format!(
        "<ContentSteering defaultServiceLocation=\"{}\" queryBeforeStart=\"false\">{}</ContentSteering>\n  ",
        escape(&*first.id),
        escape(steering_url)
    );
    let mut text = String::with_capacity(original.len() + added.len());
    let mut from = 0;
    let mut edits: Vec<(Range<usize>, &str)> = top.replaced.into_iter().map(|range| (range, "")).collect();
    edits.push((top.place..top.place, &added));
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    for (range, with) in edits {
        text.push_str(&original[from..range.start]);
        text.push_str(with);
        from = range.end;
    }
    text.push_str(&original[from..]);
    Ok(text)
}

/// Reads all of it: what is no XML is no MPD.
fn read(original: &str) -> Result<Top, ManifestError> {
    let mut reader = Reader::from_str(original);
    let mut depth = 0_usize;
    let mut place = None;
    let mut replaced: Vec<Range<usize>> = Vec::new();
    let mut base: Option<String> = None;
    // Where an element that is replaced began, and whether it is the first BaseURL.
    let mut within: Option<(usize, bool)> = None;
    loop {
        let from = position(&reader);
        let event = reader.read_event().map_err(|error| malformed(&error.to_string()))?;
        let is_empty = matches!(event, Event::Empty(_));
        match event {
            Event::Start(element) | Event::Empty(element) => {
                let name = element.local_name();
                if depth == 0 && (name.as_ref() != "MPD" || is_empty || place.is_some()) {
                    return Err(malformed("its one element is not MPD"));
                }
                if depth == 1 && name.as_ref() != "ProgramInformation" {
                    place.get_or_insert(from);
                }
                if depth == 1 && matches!(name.as_ref(), "BaseURL" | "ContentSteering") {
                    if is_empty {
                        replaced.push(from..position(&reader));
                    } else {
                        within = Some((from, name.as_ref() == "BaseURL" && base.is_none()));
                    }
                }
                depth += usize::from(!is_empty);
                if depth > DEPTH_MAX {
                    return Err(malformed("its elements are too deep in one another"));
                }
            }
            Event::End(_) => {
                depth =
                    depth.checked_sub(1).ok_or_else(|| malformed("an element ends that has not begun"))?;
                if depth == 1
                    && let Some((began, _)) = within.take()
                {
                    replaced.push(began..position(&reader));
                }
                if depth == 0 {
                    place.get_or_insert(from);
                }
            }
            Event::Text(text) if matches!(within, Some((_, true))) => {
                base.get_or_insert_default().push_str(&text.xml10_content());
            }
            Event::GeneralRef(reference) if matches!(within, Some((_, true))) => {
                if &*reference != "amp" {
                    return Err(malformed("a BaseURL has a reference that no URL needs"));
                }
                base.get_or_insert_default().push('&');
            }
            Event::DocType(_) => return Err(malformed("it has a document type")),
            Event::Eof if depth == 0 => break,
            Event::Eof => return Err(malformed("it ends too early")),
            _ => {}
        }
    }
    let place = place.ok_or_else(|| malformed("it has no MPD element"))?;
    Ok(Top { place, replaced, base })
}

fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

fn malformed(what: &str) -> ManifestError {
    ManifestError::Malformed(what.to_owned())
}

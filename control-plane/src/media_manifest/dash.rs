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
    let mut reading = Reading::default();
    loop {
        let from = position(&reader);
        match reader.read_event().map_err(|error| malformed(&error.to_string()))? {
            Event::Start(element) => reading.begin(element.name().0, from)?,
            Event::Empty(_) if reading.depth == 0 => return Err(malformed("it is empty")),
            Event::Empty(element) => {
                reading.begin(element.name().0, from)?;
                reading.end(from, position(&reader))?;
            }
            Event::End(_) => reading.end(from, position(&reader))?,
            Event::Text(text) => reading.add(&text.xml10_content()),
            Event::CData(text) => reading.add(&text.xml10_content()),
            Event::GeneralRef(reference) if reading.is_in_base() => {
                if &*reference != "amp" {
                    return Err(malformed("a BaseURL has a reference that no URL needs"));
                }
                reading.add("&");
            }
            Event::DocType(_) => return Err(malformed("it has a document type")),
            Event::Eof => return reading.top(),
            _ => {}
        }
    }
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    depth: usize,
    place: Option<usize>,
    replaced: Vec<Range<usize>>,
    base: Option<String>,
    within: Option<Within>,
}

/// A `BaseURL`, or an element that is replaced, that has begun.
struct Within {
    began: usize,
    depth: usize,
    /// What it says, where it is a `BaseURL`.
    base: Option<String>,
}

impl Reading {
    /// Names are those of an MPD without a prefix: one with another prefix is of another namespace, or not one that could be given
    /// elements without.
    fn begin(&mut self, name: &str, from: usize) -> Result<(), ManifestError> {
        if self.depth == 0 && (name != "MPD" || self.place.is_some()) {
            return Err(malformed("its one element is not MPD"));
        }
        if self.depth == 1 && name != "ProgramInformation" {
            self.place.get_or_insert(from);
        }
        let is_base = name == "BaseURL";
        if self.within.is_none() && (is_base || (self.depth == 1 && name == "ContentSteering")) {
            let base = is_base.then(String::new);
            self.within = Some(Within { began: from, depth: self.depth, base });
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(malformed("its elements are too deep in one another"));
        }
        Ok(())
    }

    fn end(&mut self, from: usize, to: usize) -> Result<(), ManifestError> {
        self.depth =
            self.depth.checked_sub(1).ok_or_else(|| malformed("an element ends that has not begun"))?;
        if self.depth == 0 {
            self.place.get_or_insert(from);
        }
        match self.within.take_if(|within| within.depth == self.depth) {
            Some(Within { began, depth: 1, base }) => {
                self.replaced.push(began..to);
                self.base = self.base.take().or(base);
            }
            // Whatever pathway the player chose, it would lead there.
            Some(Within { base: Some(base), .. }) if leads_elsewhere(&base) => {
                return Err(malformed("a BaseURL in a Period, or below, names a host"));
            }
            _ => {}
        }
        Ok(())
    }

    fn is_in_base(&self) -> bool {
        self.within.as_ref().is_some_and(|within| within.base.is_some())
    }

    fn add(&mut self, text: &str) {
        if let Some(base) = self.within.as_mut().and_then(|within| within.base.as_mut()) {
            base.push_str(text);
        }
    }

    fn top(self) -> Result<Top, ManifestError> {
        if self.depth > 0 {
            return Err(malformed("it ends too early"));
        }
        let place = self.place.ok_or_else(|| malformed("it has no MPD element"))?;
        Ok(Top { place, replaced: self.replaced, base: self.base })
    }
}

/// Whether a `BaseURL` leads to another host than that which it is relative to.
fn leads_elsewhere(base: &str) -> bool {
    let any = Place::any();
    any.join(base.trim()).map_or(true, |url| url.origin() != any.origin())
}

fn position(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

fn malformed(what: &str) -> ManifestError {
    ManifestError::Malformed(what.to_owned())
}

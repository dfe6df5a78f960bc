//! Common Media Client Data: CTA-5004 (version 1) and CTA-5004-B (version 2), in request mode, as the query argument `CMCD`
//! or in the fields CMCD-Object, CMCD-Request, CMCD-Session and CMCD-Status.
//!
//! Players are many and hardly tested, so that every value is optional, its place and order do not matter, and what cannot
//! be read is left out and counted. Nothing of it is part of an object's name.

mod dictionary;
mod next;
mod query;
mod text;
mod words;

#[cfg(test)]
mod tests;

use smallvec::SmallVec;

use crate::limits::{CMCD_BYTES_MAX, CMCD_KEYS_MAX};
use crate::stats::causes;
use dictionary::Members;

pub use next::{Next, NextRange};
pub use text::Text;
pub use words::{ObjectType, StreamType, StreamingFormat, Version};

/// Bytes of a session identifier (`sid`): 64 characters in both versions.
pub const SESSION_BYTES_MAX: usize = 64;

/// Bytes of a content identifier (`cid`): 64 characters in version 1, 128 in version 2.
pub const CONTENT_BYTES_MAX: usize = 128;

/// What a player says with one request, as far as it is used here. `None` and `Unsaid`: not said, or not readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cmcd {
    /// `v`; a player that says none speaks version 1.
    pub version: Version,
    /// `sid`: one viewing.
    pub session: Option<Text<SESSION_BYTES_MAX>>,
    /// `cid`: what is viewed.
    pub content: Option<Text<CONTENT_BYTES_MAX>>,
    /// `ot`: what is asked for.
    pub object_type: ObjectType,
    /// `sf`.
    pub format: StreamingFormat,
    /// `st`.
    pub stream_type: StreamType,
    /// `br`: encoded bitrate of the object, kbit/s.
    pub bitrate_kbps: Option<u32>,
    /// `tb`: the highest bitrate that the player may choose, kbit/s.
    pub top_bitrate_kbps: Option<u32>,
    /// `mtp`: throughput as the player measured it, kbit/s.
    pub throughput_kbps: Option<u32>,
    /// `rtp`: the throughput that the player finds sufficient, kbit/s.
    pub requested_kbps: Option<u32>,
    /// `bl`: media in the player's buffer, ms.
    pub buffer_millis: Option<u32>,
    /// `d`: the object's play time, ms.
    pub duration_millis: Option<u32>,
    /// `dl`: from the request until the buffer would run dry, ms.
    pub deadline_millis: Option<u32>,
    /// `msd` (version 2): from the viewer's wish to the first picture, ms; said once in a session.
    pub start_delay_millis: Option<u32>,
    /// `pr`: playback rate in percent; 100 is real time.
    pub playback_rate_percent: Option<u32>,
    /// `su`: needed at once, to begin, after a seek or after a stall.
    pub is_startup: bool,
    /// `bs`: the buffer ran dry since the last request.
    pub is_starved: bool,
    /// `nor`, `nrr`: it says what it will ask for next; [`next_objects`] reads it.
    pub names_next: bool,
    /// What could not be taken.
    pub ignored: IgnoredCounts,
}

causes! {
    /// Why something of a request's CMCD was left out.
    Ignored {
        Malformed = "malformed": "A value is not of its key's type.",
        TooLong = "too_long": "An identifier is longer than the standard allows, or all of it is.",
        TooMany = "too_many": "More keys than are read.",
    }
}

/// How much was left out, by [`Ignored`].
pub type IgnoredCounts = [u8; Ignored::COUNT];

/// The four fields' values, as lines of a request.
pub type Lines<'a> = SmallVec<[&'a [u8]; 4]>;

/// Declares the keys that are read, as places in an array.
macro_rules! keys {
    ($($name:ident $key:literal)*) => {
        #[derive(Clone, Copy)]
        enum Key { $($name,)* }

        impl Key {
            const COUNT: usize = [$(stringify!($name)),*].len();

            fn named(name: &[u8]) -> Option<Self> {
                match name {
                    $($key => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

keys! {
    Bitrate b"br" TopBitrate b"tb" Throughput b"mtp" Requested b"rtp" Buffer b"bl" Duration b"d" Deadline b"dl"
    StartDelay b"msd" PlaybackRate b"pr" Startup b"su" Starved b"bs" ObjectType b"ot" Format b"sf" StreamType b"st"
    Session b"sid" Content b"cid" Version b"v" NextObject b"nor" NextRange b"nrr"
}

/// The values of the keys that are read, where they were sent, and what was left out.
#[derive(Default)]
struct Values<'a> {
    values: [Option<&'a [u8]>; Key::COUNT],
    members: usize,
    ignored: IgnoredCounts,
}

impl Cmcd {
    /// Reads what `target`'s query and the four fields of a request say; where both say something, the fields count.
    /// `None` where there is no CMCD at all.
    pub fn read(target: &str, lines: &[&[u8]]) -> Option<Self> {
        Values::read(target, lines, &mut None).map(Values::into_cmcd)
    }

    /// The bitrate of a picture that is asked for: what a player could be told to go no higher than. A sound's says nothing of that.
    pub fn picture_bitrate_kbps(&self) -> Option<u32> {
        let is_picture = matches!(self.object_type, ObjectType::Video | ObjectType::Muxed);
        self.bitrate_kbps.filter(|&bitrate_kbps| is_picture && bitrate_kbps > 0)
    }

    /// Whether what is asked for is played at a bitrate: its delivery can be judged, and paced, by that.
    pub fn is_media(&self) -> bool {
        matches!(
            self.object_type,
            ObjectType::Video | ObjectType::Audio | ObjectType::Muxed | ObjectType::Unsaid
        )
    }
}

/// Reads again what a request says of the objects that its player will ask for next, where [`Cmcd::names_next`], and gives each to
/// `take`; `None` for one that cannot be read. What is kept of a request is smaller without them.
pub fn next_objects(target: &str, lines: &[&[u8]], take: impl FnMut(Option<Next<'_>>)) {
    let mut decoded = None;
    let Some(mut values) = Values::read(target, lines, &mut decoded) else { return };
    let is_version_1 = values.token(Key::Version, Version::of).is_none_or(|version| version == Version::One);
    let of = |key: Key| values.values[key as usize];
    next::read(of(Key::NextObject), of(Key::NextRange), is_version_1, take);
}

impl<'a> Values<'a> {
    /// As [`Cmcd::read`]. `decoded` is room for the query argument.
    fn read(target: &str, lines: &[&'a [u8]], decoded: &'a mut Option<[u8; CMCD_BYTES_MAX]>) -> Option<Self> {
        let argument = query::argument(target);
        if argument.is_none() && lines.is_empty() {
            return None;
        }
        let mut values = Values::default();
        let mut room_bytes = CMCD_BYTES_MAX;
        if let Some(argument) = argument {
            match query::decode(argument, decoded.insert([0; CMCD_BYTES_MAX])) {
                Some(line) => {
                    room_bytes -= line.len();
                    values.add(line);
                }
                None => values.ignore(Ignored::TooLong),
            }
        }
        for line in lines {
            match room_bytes.checked_sub(line.len()) {
                Some(left) => {
                    room_bytes = left;
                    values.add(line);
                }
                None => values.ignore(Ignored::TooLong),
            }
        }
        Some(values)
    }

    fn add(&mut self, line: &'a [u8]) {
        for (name, value) in Members::of(line) {
            self.members += 1;
            if self.members > CMCD_KEYS_MAX {
                return self.ignore(Ignored::TooMany);
            }
            if let Some(key) = Key::named(name) {
                self.values[key as usize] = Some(value);
            }
        }
    }

    fn ignore(&mut self, why: Ignored) {
        self.ignored[why as usize] = self.ignored[why as usize].saturating_add(1);
    }

    fn into_cmcd(mut self) -> Cmcd {
        let object_type = self.token(Key::ObjectType, ObjectType::of).unwrap_or(ObjectType::Unsaid);
        let of = object_type.list_parameter();
        Cmcd {
            version: self.token(Key::Version, Version::of).unwrap_or(Version::One),
            session: self.text(Key::Session),
            content: self.text(Key::Content),
            object_type,
            format: self.token(Key::Format, StreamingFormat::of).unwrap_or(StreamingFormat::Unsaid),
            stream_type: self.token(Key::StreamType, StreamType::of).unwrap_or(StreamType::Unsaid),
            bitrate_kbps: self.number(Key::Bitrate, of),
            top_bitrate_kbps: self.number(Key::TopBitrate, of),
            throughput_kbps: self.number(Key::Throughput, of),
            requested_kbps: self.number(Key::Requested, of),
            buffer_millis: self.number(Key::Buffer, of),
            duration_millis: self.number(Key::Duration, of),
            deadline_millis: self.number(Key::Deadline, of),
            start_delay_millis: self.number(Key::StartDelay, of),
            playback_rate_percent: self.percent(Key::PlaybackRate),
            is_startup: self.flag(Key::Startup),
            is_starved: self.flag(Key::Starved),
            names_next: [Key::NextObject, Key::NextRange]
                .iter()
                .any(|&key| self.values[key as usize].is_some()),
            ignored: self.ignored,
        }
    }

    /// Reads a value that was sent; one that cannot be read is counted.
    fn take<T>(&mut self, key: Key, read: impl FnOnce(&'a [u8]) -> Option<T>) -> Option<T> {
        let value = self.values[key as usize]?;
        let taken = read(value);
        if taken.is_none() {
            self.ignore(Ignored::Malformed);
        }
        taken
    }

    fn flag(&mut self, key: Key) -> bool {
        self.take(key, dictionary::flag).unwrap_or(false)
    }

    /// A number, or of a list of numbers the one for objects `of` that type, else the first. An empty list says nothing.
    fn number(&mut self, key: Key, of: &[u8]) -> Option<u32> {
        self.take(key, |value| dictionary::hundredths(value, of))
            .flatten()
            .map(|hundredths| hundredths / 100)
            .and_then(|number| u32::try_from(number).ok())
    }

    fn percent(&mut self, key: Key) -> Option<u32> {
        self.take(key, |value| dictionary::hundredths(value, b""))
            .flatten()
            .and_then(|number| u32::try_from(number).ok())
    }

    fn token<T>(&mut self, key: Key, known: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.take(key, dictionary::token).map(known)
    }

    fn text<const N: usize>(&mut self, key: Key) -> Option<Text<N>> {
        let unescaped = self.take(key, dictionary::text)?;
        let text = Text::new(&unescaped);
        if text.is_none() {
            self.ignore(Ignored::TooLong);
        }
        text
    }
}

//! What the tokens of CMCD mean. The words are labels of metrics and stand in the access log.

use crate::stats::causes;

causes! {
    /// The version of CTA-5004 that a player speaks.
    Version {
        One = "1": "CTA-5004, or nothing said.",
        Two = "2": "CTA-5004-B.",
        Other = "other": "A version that is not known here.",
    }
}

causes! {
    /// What a player asks for (`ot`).
    ObjectType {
        Video = "video": "A video segment.",
        Audio = "audio": "An audio segment.",
        Muxed = "muxed": "A segment with both.",
        Manifest = "manifest": "A playlist or MPD.",
        Init = "init": "An initialisation segment.",
        Caption = "caption": "Captions or subtitles.",
        TimedText = "timed_text": "A timed-text track in ISO BMFF.",
        Key = "key": "A key, licence or certificate.",
        Other = "other": "Something else, or a type that is not known here.",
        Unsaid = "unsaid": "The player does not say.",
    }
}

causes! {
    /// The streaming format (`sf`).
    StreamingFormat {
        Dash = "dash": "MPEG DASH.",
        Hls = "hls": "HTTP Live Streaming.",
        Smooth = "smooth": "Smooth Streaming.",
        Other = "other": "Another format.",
        Unsaid = "unsaid": "The player does not say.",
    }
}

causes! {
    /// The stream type (`st`).
    StreamType {
        Vod = "v": "All segments exist.",
        Live = "l": "Segments come as time goes by.",
        LowLatency = "ll": "The same, with low latency.",
        Unsaid = "": "The player does not say, or something that is not known here.",
    }
}

impl Version {
    /// By its token in CMCD.
    pub(super) fn of(token: &[u8]) -> Self {
        match token {
            b"1" => Self::One,
            b"2" => Self::Two,
            _ => Self::Other,
        }
    }
}

impl ObjectType {
    /// By its token in CMCD.
    pub(super) fn of(token: &[u8]) -> Self {
        match token {
            b"v" => Self::Video,
            b"a" => Self::Audio,
            b"av" => Self::Muxed,
            b"m" => Self::Manifest,
            b"i" => Self::Init,
            b"c" => Self::Caption,
            b"tt" => Self::TimedText,
            b"k" => Self::Key,
            _ => Self::Other,
        }
    }

    /// The parameter that marks a value for objects of that type in a list.
    pub(super) fn list_parameter(self) -> &'static [u8] {
        match self {
            Self::Video => b"v",
            Self::Audio => b"a",
            Self::Muxed => b"av",
            _ => b"",
        }
    }
}

impl StreamingFormat {
    /// By its token in CMCD.
    pub(super) fn of(token: &[u8]) -> Self {
        match token {
            b"d" => Self::Dash,
            b"h" => Self::Hls,
            b"s" => Self::Smooth,
            _ => Self::Other,
        }
    }
}

impl StreamType {
    /// By its token in CMCD.
    pub(super) fn of(token: &[u8]) -> Self {
        match token {
            b"v" => Self::Vod,
            b"l" => Self::Live,
            b"ll" => Self::LowLatency,
            _ => Self::Unsaid,
        }
    }

    /// The values of a metric's label, in the order of the numbers. The log leaves out what is not said; a label without a value would be
    /// none.
    pub fn labels() -> impl Iterator<Item = &'static str> {
        Self::words().map(|word| if word.is_empty() { "unsaid" } else { word })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_type_has_a_label_of_its_own() {
        assert_eq!(StreamType::labels().collect::<Vec<_>>(), ["v", "l", "ll", "unsaid"]);
        assert_eq!(StreamType::labels().nth(StreamType::Unsaid as usize), Some("unsaid"));
    }
}

//! The media type of a file, from the end of its name.

/// The types of what a title consists of, by extension. Sources: RFC 4337 (MP4), ISO/IEC 23009-1 (MPD), RFC
/// 8216 (playlists), RFC 8081 and IANA's registry for the rest.
const BY_EXTENSION: [(&str, &str); 30] = [
    ("aac", "audio/aac"),
    ("avif", "image/avif"),
    ("cmfa", "audio/mp4"),
    ("cmft", "application/mp4"),
    ("cmfv", "video/mp4"),
    ("css", "text/css"),
    ("gif", "image/gif"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("ico", "image/vnd.microsoft.icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript"),
    ("json", "application/json"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("m4a", "audio/mp4"),
    ("m4s", "video/iso.segment"),
    ("m4v", "video/mp4"),
    ("mp4", "video/mp4"),
    ("mpd", "application/dash+xml"),
    ("png", "image/png"),
    ("srt", "application/x-subrip"),
    ("svg", "image/svg+xml"),
    ("ts", "video/mp2t"),
    ("ttml", "application/ttml+xml"),
    ("txt", "text/plain"),
    ("vtt", "text/vtt"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("xml", "application/xml"),
];

/// The media type for a file of that name; `application/octet-stream` where its extension is not known.
pub fn media_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    BY_EXTENSION
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(extension))
        .map_or("application/octet-stream", |(_, media_type)| media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_known_whatever_their_case() {
        assert_eq!(media_type("stream.mpd"), "application/dash+xml");
        assert_eq!(media_type("MASTER.M3U8"), "application/vnd.apple.mpegurl");
        assert_eq!(media_type("video/1.m4s"), "video/iso.segment");
    }

    #[test]
    fn what_is_not_known_is_bytes() {
        for name in ["", "m4s", "a.", "a.m4", "a.exe", ".mp4x"] {
            assert_eq!(media_type(name), "application/octet-stream", "{name}");
        }
    }
}

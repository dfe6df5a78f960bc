//! Which objects never change under their name.

/// Media types whose objects get a new name when they change: segments, subtitles, images, fonts. Playlists and MPDs
/// are rewritten in place, and so may be whatever is not known here.
pub(super) fn is_immutable(media_type: &str) -> bool {
    let essence = media_type.split_once(';').map_or(media_type, |(essence, _)| essence).trim_ascii();
    let is = |known: &&str| essence.eq_ignore_ascii_case(known);
    let family_is = |known: &&str| {
        let family = essence.as_bytes().get(..known.len());
        family.is_some_and(|family| family.eq_ignore_ascii_case(known.as_bytes()))
    };
    !PLAYLISTS.iter().any(is) && (FAMILIES.iter().any(family_is) || SINGLE.iter().any(is))
}

const PLAYLISTS: [&str; 2] = ["audio/mpegurl", "audio/x-mpegurl"];

const FAMILIES: [&str; 4] = ["video/", "audio/", "image/", "font/"];

const SINGLE: [&str; 4] = ["text/vtt", "application/ttml+xml", "application/x-subrip", "application/mp4"];

#[cfg(test)]
mod tests {
    use super::is_immutable;

    #[test]
    fn segments_subtitles_and_images_are_immutable() {
        for media_type in [
            "video/mp4",
            "VIDEO/MP4",
            "video/iso.segment",
            "video/mp2t",
            "audio/mp4",
            "audio/aac",
            "text/vtt; charset=utf-8",
            "application/mp4",
            "image/jpeg",
            "application/ttml+xml",
        ] {
            assert!(is_immutable(media_type), "{media_type}");
        }
    }

    #[test]
    fn playlists_and_what_is_not_known_are_not() {
        for media_type in [
            "application/vnd.apple.mpegurl",
            "application/dash+xml",
            "audio/mpegurl",
            "Audio/X-MpegURL;charset=utf-8",
            "application/json",
            "text/html",
            "application/octet-stream",
            "",
            "video",
            "é",
        ] {
            assert!(!is_immutable(media_type), "{media_type}");
        }
    }
}

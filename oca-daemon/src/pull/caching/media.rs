//! What kind of a thing a target names, where upstream says nothing of its freshness.

use control_client::media_type::media_type;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// What a player asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A playlist or MPD: it changes while the title is live.
    Playlist,
    /// A segment, or a whole file of sound or pictures: it never changes.
    Segment,
    /// Anything else.
    Other,
}

/// By media type; where that says nothing, by the end of the path.
pub(super) fn kind(target: &str, response: &HeaderMap) -> Kind {
    let said = response.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match of_type(said) {
        Kind::Other => of_path(target),
        kind => kind,
    }
}

fn of_path(target: &str) -> Kind {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    of_type(media_type(path.rsplit('/').next().unwrap_or_default()))
}

fn of_type(media_type: &str) -> Kind {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/vnd.apple.mpegurl"
        | "application/x-mpegurl"
        | "audio/mpegurl"
        | "audio/x-mpegurl"
        | "application/dash+xml" => Kind::Playlist,
        "application/mp4" | "text/vtt" | "application/ttml+xml" => Kind::Segment,
        essence if essence.starts_with("video/") || essence.starts_with("audio/") => Kind::Segment,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pull::caching::tests::fields;

    #[test]
    fn playlists_and_segments_are_known_by_type_then_by_path() {
        for (target, content_type, expected) in [
            ("/t/master.m3u8", None, Kind::Playlist),
            ("/t/manifest.MPD?x=1.m4s", None, Kind::Playlist),
            ("/t/list", Some("application/vnd.apple.mpegurl"), Kind::Playlist),
            ("/t/list", Some("Application/X-MPEGURL; charset=utf-8"), Kind::Playlist),
            ("/t/a.m3u8", Some("text/plain"), Kind::Playlist),
            ("/t/1.m4s", None, Kind::Segment),
            ("/t/1.ts", Some("application/octet-stream"), Kind::Segment),
            ("/t/1", Some("video/mp2t"), Kind::Segment),
            ("/t/en.vtt", None, Kind::Segment),
            ("/t.m4s/", None, Kind::Other),
            ("/t/poster.jpg", Some("image/jpeg"), Kind::Other),
            ("/t", Some("text/plain"), Kind::Other),
            ("/", None, Kind::Other),
        ] {
            let response =
                fields(&content_type.map(|value| ("content-type", value)).into_iter().collect::<Vec<_>>());
            assert_eq!(kind(target, &response), expected, "{target} {content_type:?}");
        }
    }
}

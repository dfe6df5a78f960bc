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

/// By media type. The end of the path, which whoever asks has chosen, counts only where the type says nothing: a page of a login, or
/// one that says that there is nothing, is no segment because a segment was asked for. Of types that say only that it is text, it may
/// still make a playlist: these are fresh for a moment only.
pub(super) fn kind(target: &str, response: &HeaderMap) -> Kind {
    let Some(said) = response.get(CONTENT_TYPE) else { return of_path(target) };
    let Ok(said) = said.to_str() else { return Kind::Other };
    let essence = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        // The second is what S3 says of what it was not told of.
        "application/octet-stream" | "binary/octet-stream" => of_path(target),
        "text/plain" | "text/xml" | "application/xml" if of_path(target) == Kind::Playlist => Kind::Playlist,
        essence => of_type(essence),
    }
}

fn of_path(target: &str) -> Kind {
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    of_type(media_type(path.rsplit('/').next().unwrap_or_default()))
}

fn of_type(essence: &str) -> Kind {
    match essence {
        "application/vnd.apple.mpegurl"
        | "application/x-mpegurl"
        | "audio/mpegurl"
        | "audio/x-mpegurl"
        | "application/dash+xml" => Kind::Playlist,
        "application/mp4" | "text/vtt" | "application/ttml+xml" => Kind::Segment,
        _ if essence.starts_with("video/") || essence.starts_with("audio/") => Kind::Segment,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pull::caching::tests::fields;

    #[test]
    fn playlists_and_segments_are_known_by_type_and_by_path_where_there_is_none() {
        for (target, content_type, expected) in [
            ("/t/master.m3u8", None, Kind::Playlist),
            ("/t/manifest.MPD?x=1.m4s", None, Kind::Playlist),
            ("/t/list", Some("application/vnd.apple.mpegurl"), Kind::Playlist),
            ("/t/list", Some("Application/X-MPEGURL; charset=utf-8"), Kind::Playlist),
            ("/t/a.m3u8", Some("text/plain"), Kind::Playlist),
            ("/t/1.m4s", None, Kind::Segment),
            ("/t/1.ts", Some("application/octet-stream"), Kind::Segment),
            ("/t/1.ts", Some("Binary/Octet-Stream"), Kind::Segment),
            ("/t/1", Some("video/mp2t"), Kind::Segment),
            ("/t/manifest.mpd", Some("text/xml; charset=utf-8"), Kind::Playlist),
            ("/t/manifest.mpd", Some("application/xml"), Kind::Playlist),
            ("/t/1.m4s", Some("text/html"), Kind::Other),
            ("/t/1.m4s", Some("text/plain"), Kind::Other),
            ("/t/1.m4s", Some("application/json"), Kind::Other),
            ("/t/a.m3u8", Some("text/html; charset=utf-8"), Kind::Other),
            ("/t/1.m4s", Some("\u{fc}"), Kind::Other),
            ("/t/1.m4s", Some(""), Kind::Other),
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

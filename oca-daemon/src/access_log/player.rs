//! What a player says of itself (CMCD), as a part of a log line.

use super::line::{append_decimal, append_escaped};
use crate::media::cmcd::{Cmcd, ObjectType, StreamingFormat, Version};

/// CMCD by its own keys and in its own units, as far as it was said and read; lists as the one number that was taken.
pub(super) fn append_cmcd(out: &mut Vec<u8>, cmcd: &Cmcd) {
    out.extend_from_slice(b",\"cmcd\":{\"v\":");
    out.extend_from_slice(if cmcd.version == Version::Other {
        b"null"
    } else {
        cmcd.version.as_str().as_bytes()
    });
    let texts = [
        ("sid", cmcd.session.as_ref().map_or(&b""[..], |session| session.as_bytes())),
        ("cid", cmcd.content.as_ref().map_or(&b""[..], |content| content.as_bytes())),
        ("sf", if cmcd.format == StreamingFormat::Unsaid { b"" } else { cmcd.format.as_str().as_bytes() }),
        ("st", cmcd.stream_type.as_str().as_bytes()),
        (
            "ot",
            if cmcd.object_type == ObjectType::Unsaid { b"" } else { cmcd.object_type.as_str().as_bytes() },
        ),
    ];
    for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        append_key(out, key);
        out.push(b'"');
        append_escaped(out, text);
        out.push(b'"');
    }
    let numbers = [
        ("br", cmcd.bitrate_kbps),
        ("tb", cmcd.top_bitrate_kbps),
        ("bl", cmcd.buffer_millis),
        ("mtp", cmcd.throughput_kbps),
        ("rtp", cmcd.requested_kbps),
        ("d", cmcd.duration_millis),
        ("dl", cmcd.deadline_millis),
        ("msd", cmcd.start_delay_millis),
        ("pr_percent", cmcd.playback_rate_percent),
    ];
    for (key, number) in numbers {
        if let Some(number) = number {
            append_key(out, key);
            append_decimal(out, number.into());
        }
    }
    for (key, _) in [("su", cmcd.is_startup), ("bs", cmcd.is_starved)].into_iter().filter(|(_, is_so)| *is_so)
    {
        append_key(out, key);
        out.extend_from_slice(b"true");
    }
    out.push(b'}');
}

fn append_key(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn logged(said: &str) -> Value {
        let mut out = b"{\"time\":0".to_vec();
        append_cmcd(&mut out, &Cmcd::read("/", &[said.as_bytes()]).unwrap());
        out.push(b'}');
        serde_json::from_slice::<Value>(&out).expect("it is JSON")["cmcd"].clone()
    }

    #[test]
    fn what_a_player_says_is_logged_under_its_own_keys() {
        assert_eq!(
            logged(
                "br=3200,bl=20100,bs,cid=\"a\\\"b\",d=4004,mtp=25400,ot=v,pr=1.1,rtp=12000,sf=h,sid=\"6e2f\",st=v,su,tb=6000"
            ),
            json!({
                "v": 1, "sid": "6e2f", "cid": "a\"b", "sf": "hls", "st": "v", "ot": "video", "br": 3200, "tb": 6000,
                "bl": 20100, "mtp": 25400, "rtp": 12000, "d": 4004, "pr_percent": 110, "su": true, "bs": true,
            })
        );
    }

    #[test]
    fn what_it_does_not_say_is_not_there() {
        assert_eq!(logged("v=7"), json!({ "v": null }));
        assert_eq!(logged("br=x"), json!({ "v": 1 }));
    }
}

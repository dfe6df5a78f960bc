//! What a player says of itself (CMCD, CTA-5004), where the requests are those of players.

/// The fields of each of its requests, as players of version 1 write them.
///
/// It plays near to live, and so has less than 5 s in its buffer: that is `urgent`, and our daemon sends as fast as the connection can, whatever the
/// player finds sufficient (`rtp`). A film's players would be sent about three times their bitrate, and 64 of those keep no core busy. What they
/// cost besides is therefore not measured: setting a socket's pace, and the kernel's keeping to it. What it will ask for next is in every
/// directory of hot objects.
pub(crate) const FIELDS: [(&str, &str); 4] = [
    ("CMCD-Object", "br=3200,d=2000,ot=v,tb=6000"),
    ("CMCD-Request", "bl=3900,dl=3900,mtp=48100,nor=\"00001.m4s\""),
    (
        "CMCD-Session",
        "cid=\"faec5fc2-ac30-11ea-bb37-0242ac130002\",sf=h,sid=\"6e2fb550-c457-11e9-bb97-0800200c9a66\",st=l",
    ),
    ("CMCD-Status", "rtp=16000"),
];

#[cfg(test)]
mod tests {
    use control_client::config::ServeConfig;
    use oca_daemon::media::cmcd::{IgnoredCounts, ObjectType};
    use oca_daemon::media::{Cmcd, Pace, PaceCause, PacingLimits, pace};

    use super::*;

    /// The room for a request's head that nginx has from the start (`client_header_buffer_size`), and what else is in one.
    const NGINX_HEAD_BYTES: usize = 1024;
    const OTHER_BYTES: usize = 256;

    #[test]
    fn our_daemon_takes_all_of_it_and_sends_as_fast_as_it_can() {
        let lines = FIELDS.map(|(_, value)| value.as_bytes());
        let cmcd = Cmcd::read("/", &lines).unwrap();
        assert_eq!(cmcd.ignored, IgnoredCounts::default());
        assert_eq!((cmcd.object_type, cmcd.names_next), (ObjectType::Video, true));
        let serve = ServeConfig::default();
        let limits = PacingLimits { min: serve.pacing_min, max: serve.pacing_max };
        assert_eq!(pace(&cmcd, 2 << 20, Some(&limits)), Pace::Unlimited(PaceCause::Urgent));
    }

    #[test]
    fn nginx_needs_no_more_memory_for_such_a_request() {
        let bytes: usize = FIELDS.iter().map(|(name, value)| name.len() + value.len() + ": \r\n".len()).sum();
        assert!(bytes + OTHER_BYTES < NGINX_HEAD_BYTES, "{bytes}");
    }
}

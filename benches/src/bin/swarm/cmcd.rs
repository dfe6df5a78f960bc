//! What a player says of itself with each request for a segment: CMCD (CTA-5004), version 1, as text. Keys are in the order of the alphabet,
//! in the query as in each of the four fields.

use super::ladder::{HIGHEST, LADDER, SEGMENT};
use super::watching::Condition;

/// Where a player writes it: pages in the query, so that another host need not be asked first (CORS), others in fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Query,
    Fields,
}

/// What is said with one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said<'a> {
    pub(crate) condition: Condition,
    /// The representation of the segment.
    pub(crate) representation: usize,
    /// The name of the segment behind it; none, where it is the last.
    pub(crate) next: Option<&'a str>,
    /// What is watched.
    pub(crate) content: &'a str,
    /// Which viewing of it.
    pub(crate) session: &'a str,
}

/// A field, by the name that the standard gives it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Object,
    Request,
    Session,
    Status,
}

/// All of them, with their names.
const FIELDS: [(Field, &str); 4] = [
    (Field::Object, "CMCD-Object"),
    (Field::Request, "CMCD-Request"),
    (Field::Session, "CMCD-Session"),
    (Field::Status, "CMCD-Status"),
];

impl Said<'_> {
    /// What is asked for: the target of a segment, and with it what is said, if that is where.
    pub(crate) fn target(&self, carrier: Carrier, target: &str) -> String {
        match carrier {
            Carrier::Query => format!("{target}?CMCD={}", escaped(&joined(&self.members(), |_| true))),
            Carrier::Fields => target.to_owned(),
        }
    }

    /// The lines of the request's head that say it; empty, if that is not where.
    pub(crate) fn lines(&self, carrier: Carrier) -> String {
        let mut lines = String::new();
        if carrier == Carrier::Fields {
            let members = self.members();
            for (field, name) in FIELDS {
                let value = joined(&members, |of| of == field);
                if !value.is_empty() {
                    lines.push_str(&format!("{name}: {value}\r\n"));
                }
            }
        }
        lines
    }

    /// Keys with their values, in the order of the alphabet, and the fields that they belong to.
    fn members(&self) -> Vec<(Field, String)> {
        let Condition { held, throughput, is_startup, is_starved } = self.condition;
        let held = hundreds(held.as_secs_f64() * 1e3);
        let kbps = |representation: usize| LADDER[representation].bitrate / 1000;
        let members = [
            (Field::Request, Some(format!("bl={held}"))),
            (Field::Object, Some(format!("br={}", kbps(self.representation)))),
            (Field::Status, is_starved.then(|| "bs".to_owned())),
            (Field::Session, Some(format!("cid=\"{}\"", self.content))),
            (Field::Object, Some(format!("d={}", SEGMENT.as_millis()))),
            // At the rate of real time, what is held is how long it lasts.
            (Field::Request, Some(format!("dl={held}"))),
            (Field::Request, throughput.map(|bits| format!("mtp={}", hundreds(bits / 1e3)))),
            (Field::Request, self.next.map(|name| format!("nor=\"{}\"", escaped(name)))),
            (Field::Object, Some("ot=v".to_owned())),
            (Field::Session, Some("sf=h".to_owned())),
            (Field::Session, Some(format!("sid=\"{}\"", self.session))),
            (Field::Session, Some("st=v".to_owned())),
            (Field::Request, is_startup.then(|| "su".to_owned())),
            (Field::Object, Some(format!("tb={}", kbps(HIGHEST)))),
        ];
        members.into_iter().filter_map(|(field, member)| Some((field, member?))).collect()
    }
}

/// The members of those fields, as one line.
fn joined(members: &[(Field, String)], is_meant: impl Fn(Field) -> bool) -> String {
    let meant = members.iter().filter(|(field, _)| is_meant(*field)).map(|(_, member)| member.as_str());
    meant.collect::<Vec<_>>().join(",")
}

/// To the nearest hundred, as the standard wants it.
fn hundreds(value: f64) -> u64 {
    (value / 100.0).round() as u64 * 100
}

/// As a part of a URL: every byte escaped that is not unreserved (RFC 3986, section 2.3).
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use control_client::config::ServeConfig;
    use oca_daemon::media::cmcd::{
        IgnoredCounts, ObjectType, StreamType, StreamingFormat, Text, next_objects,
    };
    use oca_daemon::media::{Cmcd, Pace, PaceCause, PacingLimits, pace};

    use super::*;

    const PLAYING: Condition = Condition {
        held: Duration::from_millis(17_960),
        throughput: Some(4_360_000.0),
        is_startup: false,
        is_starved: false,
    };

    const SAID: Said<'_> = Said {
        condition: PLAYING,
        representation: 2,
        next: Some("segment-00007.m4s"),
        content: "title-0001",
        session: "6e2fb550-c457-41e9-bb97-0800200c9a66",
    };

    /// As the daemon reads it from a request, and the next objects that it is told of.
    fn read(said: &Said<'_>, carrier: Carrier) -> (Cmcd, Vec<String>) {
        let (target, lines) = (said.target(carrier, "/a/segment-00006.m4s"), said.lines(carrier));
        let values: Vec<&[u8]> =
            lines.lines().map(|line| line.split_once(": ").unwrap().1.as_bytes()).collect();
        let cmcd = Cmcd::read(&target, &values).unwrap();
        let mut next = Vec::new();
        if cmcd.names_next {
            next_objects(&target, &values, |one| {
                next.push(String::from_utf8(one.unwrap().reference.to_vec()).unwrap());
            });
        }
        (cmcd, next)
    }

    fn paced(said: &Said<'_>) -> Pace {
        let serve = ServeConfig::default();
        let limits = PacingLimits { min: serve.pacing_min, max: serve.pacing_max };
        let bytes = LADDER[said.representation].segment_bytes();
        pace(&read(said, Carrier::Query).0, bytes, Some(&limits))
    }

    #[test]
    fn the_daemon_reads_all_of_it_from_the_query_and_from_the_fields() {
        let (cmcd, next) = read(&SAID, Carrier::Query);
        assert_eq!((cmcd.clone(), next.clone()), read(&SAID, Carrier::Fields));
        assert_eq!(next, ["segment-00007.m4s"]);
        assert_eq!(cmcd.ignored, IgnoredCounts::default());
        assert_eq!(
            (cmcd.bitrate_kbps, cmcd.top_bitrate_kbps, cmcd.throughput_kbps),
            (Some(1500), Some(3000), Some(4400))
        );
        assert_eq!(
            (cmcd.buffer_millis, cmcd.deadline_millis, cmcd.duration_millis),
            (Some(18_000), Some(18_000), Some(4000))
        );
        assert_eq!(
            (cmcd.object_type, cmcd.format, cmcd.stream_type),
            (ObjectType::Video, StreamingFormat::Hls, StreamType::Vod)
        );
        assert_eq!(cmcd.content, Text::new(b"title-0001"));
        assert_eq!(cmcd.session, Text::new(SAID.session.as_bytes()));
        assert_eq!((cmcd.is_startup, cmcd.is_starved), (false, false));
    }

    #[test]
    fn every_field_has_its_keys_in_order_and_one_without_keys_is_not_sent() {
        assert_eq!(
            SAID.lines(Carrier::Fields),
            "CMCD-Object: br=1500,d=4000,ot=v,tb=3000\r\n\
             CMCD-Request: bl=18000,dl=18000,mtp=4400,nor=\"segment-00007.m4s\"\r\n\
             CMCD-Session: cid=\"title-0001\",sf=h,sid=\"6e2fb550-c457-41e9-bb97-0800200c9a66\",st=v\r\n"
        );
        assert_eq!(SAID.target(Carrier::Fields, "/a/1.m4s"), "/a/1.m4s");
        assert_eq!(SAID.lines(Carrier::Query), "");
    }

    #[test]
    fn who_begins_says_that_and_nothing_that_it_does_not_know() {
        let condition = Condition { held: Duration::ZERO, throughput: None, is_startup: true, ..PLAYING };
        let said = Said { condition, representation: 0, next: None, ..SAID };
        assert_eq!(
            said.target(Carrier::Query, "/a/1.m4s"),
            "/a/1.m4s?CMCD=bl%3D0%2Cbr%3D400%2Ccid%3D%22title-0001%22%2Cd%3D4000%2Cdl%3D0%2Cot%3Dv%2Csf%3Dh%2C\
             sid%3D%226e2fb550-c457-41e9-bb97-0800200c9a66%22%2Cst%3Dv%2Csu%2Ctb%3D3000"
        );
        let (cmcd, next) = read(&said, Carrier::Fields);
        assert_eq!((cmcd.throughput_kbps, cmcd.is_startup, cmcd.ignored), (None, true, [0; 3]));
        assert!(next.is_empty(), "{next:?}");
    }

    #[test]
    fn a_player_with_a_buffer_is_paced_and_one_in_need_is_not() {
        assert!(matches!(paced(&SAID), Pace::AtMost(_, PaceCause::Bitrate)));
        let starved = Condition { is_starved: true, ..PLAYING };
        let short = Condition { held: Duration::from_millis(4900), ..PLAYING };
        let seeking = Condition { is_startup: true, ..PLAYING };
        for condition in [starved, short, seeking] {
            let said = Said { condition, ..SAID };
            assert_eq!(paced(&said), Pace::Unlimited(PaceCause::Urgent), "{condition:?}");
        }
    }
}

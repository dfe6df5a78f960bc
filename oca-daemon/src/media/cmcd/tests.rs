use proptest::prelude::*;

use super::*;

fn of_lines(lines: &[&str]) -> Cmcd {
    let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
    Cmcd::read("/a/1.m4s", &lines).expect("the fields are there")
}

fn of_query(target: &str) -> Cmcd {
    Cmcd::read(target, &[]).expect("the argument is there")
}

fn ignored(cmcd: &Cmcd) -> (u8, u8, u8) {
    let of = |why: Ignored| cmcd.ignored[why as usize];
    (of(Ignored::Malformed), of(Ignored::TooLong), of(Ignored::TooMany))
}

const NOTHING_IGNORED: (u8, u8, u8) = (0, 0, 0);

#[test]
fn a_request_without_cmcd_has_none() {
    for target in ["/a/1.m4s", "/a/1.m4s?", "/a/1.m4s?token=br%3D1"] {
        assert_eq!(Cmcd::read(target, &[]), None, "{target}");
    }
}

#[test]
fn only_a_picture_has_a_bitrate_to_stay_below() {
    assert_eq!(of_lines(&["br=3200,ot=v"]).picture_bitrate_kbps(), Some(3200));
    assert_eq!(of_lines(&["br=3200,ot=av"]).picture_bitrate_kbps(), Some(3200));
    for line in ["br=128,ot=a", "br=128", "br=0,ot=v", "ot=v"] {
        assert_eq!(of_lines(&[line]).picture_bitrate_kbps(), None, "{line}");
    }
}

#[test]
fn version_1_is_read_from_a_query_as_hls_js_writes_it() {
    let cmcd = of_query(
        "/a/1.m4s?CMCD=bl%3D21300%2Cbr%3D3200%2Cbs%2Ccid%3D%22faec5fc2%22%2Ccom.example-hello%3D%22world%22%2Cd%3D4004%2C\
         dl%3D18500%2Cmtp%3D48100%2Cnor%3D%22..%252F300kbps%252Ftrack.m4v%22%2Cot%3Dv%2Cpr%3D1.08%2Crtp%3D15000%2Csf%3Dh%2C\
         sid%3D%226e2fb550-c457-11e9-bb97-0800200c9a66%22%2Cst%3Dv%2Csu%2Ctb%3D6000",
    );
    let expected = Cmcd {
        version: Version::One,
        session: Text::new(b"6e2fb550-c457-11e9-bb97-0800200c9a66"),
        content: Text::new(b"faec5fc2"),
        object_type: ObjectType::Video,
        format: StreamingFormat::Hls,
        stream_type: StreamType::Vod,
        bitrate_kbps: Some(3200),
        top_bitrate_kbps: Some(6000),
        throughput_kbps: Some(48_100),
        requested_kbps: Some(15_000),
        buffer_millis: Some(21_300),
        duration_millis: Some(4004),
        deadline_millis: Some(18_500),
        start_delay_millis: None,
        playback_rate_percent: Some(108),
        is_startup: true,
        is_starved: true,
        names_next: true,
        ignored: [0; 3],
    };
    assert_eq!(cmcd, expected);
}

#[test]
fn version_1_is_read_from_the_four_fields_whichever_has_which_key() {
    let cmcd = of_lines(&[
        "br=3200,d=4004,ot=a,tb=6000",
        "bl=21300, dl=18500 ,mtp=48100",
        "sid=\"one\",v=1,sf=d",
        "bs,rtp=15000",
    ]);
    assert_eq!(
        (cmcd.version, cmcd.object_type, cmcd.format),
        (Version::One, ObjectType::Audio, StreamingFormat::Dash)
    );
    assert_eq!(
        (cmcd.bitrate_kbps, cmcd.buffer_millis, cmcd.requested_kbps),
        (Some(3200), Some(21_300), Some(15_000))
    );
    assert!(cmcd.is_starved && !cmcd.is_startup);
    assert_eq!(ignored(&cmcd), NOTHING_IGNORED);
}

#[test]
fn of_version_2s_lists_the_value_of_the_objects_type_counts() {
    let line = "bg,bl=(2100;v 1800;a),br=(3000;v 164;a),bs,bsa=(3;v),bsd=(1200;v 100;a),cid=\"content-id-123\",cs=\"g48\",d=4000,\
        dl=1000,ec=(\"2001\"),ltc=13500,msd=1700,mtp=(15000;v 6000;a),nor=(\"next-seg.mp4\" \"b,(c\";r=\"0-99\"),nr,ot=OT,pr=1.1,\
        rtp=12000,sf=d,sid=\"session-id-123\",sn=0,st=l,sta=p,su,tb=(6000;v 350;a),tbl=(2000;v 2000;a),v=2";
    for (token, bitrate, top, buffer, throughput) in
        [("v", 3000, 6000, 2100, 15_000), ("a", 164, 350, 1800, 6000), ("m", 3000, 6000, 2100, 15_000)]
    {
        let cmcd = of_lines(&[&line.replace("OT", token)]);
        assert_eq!((cmcd.version, cmcd.start_delay_millis), (Version::Two, Some(1700)), "{token}");
        assert_eq!((cmcd.bitrate_kbps, cmcd.top_bitrate_kbps), (Some(bitrate), Some(top)), "{token}");
        assert_eq!((cmcd.buffer_millis, cmcd.throughput_kbps), (Some(buffer), Some(throughput)), "{token}");
        assert_eq!((cmcd.requested_kbps, cmcd.playback_rate_percent), (Some(12_000), Some(110)), "{token}");
        assert_eq!(ignored(&cmcd), NOTHING_IGNORED, "{token}");
    }
}

#[test]
fn parameters_and_empty_lists_are_no_mistakes() {
    let cmcd = of_lines(&["br=(),bl=(2000 1500);p=2,d=1200;x,v=2;x,mtp=( 15000 ),sid=\"abc\";x"]);
    assert_eq!((cmcd.bitrate_kbps, cmcd.buffer_millis, cmcd.duration_millis), (None, Some(2000), Some(1200)));
    assert_eq!((cmcd.version, cmcd.throughput_kbps), (Version::Two, Some(15_000)));
    assert_eq!(cmcd.session, Text::new(b"abc"));
    assert_eq!(ignored(&cmcd), NOTHING_IGNORED);
}

#[test]
fn a_value_that_cannot_be_read_is_left_out_and_counted_and_the_others_are_read() {
    for wrong in [
        "br=",
        "br=fast",
        "br=-1",
        "br=1e3",
        "br=99999999999",
        "br=4294967296",
        "br=(1 2",
        "br=(fast)",
        "bl=\"21300\"",
        "su=maybe",
        "bs=1",
        "sid=",
        "sid=\"\"",
        "sid=\"a",
        "sid=\"a\\\"",
        "sid=\"a\nb\"",
        "ot=",
        "ot=\"v",
        "pr=.5",
        "pr=1.2.3",
    ] {
        let cmcd = of_lines(&["rtp=100", wrong, "mtp=200"]);
        assert_eq!((cmcd.requested_kbps, cmcd.throughput_kbps), (Some(100), Some(200)), "{wrong:?}");
        assert_eq!(ignored(&cmcd), (1, 0, 0), "{wrong:?}");
        assert_eq!((cmcd.bitrate_kbps, cmcd.session, cmcd.is_startup), (None, None, false), "{wrong:?}");
    }
}

#[test]
fn what_is_nearly_right_is_taken() {
    for (line, expected) in
        [("ot=\"av\"", ObjectType::Muxed), ("ot=x", ObjectType::Other), ("ot=i;q", ObjectType::Init)]
    {
        assert_eq!(of_lines(&[line]).object_type, expected, "{line}");
    }
    assert_eq!(of_lines(&["br=3200.7"]).bitrate_kbps, Some(3200));
    assert_eq!(of_lines(&["sid=abc-1"]).session, Text::new(b"abc-1"));
    assert_eq!(of_lines(&["cid=\"a\\\"b\""]).content, Text::new(b"a\"b"));
    assert!(of_lines(&["bs=?1"]).is_starved && !of_lines(&["bs=?0"]).is_starved);
    assert_eq!(of_lines(&["v=3"]).version, Version::Other);
    assert_eq!(of_lines(&["br=1,br=2"]).bitrate_kbps, Some(2), "the last one counts, as in any dictionary");
}

#[test]
fn identifiers_are_as_long_as_the_standard_allows_and_no_longer() {
    let of = |sid: usize, cid: usize| {
        of_lines(&[&format!("sid=\"{}\",cid=\"{}\"", "s".repeat(sid), "c".repeat(cid))])
    };
    let longest = of(SESSION_BYTES_MAX, CONTENT_BYTES_MAX);
    assert!(longest.session.is_some() && longest.content.is_some() && ignored(&longest) == NOTHING_IGNORED);
    let longer = of(SESSION_BYTES_MAX + 1, CONTENT_BYTES_MAX + 1);
    assert!(longer.session.is_none() && longer.content.is_none() && ignored(&longer) == (0, 2, 0));
}

#[test]
fn no_more_keys_and_bytes_are_read_than_the_bounds_say() {
    let keys = |count: usize| format!("{}br=1", "a-b,".repeat(count - 1));
    assert_eq!(of_lines(&[&keys(CMCD_KEYS_MAX)]).bitrate_kbps, Some(1));
    let more = of_lines(&[&keys(CMCD_KEYS_MAX + 1)]);
    assert_eq!((more.bitrate_kbps, ignored(&more)), (None, (0, 0, 1)));

    let long = format!("a-b=\"{}\",br=1", "x".repeat(CMCD_BYTES_MAX));
    for cmcd in
        [of_lines(&[&long, "bl=5"]), Cmcd::read(&format!("/a/1.m4s?CMCD={long}"), &[b"bl=5"]).unwrap()]
    {
        assert_eq!((cmcd.bitrate_kbps, cmcd.buffer_millis, ignored(&cmcd)), (None, Some(5), (0, 1, 0)));
    }
}

#[test]
fn what_is_asked_for_next_is_read_from_a_query_and_from_fields_by_version() {
    let named =
        |target: &str, lines: &[&[u8]]| {
            let mut named = Vec::new();
            next_objects(target, lines, |next| {
                named.push(next.map(|next| {
                    (String::from_utf8_lossy(next.reference).into_owned(), next.is_escaped_again)
                }));
            });
            named
        };
    let of = |reference: &str, is_escaped_again| Some((reference.to_owned(), is_escaped_again));
    assert_eq!(
        named("/a/1.m4s?CMCD=bl%3D5%2Cnor%3D%22..%252F2.m4s%22%2Cot%3Dv", &[]),
        [of("..%2F2.m4s", true)]
    );
    assert_eq!(
        named("/a/1.m4s", &[b"bl=5", b"nor=(\"2.m4s\" \"3.m4s\"),v=2"]),
        [of("2.m4s", false), of("3.m4s", false)]
    );
    assert_eq!(named("/a/1.m4s", &[b"nor=\"2.m4s"]), [None]);
    assert_eq!(named("/a/1.m4s", &[b"nrr=\"0-9\""]), [of("", false)]);
    assert!(!of_lines(&["bl=5,norm=2"]).names_next && of_lines(&["nrr=\"0-9\""]).names_next);
}

#[test]
fn where_a_query_and_fields_both_speak_the_fields_count() {
    let cmcd = Cmcd::read("/a/1.m4s?CMCD=br%3D1%2Cbl%3D2", &[b"br=3"]).unwrap();
    assert_eq!((cmcd.bitrate_kbps, cmcd.buffer_millis), (Some(3), Some(2)));
}

proptest! {
    #[test]
    fn whatever_is_sent_is_read_without_a_panic(
        query in "(%[0-9a-fA-F]{0,2}|[ -~]){0,80}",
        lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..4),
    ) {
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        let _ = Cmcd::read(&format!("/a?CMCD={query}"), &lines);
        next_objects(&format!("/a?CMCD=nor%3D{query}"), &lines, |next| {
            if let Some(next) = next {
                let _ = crate::media::resolve("/a/b", &next, &mut [0; crate::limits::PREFETCH_PLACE_BYTES_MAX]);
            }
        });
    }

    #[test]
    fn nearly_right_members_never_hide_a_right_one_before_them(
        nearly in "((br|bl|ot|sid|su|nor)=?[(\")0-9a-z;, \\\\.?-]{0,12},?){0,6}",
    ) {
        let cmcd = of_lines(&[&format!("rtp=700,{nearly}")]);
        prop_assert_eq!(cmcd.requested_kbps, Some(700));
    }
}

use proptest::prelude::*;

use super::*;

const MASTER: &str = include_str!("../../../demo/sample/title/master.m3u8");
const MPD: &str = include_str!("../../../demo/sample/title/manifest.mpd");
const STEERING: &str = "http://steer.example/v1/steer/x?path=/titles/sample&pathways=oca-1,oca-2";

fn directory() -> BundlePath {
    BundlePath::parse("/titles/sample").unwrap()
}

fn pathways(pairs: &[(&str, &str)]) -> Vec<Pathway> {
    pairs.iter().map(|&(id, base_url)| Pathway { id: id.to_owned(), base_url: base_url.to_owned() }).collect()
}

fn two() -> Vec<Pathway> {
    pathways(&[("oca-1", "http://192.0.2.7:8080"), ("oca-2", "https://oca-2.example.net")])
}

fn one() -> Vec<Pathway> {
    pathways(&[("oca-1", "http://192.0.2.7")])
}

fn hls(original: &str, pathways: &[Pathway]) -> Result<String, ManifestError> {
    Format::Hls.with_pathways(original, &directory(), pathways, STEERING)
}

fn dash(original: &str, pathways: &[Pathway]) -> Result<String, ManifestError> {
    Format::Dash.with_pathways(original, &directory(), pathways, STEERING)
}

#[test]
fn the_sample_titles_playlist_has_the_variants_of_both_appliances() {
    assert_eq!(hls(MASTER, &two()).unwrap(), include_str!("golden/two.m3u8"));
}

#[test]
fn the_sample_titles_mpd_has_the_base_urls_of_both_appliances() {
    assert_eq!(dash(MPD, &two()).unwrap(), include_str!("golden/two.mpd"));
}

#[test]
fn urls_of_the_titles_directory_are_the_appliances_and_others_stay() {
    let original = "#EXTM3U\n\
        #EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,URI=\"skd://key\"\n\
        #EXT-X-SESSION-DATA:DATA-ID=\"a\",URI=\"data.json\"\n\
        #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"/titles/sample/iframes.m3u8?a=1\"\n\
        #EXT-X-STREAM-INF:BANDWIDTH=2,CLOSED-CAPTIONS=\"cc\"\n\
        https://cdn.example.net/titles/sample/a/media.m3u8\n\
        #EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID=\"cc\",NAME=\"English\",INSTREAM-ID=\"CC1\"\n\
        #EXT-X-STREAM-INF:BANDWIDTH=3\n\
        # a comment\n\
        https://elsewhere.example.net/b.m3u8\n";
    let text = hls(original, &one()).unwrap();
    for line in [
        "#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,URI=\"skd://key\"",
        "#EXT-X-SESSION-DATA:DATA-ID=\"a\",URI=\"http://192.0.2.7/titles/sample/data.json\"",
        "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"http://192.0.2.7/titles/sample/iframes.m3u8?a=1\",PATHWAY-ID=\"oca-1\"",
        "#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID=\"cc\",NAME=\"English\",INSTREAM-ID=\"CC1\"",
        "#EXT-X-STREAM-INF:BANDWIDTH=2,CLOSED-CAPTIONS=\"cc\",PATHWAY-ID=\"oca-1\"\nhttp://192.0.2.7/titles/sample/a/media.m3u8",
        "#EXT-X-STREAM-INF:BANDWIDTH=3,PATHWAY-ID=\"oca-1\"\nhttps://elsewhere.example.net/b.m3u8",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}\nis not in\n{text}");
    }
}

#[test]
fn of_a_playlist_with_pathways_of_its_own_one_stands_for_all() {
    let original = "#EXTM3U\n\
        #EXT-X-CONTENT-STEERING:SERVER-URI=\"https://other.example/steer\",PATHWAY-ID=\"b\"\n\
        #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio-a\",NAME=\"x\",URI=\"https://a.example/audio.m3u8\"\n\
        #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio-b\",NAME=\"x\",URI=\"audio.m3u8\"\n\
        #EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"audio-a\",PATHWAY-ID=\"a\"\nhttps://a.example/1.m3u8\n\
        #EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"audio-b\",PATHWAY-ID=\"b\"\n1.m3u8\n";
    let text = hls(original, &one()).unwrap();
    assert_eq!(
        text,
        format!(
            "#EXTM3U\n#EXT-X-CONTENT-STEERING:SERVER-URI=\"{STEERING}\",PATHWAY-ID=\"oca-1\"\n\n\
             #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio-b@oca-1\",NAME=\"x\",URI=\"http://192.0.2.7/titles/sample/audio.m3u8\"\n\
             #EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"audio-b@oca-1\",PATHWAY-ID=\"oca-1\"\n\
             http://192.0.2.7/titles/sample/1.m3u8\n"
        )
    );
}

#[test]
fn what_is_no_multivariant_playlist_is_refused() {
    assert!(!Format::Hls.is_manifest("#EXTM3U\n#EXTINF:4,\nsegment.m4s\n"));
    assert!(Format::Hls.is_manifest(MASTER));
    for bad in [
        "",
        "#EXTM3U\n",
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n",
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH\nx.m3u8\n",
        "#EXTM3U\n#EXT-X-STREAM-INF:CODECS=\"a\nx.m3u8\n",
        "#EXTM3U\nx.m3u8\n",
    ] {
        assert!(matches!(hls(bad, &one()), Err(ManifestError::Malformed(_))), "{bad:?}");
    }
    let variables = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{$host}/x.m3u8\n";
    assert_eq!(hls(variables, &one()), Err(ManifestError::Variables));
    let long = format!("#EXTM3U\n{}", "# \n".repeat(30_000));
    assert!(matches!(hls(&long, &one()), Err(ManifestError::TooLarge { .. })));
}

#[test]
fn an_mpds_own_base_url_and_steering_are_replaced() {
    let original = "<?xml version=\"1.0\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\">\n\
        <ProgramInformation><Title>x</Title></ProgramInformation>\n\
        <BaseURL serviceLocation=\"a\">https://a.example/titles/sample/v2/</BaseURL>\n\
        <BaseURL serviceLocation=\"b\">https://b.example/</BaseURL>\n\
        <ContentSteering defaultServiceLocation=\"a\">https://other.example/</ContentSteering>\n\
        <Period><BaseURL>period/</BaseURL></Period></MPD>";
    let text = dash(original, &one()).unwrap();
    assert!(
        !text.contains(".example/titles") && !text.contains("b.example") && !text.contains("other"),
        "{text}"
    );
    let base = "<BaseURL serviceLocation=\"oca-1\">http://192.0.2.7/titles/sample/v2/</BaseURL>";
    assert!(text.contains(base), "{text}");
    assert!(text.find("</ProgramInformation>") < text.find(base), "{text}");
    assert!(text.contains("<Period><BaseURL>period/</BaseURL></Period></MPD>"), "{text}");
    assert!(text.contains("?path=/titles/sample&amp;pathways=oca-1,oca-2</ContentSteering>"), "{text}");
}

#[test]
fn a_base_url_may_be_empty_or_character_data_and_those_of_other_namespaces_stay() {
    let base = |text: &str| format!("<BaseURL serviceLocation=\"oca-1\">http://192.0.2.7{text}</BaseURL>");
    let text = dash("<MPD><BaseURL><![CDATA[a/?b&c]]></BaseURL><Period/></MPD>", &one()).unwrap();
    assert!(text.contains(&base("/titles/sample/a/")) && !text.contains("CDATA"), "{text}");
    let text = dash("<MPD><BaseURL/><Period/></MPD>", &one()).unwrap();
    assert!(text.contains(&base("/titles/sample/")) && !text.contains("<BaseURL/>"), "{text}");
    let foreign = "<x:BaseURL>https://a.example/</x:BaseURL><Period/></MPD>";
    let text = dash(&format!("<MPD xmlns:x=\"x\">{foreign}"), &one()).unwrap();
    assert!(text.contains(&base("/titles/sample/")) && text.ends_with(foreign), "{text}");
}

#[test]
fn captions_stand_once_and_thumbnails_and_unknown_tags_have_their_urls_placed() {
    let captions = "#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID=\"cc\",NAME=\"English\",INSTREAM-ID=\"CC1\"\n";
    let original = format!(
        "#EXTM3U\n{captions}#EXT-X-UNKNOWN:URI=\"u.json\"\n\
         #EXT-X-IMAGE-STREAM-INF:BANDWIDTH=1,URI=\"images.m3u8\"\n\
         #EXT-X-STREAM-INF:BANDWIDTH=2,CLOSED-CAPTIONS=\"cc\"\na.m3u8\n"
    );
    let text = hls(&original, &two()).unwrap();
    assert_eq!(text.matches(captions).count(), 1, "{text}");
    assert_eq!(text.matches("CLOSED-CAPTIONS=\"cc\"").count(), 2, "{text}");
    for part in [
        "#EXT-X-UNKNOWN:URI=\"http://192.0.2.7:8080/titles/sample/u.json\"\n",
        "URI=\"http://192.0.2.7:8080/titles/sample/images.m3u8\",PATHWAY-ID=\"oca-1\"\n",
        "URI=\"https://oca-2.example.net/titles/sample/images.m3u8\",PATHWAY-ID=\"oca-2\"\n",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
}

#[test]
fn a_byte_order_mark_moves_nothing() {
    let plain = "<?xml version=\"1.0\"?><MPD><BaseURL>a/</BaseURL><Period/></MPD>";
    let marked = format!("\u{feff}{plain}");
    assert_eq!(dash(&marked, &one()), dash(plain, &one()));
    assert!(dash(plain, &one()).unwrap().ends_with("</ContentSteering>\n  <Period/></MPD>"));
    assert_eq!(hls(&format!("\u{feff}{MASTER}"), &one()), hls(MASTER, &one()));
}

#[test]
fn what_is_no_mpd_is_refused() {
    let deep = format!("<MPD>{}", "<a>".repeat(100));
    for bad in [
        "",
        "text",
        "<MPD/>",
        "<MPD>",
        "<MPD></a>",
        "<html></html>",
        "<MPD></MPD><MPD></MPD>",
        "<!DOCTYPE MPD [<!ENTITY a \"b\">]><MPD></MPD>",
        "<MPD><BaseURL>&a;</BaseURL></MPD>",
        "<m:MPD xmlns:m=\"urn:mpeg:dash:schema:mpd:2011\"></m:MPD>",
        "<MPD><Period><BaseURL>https://a.example/</BaseURL></Period></MPD>",
        "<MPD><Period><AdaptationSet><BaseURL><![CDATA[ //a.example/ ]]></BaseURL></AdaptationSet></Period></MPD>",
        &deep,
    ] {
        assert!(matches!(dash(bad, &one()), Err(ManifestError::Malformed(_))), "{bad:?}");
    }
}

#[test]
fn a_file_is_known_by_its_name() {
    assert_eq!(Format::of("master.M3U8"), Some(Format::Hls));
    assert_eq!(Format::of("manifest.mpd"), Some(Format::Dash));
    assert_eq!(Format::of("mpd"), None);
    assert_eq!(Format::of("init.mp4"), None);
}

proptest! {
    #[test]
    fn nothing_that_is_published_brings_the_control_plane_down(text in "(#EXTM3U\n)?(<MPD>)?(#EXT-X-(STREAM-INF|MEDIA|SESSION-KEY):|<BaseURL>|</BaseURL>|</MPD>|[A-Z]+=\"|\\PC|\n){0,40}") {
        let _ = hls(&text, &two());
        let _ = dash(&text, &two());
    }
}

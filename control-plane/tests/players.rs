//! What players are given: media manifests with the pathways of their steering, and steering documents that go with them.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "support/contract.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod contract;
#[path = "support/running.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod running;
#[path = "support/fleet.rs"]
mod support;

use control_client::report::InventoryReport;
use control_plane::content_steering::ContentSteering;
use control_plane::publish::publish;
use reqwest::Url;

use running::{FakeAppliance, Running, eventually};
use support::*;

const MASTER: &str = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhigh/media.m3u8\n";
const MPD: &str = "<MPD><Period/></MPD>";

/// A title with media manifests, held by two appliances, both of which serve.
async fn two_appliances(running: &Running) {
    let tokens = running.fleet(["oca-1", "oca-2"]).await;
    let files = tree(&[("master.m3u8", MASTER), ("manifest.mpd", MPD), ("high/1.m4s", "first")]);
    let database = &running.plane().database;
    publish(database, files.path(), &path("/t"), publication("t", Some(1)), NOW).await.unwrap();
    for (number, token) in tokens.iter().enumerate() {
        let name = format!("oca-{}", number + 1);
        let admin = FakeAppliance::start().await;
        let mut told = enrolment(&format!("http://192.0.2.{}:8080", number + 7), &admin.url, 1 << 30);
        told.serve_urls.push(format!("https://{name}.example.net"));
        assert_eq!(running.put(&format!("/v1/appliances/{name}"), token, &told).await.status, 204);
        let mut first = report(&name, "one", 1);
        let bundles = vec![held("/t", 1, 4096), held("/t/high", 1, 4096)];
        first.inventory = Some(InventoryReport::Full { revision: 1, bundles });
        running.report(token, &first).await;
    }
    eventually("both are steered to", async || {
        running.steer("192.0.2.9", "/t/high").await.candidates.len() == 3
    })
    .await;
}

async fn text(running: &Running, path: &str, media_type: &str) -> String {
    let answer = running.get(path, None).await;
    let text = String::from_utf8(answer.content).unwrap();
    assert_eq!(answer.status, 200, "{path}: {text}");
    assert_eq!(answer.headers["content-type"], media_type);
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    assert_eq!(answer.headers["cache-control"], "no-store");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_gets_the_pathways_of_its_steering_and_asks_again_by_what_the_manifest_says() {
    let mut running = Running::start().await;
    two_appliances(&running).await;
    let steered: Vec<String> = running
        .steer("192.0.2.9", "/t")
        .await
        .candidates
        .iter()
        .map(|one| one.appliance.as_ref().map_or("origin".to_owned(), ToString::to_string))
        .collect();

    let hls = text(
        &running,
        "/v1/play/hls.m3u8?client=192.0.2.9&path=/t/master.m3u8&scheme=https",
        "application/vnd.apple.mpegurl",
    )
    .await;
    let pathways: Vec<&str> = hls
        .lines()
        .filter(|line| line.starts_with("#EXT-X-STREAM-INF"))
        .filter_map(|line| line.split("PATHWAY-ID=\"").nth(1)?.split('"').next())
        .collect();
    assert_eq!(pathways, steered);
    assert!(hls.contains("\nhttps://oca-1.example.net/t/high/media.m3u8\n"), "{hls}");
    assert!(hls.contains("\nhttps://cdn.example.net/t/high/media.m3u8\n"), "{hls}");
    let server = hls.split("SERVER-URI=\"").nth(1).unwrap().split('"').next().unwrap();
    let asked = format!("{server}&_HLS_pathway={}&_HLS_throughput=5000000", steered[0]);
    let document = ask(&running, &asked).await;
    assert_eq!(document.pathway_priority, steered);
    assert!(document.pathway_clones.is_empty());
    assert_eq!(document.ttl, 200);
    let reload = Url::parse(server).unwrap().join(&document.reload_uri.unwrap()).unwrap();
    assert_eq!(reload.as_str(), server, "the same question is asked again");

    let dash =
        text(&running, "/v1/play/dash.mpd?client=192.0.2.9&path=/t/manifest.mpd", "application/dash+xml")
            .await;
    let locations: Vec<&str> =
        dash.split("<BaseURL serviceLocation=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(locations, steered);
    assert!(dash.contains(">http://192.0.2.7:8080/t/</BaseURL>"), "{dash}");
    let server = dash.split("queryBeforeStart=\"false\">").nth(1).unwrap().split('<').next().unwrap();
    assert!(server.ends_with("&amp;scheme=http&amp;client=192.0.2.9"), "clones keep it: {server}");
    let said = format!("%22{},elsewhere%22", steered[0]);
    let asked = format!("{}&_DASH_pathway={said}&_DASH_throughput=1,", server.replace("&amp;", "&"));
    assert_eq!(ask(&running, &asked).await.pathway_priority, steered);

    let metrics = String::from_utf8(running.get("/metrics", None).await.content).unwrap();
    for at in ["first", "elsewhere"] {
        assert!(
            metrics.contains(&format!("oca_control_plane_steered_players_total{{at=\"{at}\"}} 1")),
            "{metrics}"
        );
    }
    running.stop().await;
}

/// Asks what a manifest names, as a player does.
async fn ask(running: &Running, url: &str) -> ContentSteering {
    let rest = url.strip_prefix(&format!("http://{}", running.address)).unwrap();
    running.get(rest, None).await.document()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_may_ask_with_cmcd_and_see_every_answer() {
    let mut running = Running::start().await;
    two_appliances(&running).await;
    for path in ["/v1/steer?path=/t", "/v1/steer/hls?path=/t", "/v1/play/hls.m3u8?path=/t/master.m3u8"] {
        let asked = running
            .client
            .request(reqwest::Method::OPTIONS, format!("http://{}{path}", running.address))
            .header("origin", "https://page.example")
            .header("access-control-request-method", "GET")
            .header("access-control-request-headers", "cmcd-object,cmcd-session");
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 204, "{path}");
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
        let allowed = answer.headers()["access-control-allow-headers"].to_str().unwrap();
        assert!(allowed.contains("CMCD-Object") && allowed.contains("CMCD-Session"), "{allowed}");
    }
    let absent = running.get("/v1/play/hls.m3u8?path=/t/other.m3u8", None).await;
    assert_eq!((absent.status, &absent.headers["access-control-allow-origin"]), (404, &"*".parse().unwrap()));
    let operators = running.get("/v1/appliances", Some(&running.operator)).await;
    assert!(!operators.headers.contains_key("access-control-allow-origin"), "only what players ask");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_player_adds_to_its_question_it_is_answered() {
    let mut running = Running::start().await;
    two_appliances(&running).await;
    let long = "x".repeat(4_000);
    for added in [
        "_HLS_pathway=",
        "_HLS_pathway=%00%ff%22",
        "_HLS_pathway=a&_HLS_pathway=b",
        "_HLS_throughput=-1e99",
        &format!("_HLS_pathway={long}&_HLS_throughput={long}"),
        "_DASH_pathway=%22%22&_DASH_throughput=,,,",
        "unknown=1",
        "%",
    ] {
        for place in ["hls", "dash"] {
            let path = format!("/v1/steer/{place}?client=192.0.2.9&path=/t&pathways=oca-1,oca-2&{added}");
            assert_eq!(running.get(&path, None).await.status, 200, "{added}");
        }
    }
    for refused in
        ["pathways=", "pathways=a,a", "pathways=a%22", "pathways=a,b,c,d,e,f,g,h,i,j", "scheme=ftp"]
    {
        let path = format!("/v1/steer/hls?client=192.0.2.9&path=/t&{refused}");
        assert_eq!(running.get(&path, None).await.status, 400, "{refused}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_there_is_not_or_that_nobody_may_watch_is_not_found() {
    let mut running = Running::start().await;
    two_appliances(&running).await;
    for (path, status) in [
        ("/v1/play/hls.m3u8?path=/t/other.m3u8", 404),
        ("/v1/play/hls.m3u8?path=/t/manifest.mpd", 404),
        ("/v1/play/dash.mpd?path=/t/master.m3u8", 404),
        ("/v1/play/hls.m3u8?path=/nothing/master.m3u8", 404),
        ("/v1/play/hls.m3u8?path=/t/high/1.m4s", 404),
        ("/v1/play/hls.m3u8?path=/t/", 400),
        ("/v1/play/hls.m3u8?path=relative.m3u8", 400),
        ("/v1/play/hls.m3u8", 400),
        ("/v1/play/hls.m3u8?path=/t/master.m3u8&scheme=ftp", 400),
        ("/v1/play/hls.m3u8?path=/t/master.m3u8&client=nonsense", 400),
    ] {
        assert_eq!(running.get(path, None).await.status, status, "{path}");
    }
    let later = NOW + 1_000_000_000;
    let files = tree(&[("master.m3u8", MASTER)]);
    let mut unreleased = publication("later", Some(1));
    unreleased.release_at = Some(later);
    publish(&running.plane().database, files.path(), &path("/later"), unreleased, NOW).await.unwrap();
    let open = tree(&[("1.m4s", "of another title, which is open")]);
    let below = path("/later/open");
    publish(&running.plane().database, open.path(), &below, publication("open", Some(2)), NOW).await.unwrap();
    eventually("what is below may be watched", async || {
        !running.steer("192.0.2.9", "/later/open").await.candidates.is_empty()
    })
    .await;
    eventually("it is in the catalogue", async || running.plane().fleet().newest(&path("/later")).is_some())
        .await;
    eventually("nobody may watch it", async || {
        running.get("/v1/play/hls.m3u8?path=/later/master.m3u8", None).await.status == 404
    })
    .await;
    running.stop().await;
}

//! `serve` over real sockets: what is answered, to whom, and what hostile and clumsy peers are answered.
//! Every answer is held against the OpenAPI document.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "support/contract.rs"]
mod contract;
#[path = "support/running.rs"]
mod running;
#[path = "support/fleet.rs"]
mod support;

use std::time::Duration;

use control_client::control_plane_client::{ControlPlaneClient, ControlPlaneTimeouts};
use control_client::descriptor::Descriptor;
use control_client::fleet::ApplianceName;
use control_client::health::{Readiness, Verdict};
use control_client::report::{DirectiveResult, Enrolment, InventoryReport, Order};
use control_client::signature::TrustedKey;
use control_client::sources::{SourceKind, SourcesAnswer, SourcesRequest};
use control_client::token::Token;
use control_client::wire::DocumentVersion;
use control_plane::api::{ApplianceDetail, ApplianceList, TitleList};
use control_plane::content_steering::ContentSteering;
use control_plane::keys::StateFolder;
use control_plane::limits;
use control_plane::publish::publish;
use control_plane::registry::{self, ApplianceChange};
use control_plane::server::ServerLimits;
use control_plane::service::Service;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use running::{FakeAppliance, PATIENCE, Running, config, eventually};
use support::*;

const MULTIVARIANT: &str = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nmedia.m3u8\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_appliance_enrols_reports_gets_its_manifest_and_is_steered_to() {
    let mut running = Running::start().await;
    let [token] = running.fleet(["oca-1"]).await;
    let admin = FakeAppliance::start().await;
    let told = enrolment("http://192.0.2.7", &admin.url, 1 << 30);
    assert_eq!(running.put("/v1/appliances/oca-1", &token, &told).await.status, 204);

    let manifest_path = "/v1/appliances/oca-1/manifest";
    eventually("a manifest is made", async || running.get(manifest_path, Some(&token)).await.status == 200)
        .await;
    let answer = running.get(manifest_path, Some(&token)).await;
    let tag = answer.headers["etag"].to_str().unwrap().to_owned();
    let signed: control_client::fill_manifest::SignedManifest = answer.document();
    let state = StateFolder::open(&running.folder.path().join("state")).unwrap();
    let trusted: Vec<TrustedKey> =
        state.keys().unwrap().iter().map(|key| key.trusted_key().unwrap()).collect();
    let manifest = signed.open(&trusted, &appliance("oca-1"), 0).unwrap();
    assert_eq!(tag, format!("\"{}\"", manifest.sequence));
    assert_eq!(manifest.entries.len(), 2);
    let known = running
        .client
        .get(format!("http://{}{manifest_path}", running.address))
        .bearer_auth(&token)
        .header("if-none-match", &tag)
        .send()
        .await
        .unwrap();
    assert_eq!(known.status().as_u16(), 304);

    let entry = &manifest.entries[0];
    let descriptor = running.get(&format!("/v1/descriptors/{}", entry.descriptor), Some(&token)).await;
    let bundle =
        control_client::content::BundleKey { path: entry.path.clone(), generation: entry.generation };
    Descriptor::parse(&descriptor.content, &entry.descriptor, &bundle).unwrap();

    let mut first = report("oca-1", "one", 1);
    first.inventory = Some(InventoryReport::Full {
        revision: 1,
        bundles: vec![held("/film/high", 1, 4096), held("/film/low", 1, 4096)],
    });
    let answer = running.report(&token, &first).await;
    assert_eq!((answer.sequence, answer.inventory_revision), (1, Some(1)));
    assert_eq!(answer.manifest_sequence, manifest.sequence);

    eventually("it is steered to", async || {
        let answer = running.steer("192.0.2.9", "/film/high").await;
        answer.candidates[0].appliance == Some(appliance("oca-1"))
    })
    .await;
    let answer = running.steer("192.0.2.9", "/film/high").await;
    assert_eq!((answer.ttl_seconds, answer.site), (200, Some(site("edge"))));
    assert_eq!(answer.candidates[0].urls, ["http://192.0.2.7"]);
    assert_eq!(answer.candidates[1].appliance, None, "the origin is the last resort");
    let elsewhere = running.steer("203.0.113.1", "/film/high").await;
    assert_eq!(elsewhere.candidates.len(), 1);

    let hls: ContentSteering = running
        .get("/v1/steer/hls?client=192.0.2.9&path=/film/high&_HLS_pathway=.&_HLS_throughput=1", None)
        .await
        .document();
    assert_eq!(hls.pathway_priority, ["oca-1", "."]);
    let dash =
        running.get("/v1/steer/dash?client=192.0.2.9&path=/film/high&_DASH_pathway=%22origin%22", None).await;
    assert_eq!(dash.headers["access-control-allow-origin"], "*");
    assert_eq!(dash.headers["cache-control"], "no-store");
    assert_eq!(dash.document::<ContentSteering>().pathway_priority, ["oca-1", "origin"]);

    let files = tree(&[("a.m3u8", MULTIVARIANT), ("a.mpd", "<MPD></MPD>")]);
    let database = &running.plane().database;
    publish(database, files.path(), &path("/other"), publication("other", Some(1)), NOW).await.unwrap();
    for place in ["hls.m3u8?path=/other/a.m3u8", "dash.mpd?path=/other/a.mpd"] {
        eventually("it is in the catalogue", async || {
            running.get(&format!("/v1/play/{place}"), None).await.status == 200
        })
        .await;
    }
    assert_eq!(
        running.ask(Method::DELETE, "/v1/titles/other", Some(&running.operator), vec![]).await.status,
        204
    );

    let question =
        SourcesRequest { version: DocumentVersion, bundles: vec![key("/film/high", 1), key("/unknown", 1)] };
    let sources: SourcesAnswer =
        running.post("/v1/appliances/oca-1/sources", &token, &question).await.document();
    assert_eq!(sources.bundles.len(), 1, "what the catalogue has not is left out");
    assert_eq!(sources.bundles[0].sources[0].kind, SourceKind::Origin);
    assert_eq!(sources.bundles[0].sources[0].after_seconds, 0);

    let operator = running.operator.clone();
    let list: ApplianceList = running.get("/v1/appliances", Some(&operator)).await.document();
    assert_eq!((list.appliances.len(), list.appliances[0].standing.as_str()), (1, "serving"));
    let titles: TitleList = running.get("/v1/titles", Some(&operator)).await.document();
    assert_eq!(titles.titles[0].bundles.len(), 2);
    let order = running.post("/v1/appliances/oca-1/directives", &operator, &Order::FillNow).await;
    assert_eq!(order.status, 200);
    let detail: ApplianceDetail = running.get("/v1/appliances/oca-1", Some(&operator)).await.document();
    assert_eq!((detail.inventory.len(), detail.directives.len()), (2, 1));
    assert_eq!(running.get("/healthz", None).await.document::<Value>(), json!({"titles": 1, "bundles": 2}));
    let metrics = String::from_utf8(running.get("/metrics", None).await.content).unwrap();
    assert!(metrics.contains("oca_control_plane_reports_total{novelty=\"new\"} 1"), "{metrics}");
    running.get("/openapi.json", None).await;
    let moved = ApplianceChange { site: Some(site("core")), link_bits_per_second: Some(20_000_000_000) };
    let content = serde_json::to_vec(&moved).unwrap();
    assert_eq!(
        running.ask(Method::PATCH, "/v1/appliances/oca-1", Some(&operator), content).await.status,
        204
    );
    let detail: ApplianceDetail = running.get("/v1/appliances/oca-1", Some(&operator)).await.document();
    assert_eq!(
        (detail.appliance.site, detail.appliance.link_bits_per_second),
        (site("core"), Some(20_000_000_000))
    );
    assert_eq!(running.steer("192.0.2.9", "/film/high").await.candidates[0].tier, 1, "where it stands now");
    assert_eq!(running.ask(Method::DELETE, "/v1/titles/film", Some(&operator), vec![]).await.status, 204);
    assert_eq!(running.steer("192.0.2.9", "/film/high").await.candidates.len(), 1, "only the origin");
    assert_eq!(running.ask(Method::DELETE, "/v1/titles/film", Some(&operator), vec![]).await.status, 404);
    assert_eq!(
        running.ask(Method::DELETE, "/v1/appliances/oca-1", Some(&operator), vec![]).await.status,
        204
    );
    assert_eq!(
        running.ask(Method::DELETE, "/v1/appliances/oca-1", Some(&operator), vec![]).await.status,
        404
    );
    assert_eq!(running.get(manifest_path, Some(&token)).await.status, 401, "its token is none any more");

    assert_eq!(
        running.contract.seen(),
        running.contract.operations(),
        "every operation of the document was seen to work"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_appliances_own_client_understands_every_answer() {
    let mut running = Running::start().await;
    let [token] = running.fleet(["oca-1"]).await;
    let url = format!("http://{}", running.address);
    let client = ControlPlaneClient::new(
        &url,
        appliance("oca-1"),
        &Token::parse(&token).unwrap(),
        ControlPlaneTimeouts::default(),
    )
    .unwrap();
    client.enrol(&enrolment("http://192.0.2.7", "", 1 << 30)).await.unwrap();
    let answer = client.report(&report("oca-1", "one", 1)).await.unwrap();
    assert_eq!(answer.sequence, 1);
    eventually("a manifest is made", async || {
        client.manifest(None).await.is_ok_and(|manifest| manifest.is_some())
    })
    .await;
    let signed = client.manifest(None).await.unwrap().unwrap();
    let manifest: control_client::fill_manifest::FillManifest =
        serde_json::from_str(&signed.manifest).unwrap();
    assert!(client.manifest(Some(manifest.sequence)).await.unwrap().is_none());
    let entry = &manifest.entries[0];
    let descriptor = client.descriptor(&entry.descriptor).await.unwrap();
    assert_eq!(control_client::digest::sha256(&descriptor), entry.descriptor);
    let question = SourcesRequest { version: DocumentVersion, bundles: vec![key("/film/high", 1)] };
    assert_eq!(client.sources(&question).await.unwrap().bundles.len(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_let_in_with_a_token_that_is_not_for_this() {
    let mut running = Running::start().await;
    let [one, other] = running.fleet(["oca-1", "oca-2"]).await;
    let told = enrolment("http://192.0.2.7", "", 1);
    let operator = running.operator.clone();
    let long = "x".repeat(4_000);
    for token in ["", "nonsense", &other, &operator, &long] {
        assert_eq!(
            running.put("/v1/appliances/oca-1", token, &told).await.failure(),
            (401, "unauthorized".to_owned())
        );
    }
    for (method, path) in [
        (Method::PUT, "/v1/appliances/oca-1"),
        (Method::POST, "/v1/appliances/oca-1/reports"),
        (Method::GET, "/v1/appliances/oca-1/manifest"),
        (Method::POST, "/v1/appliances/oca-1/sources"),
        (Method::GET, "/v1/descriptors/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (Method::GET, "/v1/appliances"),
        (Method::GET, "/v1/appliances/oca-1"),
        (Method::GET, "/v1/titles"),
        (Method::POST, "/v1/appliances/oca-1/directives"),
        (Method::PATCH, "/v1/appliances/oca-1"),
        (Method::DELETE, "/v1/appliances/oca-1"),
        (Method::DELETE, "/v1/titles/film"),
    ] {
        let answer = running.ask(method.clone(), path, None, b"{}".to_vec()).await;
        assert_eq!(answer.failure(), (401, "unauthorized".to_owned()), "{method} {path}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    // Appliances are no operators, and nobody learns which appliances there are.
    assert_eq!(running.get("/v1/appliances", Some(&one)).await.status, 401);
    assert_eq!(running.ask(Method::DELETE, "/v1/appliances/oca-1", Some(&one), vec![]).await.status, 401);
    let unknown = running.get("/v1/appliances/oca-9/manifest", Some(&one)).await;
    let wrong = running.get("/v1/appliances/oca-2/manifest", Some(&one)).await;
    assert_eq!((unknown.status, &unknown.content), (401, &wrong.content));
    let renewed = registry::renew_token(&running.plane().database, &appliance("oca-1")).await.unwrap();
    assert_eq!(running.put("/v1/appliances/oca-1", &one, &told).await.status, 401);
    assert_eq!(running.put("/v1/appliances/oca-1", renewed.as_str(), &told).await.status, 204);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_that_are_too_large_are_refused_however_they_are_sent() {
    let mut running = Running::start().await;
    let [token] = running.fleet(["oca-1"]).await;
    let too_large = vec![b' '; limits::CONTENT_BYTES_MAX + 1];
    let answer = running.ask(Method::PUT, "/v1/appliances/oca-1", Some(&token), too_large).await;
    assert_eq!(answer.failure(), (413, "too_large".to_owned()));
    // Without a length: in chunks that never end.
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = format!(
        "POST /v1/appliances/oca-1/sources HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
    for _ in 0..=limits::SOURCES_BYTES_MAX / 0x10000 {
        // It may be refused before all of it was sent.
        if stream.write_all(&chunk).await.is_err() {
            break;
        }
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    // A length that is told is refused before anything of it is read.
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = format!(
        "POST /v1/appliances/oca-1/reports HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 99999999999\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_refused_with_what_is_wrong_with_it() {
    let mut running = Running::start().await;
    let [token] = running.fleet(["oca-1"]).await;
    let reports = "/v1/appliances/oca-1/reports";
    let deep = "[".repeat(60_000);
    let version = serde_json::to_string(&report("oca-1", "a", 1)).unwrap().replacen(
        "\"version\":1",
        "\"version\":2",
        1,
    );
    for nonsense in
        ["", "{", "null", "[]", "{\"version\":1}", &deep, &version, "\u{0}", "{\"version\":1e999}"]
    {
        let answer = running.ask(Method::POST, reports, Some(&token), nonsense.as_bytes().to_vec()).await;
        assert_eq!(answer.failure(), (400, "refused".to_owned()), "{nonsense:.40}");
    }
    let answer = running.ask(Method::POST, reports, Some(&token), vec![0xff, 0xfe]).await;
    assert_eq!(answer.status, 400);
    for wrong in [
        report("oca-2", "one", 1),
        report("oca-1", "one", 0),
        report("oca-1", "", 1),
        report("oca-1", "one", u64::MAX),
    ] {
        assert_eq!(running.post(reports, &token, &wrong).await.status, 400);
    }
    for url in ["ftp://a", "http://a/path", "nonsense", "http://a\u{0}"] {
        let told: Enrolment = enrolment(url, "", 1);
        assert_eq!(running.put("/v1/appliances/oca-1", &token, &told).await.status, 400, "{url:?}");
    }
    let operator = running.operator.clone();
    assert_eq!(
        running.post("/v1/appliances/oca-1/directives", &operator, &json!({"kind": "explode"})).await.status,
        400
    );
    assert_eq!(running.post("/v1/appliances/oca-9/directives", &operator, &Order::Drain).await.status, 404);
    assert_eq!(running.get("/v1/appliances/UPPER", Some(&operator)).await.status, 404);
    let too_many = SourcesRequest { version: DocumentVersion, bundles: vec![key("/a", 1); 1_001] };
    assert_eq!(running.post("/v1/appliances/oca-1/sources", &token, &too_many).await.status, 400);
    assert_eq!(running.get("/v1/descriptors/nonsense", Some(&token)).await.status, 404);
    for query in
        ["", "?path=", "?path=relative", "?path=/a/../b", "?path=/a&client=nonsense", "?client=192.0.2.1"]
    {
        assert_eq!(running.get(&format!("/v1/steer{query}"), None).await.status, 400, "{query}");
        assert_eq!(running.get(&format!("/v1/steer/hls{query}"), None).await.status, 400, "{query}");
    }
    assert_eq!(running.get("/v1/steer/dash?path=/a&base=a%20b", None).await.status, 400);
    for (method, path, status) in
        [(Method::GET, "/", 404), (Method::GET, "/v1/nothing", 404), (Method::DELETE, "/healthz", 405)]
    {
        let answer =
            running.client.request(method, format!("http://{}{path}", running.address)).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status);
        let failure: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert!(failure["detail"].as_str().unwrap().contains("/openapi.json"));
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_sequence_is_acknowledged_and_counts_nothing() {
    let mut running = Running::start().await;
    let [token] = running.fleet(["oca-1"]).await;
    let mut told = report("oca-1", "one", 7);
    told.demand = vec![demand(TODAY, "/film/high", 1, 100, 0)];
    assert_eq!(running.report(&token, &told).await.sequence, 7);
    told.sequence = 3;
    assert_eq!(running.report(&token, &told).await.sequence, 3);
    told.sequence = 7;
    assert_eq!(running.report(&token, &told).await.sequence, 7);
    let sql = "SELECT CAST(SUM(bytes) AS BIGINT) FROM demand";
    let row = running.plane().database.read_one(sql, vec![]).await.unwrap().unwrap();
    assert_eq!(control_plane::database::number(&row, 0).unwrap(), 100);
    let metrics = String::from_utf8(running.get("/metrics", None).await.content).unwrap();
    for expected in ["{novelty=\"late\"} 1", "{novelty=\"new\"} 1", "{novelty=\"repeated\"} 1"] {
        assert!(metrics.contains(expected), "{expected} in {metrics}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_a_wrong_base_asks_for_the_whole_inventory() {
    let mut running = Running::start().await;
    let [token] = running.fleet(["oca-1"]).await;
    running.put("/v1/appliances/oca-1", &token, &enrolment("http://192.0.2.7", "", 1 << 30)).await;
    let mut told = report("oca-1", "one", 1);
    told.health = Some(health(Readiness::Serving, Verdict::Healthy));
    told.inventory = Some(InventoryReport::Full { revision: 5, bundles: vec![held("/film/high", 1, 1)] });
    assert_eq!(running.report(&token, &told).await.inventory_revision, Some(5));
    assert_eq!(running.steer("192.0.2.9", "/film/high").await.candidates.len(), 2);
    told.sequence = 2;
    told.inventory = Some(InventoryReport::Delta {
        from: 4,
        revision: 6,
        added: vec![],
        removed: vec![key("/film/high", 1)],
    });
    assert_eq!(running.report(&token, &told).await.inventory_revision, None);
    assert_eq!(
        running.steer("192.0.2.9", "/film/high").await.candidates.len(),
        2,
        "what is known stays known"
    );
    told.sequence = 3;
    told.inventory = Some(InventoryReport::Full { revision: 6, bundles: vec![held("/film/low", 1, 1)] });
    assert_eq!(running.report(&token, &told).await.inventory_revision, Some(6));
    told.sequence = 4;
    told.inventory = Some(InventoryReport::Delta {
        from: 6,
        revision: 7,
        added: vec![held("/film/high", 1, 1)],
        removed: vec![key("/film/low", 1)],
    });
    assert_eq!(running.report(&token, &told).await.inventory_revision, Some(7));
    assert_eq!(running.steer("192.0.2.9", "/film/high").await.candidates.len(), 2);
    assert_eq!(running.steer("192.0.2.9", "/film/low").await.candidates.len(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_reports_at_once_are_both_answered_and_counted_once() {
    let mut running = Running::start().await;
    let [one, other] = running.fleet(["oca-1", "oca-2"]).await;
    let told = |name: &str| {
        let mut told = report(name, "one", 1);
        told.demand = vec![demand(TODAY, "/film/high", 1, 100, 0)];
        told
    };
    let (a, b) = (told("oca-1"), told("oca-2"));
    let answers = futures_util::future::join_all(
        [(&one, &a), (&one, &a), (&other, &b), (&one, &a), (&other, &b)]
            .map(|(token, report)| running.report(token, report)),
    )
    .await;
    assert!(answers.iter().all(|answer| answer.sequence == 1));
    let sql = "SELECT CAST(SUM(bytes) AS BIGINT) FROM demand";
    let row = running.plane().database.read_one(sql, vec![]).await.unwrap().unwrap();
    assert_eq!(control_plane::database::number(&row, 0).unwrap(), 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_turns_clients_away_before_the_appliance_has_heard_of_it() {
    let mut running = Running::start().await;
    let [one, other] = running.fleet(["oca-1", "oca-2"]).await;
    for (name, token) in [("oca-1", &one), ("oca-2", &other)] {
        running
            .put(&format!("/v1/appliances/{name}"), token, &enrolment("http://192.0.2.7", "", 1 << 30))
            .await;
        let mut told = report(name, "one", 1);
        told.health = Some(health(Readiness::Serving, Verdict::Healthy));
        told.inventory = Some(InventoryReport::Full { revision: 1, bundles: vec![held("/film/high", 1, 1)] });
        running.report(token, &told).await;
    }
    let candidates = async || -> Vec<Option<ApplianceName>> {
        running
            .steer("192.0.2.9", "/film/high")
            .await
            .candidates
            .into_iter()
            .map(|one| one.appliance)
            .collect()
    };
    assert_eq!(candidates().await.len(), 3);
    let operator = running.operator.clone();
    running.post("/v1/appliances/oca-1/directives", &operator, &Order::Drain).await;
    assert_eq!(candidates().await, [Some(appliance("oca-2")), None]);
    // It says that it is well, and has not carried the order out.
    let mut told = report("oca-1", "one", 2);
    told.health = Some(health(Readiness::Serving, Verdict::Healthy));
    let answer = running.report(&one, &told).await;
    assert_eq!(answer.directives[0].order, Order::Drain);
    assert_eq!(candidates().await, [Some(appliance("oca-2")), None]);
    told.sequence = 3;
    told.directives = vec![DirectiveResult { id: answer.directives[0].id, failure: None }];
    told.health = Some(health(Readiness::Drained, Verdict::Unhealthy));
    assert_eq!(running.report(&one, &told).await.directives, []);
    running.post("/v1/appliances/oca-1/directives", &operator, &Order::Undrain).await;
    assert_eq!(candidates().await.len(), 2, "it has still to say that it serves");
    for sequence in 4..6 {
        told.sequence = sequence;
        told.health = Some(health(Readiness::Serving, Verdict::Healthy));
        running.report(&one, &told).await;
    }
    assert_eq!(candidates().await.len(), 3);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appliance_that_does_not_answer_its_polls_is_turned_away_and_comes_back() {
    let mut running = Running::start().await;
    let [token] = running.fleet(["oca-1"]).await;
    let admin = FakeAppliance::start().await;
    running.put("/v1/appliances/oca-1", &token, &enrolment("http://192.0.2.7", &admin.url, 1 << 30)).await;
    let mut told = report("oca-1", "one", 1);
    told.inventory = Some(InventoryReport::Full { revision: 1, bundles: vec![held("/film/high", 1, 1)] });
    running.report(&token, &told).await;
    let is_there = async || running.steer("192.0.2.9", "/film/high").await.candidates.len() == 2;
    let standing = async || {
        let list: ApplianceList = running.get("/v1/appliances", Some(&running.operator)).await.document();
        list.appliances[0].standing.clone()
    };
    eventually("it serves", is_there).await;
    admin.say(None);
    eventually("it is turned away", async || !is_there().await).await;
    assert_eq!(standing().await, "unreachable");
    // Its agent says that all is well; the daemon still answers nonsense.
    told.sequence = 2;
    told.health = Some(health(Readiness::Serving, Verdict::Healthy));
    running.report(&token, &told).await;
    assert!(!is_there().await);
    admin.say(Some(health(Readiness::Serving, Verdict::Healthy)));
    eventually("it comes back", is_there).await;
    admin.say(Some(health(Readiness::Serving, Verdict::Unhealthy)));
    eventually("it is unhealthy", async || standing().await == "unhealthy").await;
    assert!(!is_there().await);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_starts_again_knows_what_it_knew() {
    let mut running = Running::start().await;
    let [token] = running.fleet(["oca-1"]).await;
    running.put("/v1/appliances/oca-1", &token, &enrolment("http://192.0.2.7", "", 1 << 30)).await;
    let mut told = report("oca-1", "one", 1);
    told.health = Some(health(Readiness::Serving, Verdict::Healthy));
    told.inventory = Some(InventoryReport::Full { revision: 3, bundles: vec![held("/film/high", 1, 1)] });
    running.report(&token, &told).await;
    let manifest = "/v1/appliances/oca-1/manifest";
    eventually("a manifest is made", async || running.get(manifest, Some(&token)).await.status == 200).await;
    let before = running.get(manifest, Some(&token)).await.content;
    running.stop().await;

    let service = Service::start(config(&running.folder), ServerLimits::default()).await.unwrap();
    running.address = service.addresses[0];
    running.service = Some(service);
    let answer = running.steer("192.0.2.9", "/film/high").await;
    assert_eq!(answer.candidates[0].appliance, Some(appliance("oca-1")), "before its next report");
    assert_eq!(running.get(manifest, Some(&token)).await.content, before);
    told.sequence = 2;
    told.inventory = Some(InventoryReport::Delta { from: 3, revision: 4, added: vec![], removed: vec![] });
    assert_eq!(running.report(&token, &told).await.inventory_revision, Some(4));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_of_a_site_are_asked_before_the_origin() {
    let mut running = Running::start().await;
    let [one, other] = running.fleet(["oca-1", "oca-2"]).await;
    for (name, token) in [("oca-1", &one), ("oca-2", &other)] {
        running
            .put(
                &format!("/v1/appliances/{name}"),
                token,
                &enrolment(&format!("http://{name}.example.net"), "", 1 << 30),
            )
            .await;
        let mut told = report(name, "one", 1);
        told.health = Some(health(Readiness::Serving, Verdict::Healthy));
        running.report(token, &told).await;
    }
    let manifests = async || {
        running.get("/v1/appliances/oca-1/manifest", Some(&one)).await.status == 200
            && running.get("/v1/appliances/oca-2/manifest", Some(&other)).await.status == 200
    };
    eventually("manifests are made", manifests).await;
    let question =
        SourcesRequest { version: DocumentVersion, bundles: vec![key("/film/high", 1), key("/film/low", 1)] };
    let ask = async |name: &str, token: &str| -> SourcesAnswer {
        running.post(&format!("/v1/appliances/{name}/sources"), token, &question).await.document()
    };
    // Both are to hold both: for each bundle one of them has the origin at once, the other after the
    // escalation delay.
    eventually("one copy crosses the wide area network", async || {
        let (mine, theirs) = (ask("oca-1", &one).await, ask("oca-2", &other).await);
        mine.bundles.iter().zip(&theirs.bundles).all(|(mine, theirs)| {
            let delay =
                |list: &control_client::sources::BundleSources| list.sources.last().unwrap().after_seconds;
            let mut delays = [delay(mine), delay(theirs)];
            delays.sort_unstable();
            delays == [0, 30]
        })
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_title_that_another_process_publishes_is_in_the_next_manifest() {
    let mut running = Running::start().await;
    let [token] = running.fleet(["oca-1"]).await;
    running.put("/v1/appliances/oca-1", &token, &enrolment("http://192.0.2.7", "", 1 << 30)).await;
    let entries = async || {
        let answer = running.get("/v1/appliances/oca-1/manifest", Some(&token)).await;
        let Ok(signed) =
            serde_json::from_slice::<control_client::fill_manifest::SignedManifest>(&answer.content)
        else {
            return 0;
        };
        let manifest: control_client::fill_manifest::FillManifest =
            serde_json::from_str(&signed.manifest).unwrap();
        manifest.entries.len()
    };
    eventually("the first manifest", async || entries().await == 2).await;
    let other = control_plane::database::Database::open(&config(&running.folder).database).await.unwrap();
    let files = tree(&[("1", "1")]);
    publish(&other, files.path(), &path("/second"), publication("second", None), NOW * 1_000_000)
        .await
        .unwrap();
    other.close().await;
    eventually("the second manifest", async || entries().await == 3).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_and_too_many_connections_are_closed() {
    let bounds = ServerLimits { connections: 3, head_timeout: Duration::from_millis(300) };
    let mut running = Running::start_with(bounds).await;
    let address = running.address;
    // The client's own connection is idle, and closed like any other that says nothing.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /healthz HTT").await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, slow.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&rest));
    eventually("a fourth connection is refused", async || {
        // Anew for each try: they say nothing, and are soon closed.
        let mut held_open = Vec::new();
        for _ in 0..3 {
            held_open.push(TcpStream::connect(address).await.unwrap());
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await;
        matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_))
    })
    .await;
    eventually("there is room again", async || {
        running.client.get(format!("http://{address}/healthz")).send().await.is_ok()
    })
    .await;
    let long = "x".repeat(limits::HEAD_BYTES_MAX);
    let too_long = running.client.get(format!("http://{address}/healthz?{long}")).send().await.unwrap();
    assert!(matches!(too_long.status().as_u16(), 414 | 431), "{too_long:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_is_being_worked_on() {
    let mut running = Running::start().await;
    let [token] = running.fleet(["oca-1"]).await;
    let content = serde_json::to_vec(&report("oca-1", "one", 1)).unwrap();
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = format!(
        "POST /v1/appliances/oca-1/reports HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        content.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // "HTTP/1.1 100 Continue\r\n\r\n": its content is being read.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&go_on));
    stream.write_all(&content[..10]).await.unwrap();
    let service = running.service.take().unwrap();
    let stopping = tokio::spawn(service.stop());
    let address = running.address;
    eventually("nobody new is let in", async || TcpStream::connect(address).await.is_err()).await;
    stream.write_all(&content[10..]).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    tokio::time::timeout(PATIENCE, stopping).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_steered_on_while_the_database_is_away() {
    let mut running = Running::start().await;
    let [token] = running.fleet(["oca-1"]).await;
    running.put("/v1/appliances/oca-1", &token, &enrolment("http://192.0.2.7", "", 1 << 30)).await;
    let mut told = report("oca-1", "one", 1);
    told.health = Some(health(Readiness::Serving, Verdict::Healthy));
    told.inventory = Some(InventoryReport::Full { revision: 1, bundles: vec![held("/film/high", 1, 1)] });
    running.report(&token, &told).await;
    running.plane().database.close().await;
    assert_eq!(
        running.steer("192.0.2.9", "/film/high").await.candidates[0].appliance,
        Some(appliance("oca-1"))
    );
    told.sequence = 2;
    let refused = running.post("/v1/appliances/oca-1/reports", &token, &told).await;
    assert_eq!(refused.failure(), (503, "busy".to_owned()));
    assert_eq!(refused.headers["retry-after"], "2");
    assert_eq!(running.get("/healthz", None).await.status, 503);
    assert_eq!(running.get("/metrics", None).await.status, 200);
    running.stop().await;
}

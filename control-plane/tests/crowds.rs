//! Many who ask at once, slow ones and greedy ones: what each may take, and who is answered nevertheless.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[expect(dead_code, reason = "each test file uses some of it")]
#[path = "support/contract.rs"]
mod contract;
#[expect(dead_code, reason = "each test file uses some of it")]
#[path = "support/running.rs"]
mod running;
#[path = "support/fleet.rs"]
mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use control_client::report::{InventoryReport, Report};
use control_plane::api::router;
use control_plane::limits;
use control_plane::poll::Poller;
use control_plane::publish::publish;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use running::{PATIENCE, Running, eventually};
use support::*;

/// A connection on which a request was begun: its head, and so much of its content.
async fn begin(running: &Running, line: &str, token: &str, fields: &str, content: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = format!("{line} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{fields}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(content).await.unwrap();
    stream
}

/// A report whose content is large.
fn large(name: &str) -> Report {
    let bundles = (0..2_000).map(|number| held(&format!("/elsewhere/{number}"), 1, 4096)).collect();
    let mut told = report(name, "one", 1);
    told.inventory = Some(InventoryReport::Full { revision: 1, bundles });
    assert!(serde_json::to_vec(&told).unwrap().len() > limits::SMALL_BYTES_MAX);
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_steered_while_as_many_requests_as_there_may_be_are_being_worked_on() {
    let mut running = Running::start().await;
    let [token] = running.fleet(["oca-1"]).await;
    let mut waiting = Vec::new();
    eventually("no more requests are taken", async || {
        while waiting.len() < limits::REQUESTS_AT_ONCE {
            let line = "PUT /v1/appliances/oca-1";
            waiting.push(begin(&running, line, &token, "Content-Length: 100", b"{").await);
        }
        // One that waited too long for the database gives its place back.
        waiting.retain(|stream| stream.try_read(&mut [0; 1]).is_err());
        running.get("/v1/appliances", Some(&running.operator)).await.status == 503
    })
    .await;
    for path in ["/v1/steer?path=/film/high", "/v1/steer/hls?path=/film", "/v1/steer/dash?path=/film"] {
        assert_eq!(running.get(path, None).await.status, 200, "{path}");
    }
    assert_eq!(running.get("/healthz", None).await.status, 200);
    assert_eq!(running.get("/metrics", None).await.status, 200);
    drop(waiting);
    eventually("they are taken again", async || {
        running.get("/v1/appliances", Some(&running.operator)).await.status == 200
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_says_that_much_is_to_come_takes_no_memory_from_others() {
    let mut running = Running::start().await;
    let [greedy, other] = running.fleet(["oca-1", "oca-2"]).await;
    let length = format!("Content-Length: {}", control_client::limits::REPORT_BYTES_MAX);
    let line = "POST /v1/appliances/oca-1/reports";
    let mut waiting = Vec::new();
    for fields in ["Transfer-Encoding: chunked", &length] {
        for _ in 0..20 {
            waiting.push(begin(&running, line, &greedy, fields, b"").await);
        }
    }
    assert_eq!(running.report(&other, &large("oca-2")).await.inventory_revision, Some(1));
    // Where much has come indeed, one who asks has room for one.
    let piece = vec![b' '; 2 * limits::SMALL_BYTES_MAX];
    for _ in 0..8 {
        waiting.push(begin(&running, line, &greedy, &length, &piece).await);
    }
    eventually("the second of it is refused", async || {
        let content = serde_json::to_vec(&large("oca-1")).unwrap();
        running.ask(Method::POST, "/v1/appliances/oca-1/reports", Some(&greedy), content).await.status == 503
    })
    .await;
    let mut told = large("oca-2");
    told.sequence = 2;
    assert_eq!(running.report(&other, &told).await.sequence, 2);
    drop(waiting);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_that_are_being_sent_are_bounded_for_each_who_asks() {
    let mut running = Running::start().await;
    let [token, other] = running.fleet(["oca-1", "oca-2"]).await;
    for (name, token) in [("oca-1", &token), ("oca-2", &other)] {
        let path = format!("/v1/appliances/{name}");
        running.put(&path, token, &enrolment("http://192.0.2.7", "", 1 << 30)).await;
        eventually("a manifest is made", async || {
            running.get(&format!("{path}/manifest"), Some(token)).await.status == 200
        })
        .await;
    }
    let database = &running.plane().database;
    let document = format!("{{\"manifest\":\"{}\"}}", "x".repeat(limits::ANSWERS_BYTES_EACH_MAX * 5 / 8));
    let mut change = database.change().await.unwrap();
    change.execute("UPDATE manifests SET document = $1", vec![document.as_str().into()]).await.unwrap();
    change.commit().await.unwrap();

    let get = "GET /v1/appliances/oca-1/manifest";
    let mut slow = begin(&running, get, &token, "Accept: */*", b"").await;
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    // Whoever reads so slowly has what it asked for in memory, and gets no more.
    let url = format!("http://{}/v1/appliances/oca-1/manifest", running.address);
    let again = running.client.get(&url).bearer_auth(&token).send().await.unwrap();
    assert_eq!(again.status().as_u16(), 503);
    let wait: u64 = again.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((2..=32).contains(&wait), "{wait}");
    let mine = running.client.get(url.replace("oca-1", "oca-2")).bearer_auth(&other).send().await.unwrap();
    assert_eq!(mine.status().as_u16(), 200);
    assert_eq!(mine.content_length(), Some(document.len() as u64));
    assert!(mine.bytes().await.unwrap() == document, "it is sent whole");
    drop(slow);
    eventually("its memory is free again", async || {
        running.client.get(&url).bearer_auth(&token).send().await.unwrap().status().as_u16() == 200
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_who_take_all_memory_for_their_answers_take_none_from_fills() {
    let mut running = Running::start().await;
    let [token] = running.fleet(["oca-1"]).await;
    let database = &running.plane().database;
    let mpd = format!("<MPD><!--{}--><Period/></MPD>", "x".repeat(limits::MPD_BYTES_MAX as usize - 100));
    let files = tree(&[("manifest.mpd", &mpd), ("high/1.m4s", "first")]);
    publish(database, files.path(), &path("/t"), publication("t", Some(1)), NOW).await.unwrap();
    running.put("/v1/appliances/oca-1", &token, &enrolment("http://192.0.2.7", "", 1 << 30)).await;
    let manifest = "/v1/appliances/oca-1/manifest";
    eventually("a manifest is made, and viewers are steered", async || {
        running.get(manifest, Some(&token)).await.status == 200
            && running.get("/v1/play/dash.mpd?path=/t/manifest.mpd", None).await.status == 200
    })
    .await;
    let document = format!("{{\"manifest\":\"{}\"}}", "x".repeat(2 * limits::SMALL_BYTES_MAX));
    let mut change = database.change().await.unwrap();
    change.execute("UPDATE manifests SET document = $1", vec![document.as_str().into()]).await.unwrap();
    change.commit().await.unwrap();

    // Without sockets, whose buffers take some of what nobody reads.
    let poller = Poller::new(PATIENCE).unwrap();
    let (router, _) = router(Arc::clone(&running.service.as_ref().unwrap().plane), poller);
    let ask = async |path: &str, name: &str, value: &str| {
        let request = Request::get(path).header(name, value);
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
        TowerToHyperService::new(router.clone()).call(request).await.unwrap()
    };
    let play =
        async |viewer: &str| ask("/v1/play/dash.mpd?path=/t/manifest.mpd", "x-forwarded-for", viewer).await;
    let mut unread = Vec::new();
    let mut viewers = (1..).map(|number: u32| Ipv4Addr::from_bits(0xcb00_0000 + number).to_string());
    let (mut viewer, mut refused_in_a_row) = (viewers.next().unwrap(), 0);
    while refused_in_a_row < 2 {
        let answer = play(&viewer).await;
        if answer.status() == 503 {
            // First what is this one's, at last what there is for all.
            refused_in_a_row += 1;
            viewer = viewers.next().unwrap();
        } else {
            assert_eq!(answer.status(), 200);
            refused_in_a_row = 0;
            unread.push(answer);
        }
    }
    assert_eq!(ask(manifest, "authorization", &format!("Bearer {token}")).await.status(), 200);
    let bytes = unread.len() * limits::MPD_BYTES_MAX as usize;
    assert!(bytes <= limits::PLAY_ANSWERS_BYTES_MAX + limits::MPD_BYTES_MAX as usize, "{bytes}");
    drop(unread);
    eventually("there is memory for viewers again", async || play(&viewer).await.status() == 200).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_clients_are_sent_somewhere_is_for_operators_alone() {
    let mut running = Running::start().await;
    let [token] = running.fleet(["oca-1"]).await;
    let path = "/v1/steer?path=/film/high&explain=1";
    assert_eq!(running.get(path, None).await.status, 401);
    assert_eq!(running.get(path, Some(&token)).await.status, 401);
    assert_eq!(running.get(path, Some(&running.operator)).await.status, 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_for_anybody_is_counted_anew_when_it_has_changed() {
    let mut running = Running::start().await;
    let titles = async || -> control_plane::api::Alive { running.get("/healthz", None).await.document() };
    assert_eq!(titles().await.titles, 0);
    running.fleet([]).await;
    assert_eq!((titles().await.titles, titles().await.bundles), (1, 2));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_tells_of_the_fields_that_answers_have() {
    let mut running = Running::start().await;
    let document: serde_json::Value = running.get("/openapi.json", None).await.document();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let responses = &operation["responses"];
            assert!(responses["503"]["headers"]["Retry-After"].is_object(), "{method} {path}");
            if responses["401"].is_object() {
                assert!(responses["401"]["headers"]["WWW-Authenticate"].is_object(), "{method} {path}");
            }
        }
    }
    let manifest = &document["paths"]["/v1/appliances/{appliance}/manifest"]["get"]["responses"];
    for status in ["200", "304"] {
        assert!(manifest[status]["headers"]["ETag"].is_object(), "{manifest}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_sent_to_their_own_origins_and_not_to_those_that_appliances_fill_from() {
    let mut running = Running::start().await;
    running.fleet([]).await;
    let answer = running.steer("192.0.2.9", "/film/high").await;
    assert_eq!(
        answer.candidates.iter().map(|one| one.urls.clone()).collect::<Vec<_>>(),
        [["https://cdn.example.net"]]
    );
    let path = "/v1/steer/hls?client=192.0.2.9&path=/film/high";
    let content = String::from_utf8(running.get(path, None).await.content).unwrap();
    assert!(!content.contains("origin.example.net"), "{content}");
    running.stop().await;
}

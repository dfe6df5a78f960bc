//! Polls of health against peers that answer anything, too much, too slowly, or not at all.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "support/fleet.rs"]
mod support;

use std::time::{Duration, Instant};

use control_client::fleet::ApplianceName;
use control_client::health::{HealthReport, Readiness, Verdict};
use control_plane::hysteresis::Observation;
use control_plane::limits;
use control_plane::poll::Poller;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use support::{appliance, health};

const TIMEOUT: Duration = Duration::from_millis(400);

fn name() -> ApplianceName {
    appliance("oca-1")
}

/// A peer that reads a request's head, sends these bytes, and then holds the connection, or sends zeros without end.
async fn peer(answer: Vec<u8>, is_endless: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let mut sent = stream.write_all(&answer).await;
                while is_endless && sent.is_ok() {
                    sent = stream.write_all(&[b'0'; 4096]).await;
                }
                let _ = stream.read(&mut [0; 1]).await;
            });
        }
    });
    url
}

async fn missed(answer: &str, is_endless: bool) -> String {
    let url = peer(answer.as_bytes().to_vec(), is_endless).await;
    let started = Instant::now();
    let (observation, health) = Poller::new(TIMEOUT).unwrap().look(&name(), &url).await;
    assert!(started.elapsed() < Duration::from_secs(10), "{answer:?}");
    assert_eq!(health, None);
    match observation {
        Observation::Missed(why) => why,
        other => panic!("{answer:?}: {other:?}"),
    }
}

async fn look(status: &str, health: &HealthReport) -> (Observation, Option<HealthReport>) {
    let content = serde_json::to_string(health).unwrap();
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{content}", content.len());
    Poller::new(TIMEOUT).unwrap().look(&name(), &peer(answer.into_bytes(), false).await).await
}

#[tokio::test]
async fn an_unhealthy_appliance_says_so_with_503() {
    let well = health(Readiness::Serving, Verdict::Healthy);
    assert_eq!(look("200 OK", &well).await, (Observation::Healthy, Some(well)));
    let drains = health(Readiness::Draining, Verdict::Unhealthy);
    assert_eq!(look("503 Service Unavailable", &drains).await, (Observation::Draining, Some(drains)));
}

#[tokio::test]
async fn whatever_else_a_peer_answers_is_a_miss() {
    assert!(missed("", false).await.contains("did not answer in time"));
    assert!(missed("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{", false).await.contains("in time"));
    assert!(missed("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", false).await.contains("health report"));
    assert!(missed("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false).await.contains("health report"));
    assert!(missed("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", false).await.contains("404"));
    let elsewhere = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    assert!(missed(elsewhere, false).await.contains("302"), "no redirect is followed");
    assert!(missed("SSH-2.0-OpenSSH\r\n", false).await.contains("cannot be asked"));
    let large = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", u64::MAX / 4);
    assert!(missed(&large, true).await.contains(&limits::HEALTH_BYTES_MAX.to_string()));
    missed("HTTP/1.1 200 OK\r\nX: ", true).await;
    let closed = Poller::new(TIMEOUT).unwrap().look(&name(), "http://127.0.0.1:1").await.0;
    assert!(matches!(closed, Observation::Missed(why) if why.contains("refused")));
}

#[tokio::test]
async fn what_another_appliance_says_there_is_no_word_on_this_one() {
    let mut well = health(Readiness::Serving, Verdict::Healthy);
    well.appliance = Some("oca-1".to_owned());
    assert_eq!(look("200 OK", &well).await.0, Observation::Healthy);
    well.appliance = Some("oca-7".to_owned());
    let (observation, told) = look("200 OK", &well).await;
    assert!(
        matches!(observation, Observation::Missed(why) if why.contains("oca-7") && why.contains("admin_url"))
    );
    assert_eq!(told, None);
}

//! What comes with the objects of a night, heads and probes, is less than the part of the night's bytes that plans leave to it.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support {
    pub(crate) mod http;
    pub(crate) mod night_site;
    pub(crate) mod scripted_plane;
    pub(crate) mod site;
}

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use fill_agent::limits::OVERHEAD_PART;

use support::night_site::{NightSite, bytes_of};
use support::site::Sample;

/// As small as segments of video are; audio's are smaller, and few beside them.
const OBJECT_BYTES: usize = 100_000;

#[test]
fn what_comes_with_the_objects_is_less_than_plans_leave_to_it() {
    let samples: Vec<Sample> =
        (0..4).map(|index| Sample::new(&format!("/night/{index}"), 1, 10, OBJECT_BYTES)).collect();
    let night = NightSite::new(&samples);
    night.list(1, &samples.iter().collect::<Vec<_>>());
    let daemon = night.site.start();
    assert!(night.run());

    let budget = std::fs::read(night.site.premises.agent_state().join("budget.json")).unwrap();
    let budget: serde_json::Value = serde_json::from_slice(&budget).unwrap();
    let received = budget["nights"][0]["received_bytes"].as_u64().unwrap();
    let from_origin = received - bytes_of(&samples);
    // From a peer it would have been its daemon's heads.
    let head_bytes = head_bytes(daemon.http(), &samples[0].request_path("0"));
    let from_peer = head_bytes * (samples.len() as u64 * 11);
    println!(
        "beside {} bytes of objects: {from_origin} from the origin, {from_peer} from a peer, {head_bytes} in a head",
        bytes_of(&samples)
    );
    for beside in [from_origin, from_peer] {
        assert!(beside <= received / OVERHEAD_PART, "{beside} of {received}");
    }
}

/// Bytes of the head that the daemon's answer has.
fn head_bytes(daemon: SocketAddr, path: &str) -> u64 {
    let mut stream = TcpStream::connect(daemon).unwrap();
    let request = format!("HEAD {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    stream.read_to_end(&mut head).unwrap();
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
    head.len() as u64
}

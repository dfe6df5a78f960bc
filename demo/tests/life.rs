//! The daemon's life: stopping, draining, signals, limits, and shortages. Clients are told what happens, or
//! find out at once; none takes a part for the whole.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support {
    pub(crate) mod http;
    pub(crate) mod site;
    pub(crate) mod tls;
}

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use control_client::health::{Readiness, Verdict};
use demo::certificate;
use rustix::process::Signal;
use rustls::pki_types::CertificateDer;

use support::http::{Connection, TIMEOUT, narrow_socket};
use support::site::{Daemon, PATIENCE, PROGRAM, Sample, Site, eventually};
use support::tls;

const QUICK_BYTES: usize = 20_000;
/// More than the sockets between daemon and client hold.
const SLOW_BYTES: usize = 8 << 20;

/// How much later than its limit something may end: timers tick ten times a second, and the machine is busy.
const LATE: Duration = Duration::from_secs(5);

fn site() -> (Site, Sample) {
    let site = Site::new(1);
    let objects = vec![("quick".to_owned(), QUICK_BYTES), ("slow".to_owned(), SLOW_BYTES)];
    let sample = Sample { path: "/title".to_owned(), generation: 1, objects };
    sample.publish(site.volume(0));
    (site, sample)
}

fn start(site: &Site) -> Daemon<'_> {
    let daemon = site.start();
    eventually("the title serves", || site.serving().len() == 1);
    daemon
}

fn read_quick(connection: &mut Connection, sample: &Sample) {
    let answer = connection.get(&sample.request_path("quick")).expect("an answer");
    assert_eq!(
        answer.head.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body[..answer.body.len().min(200)])
    );
    assert!(answer.body == sample.bytes("quick"), "wrong bytes");
}

/// Asks for the large object over a connection with a small window, and reads only its beginning.
fn begin_slow(mut connection: Connection, sample: &Sample) -> Connection {
    let head = connection.begin_get(&sample.request_path("slow"), None).expect("a head");
    assert_eq!((head.status, head.content_length()), (200, SLOW_BYTES as u64));
    assert!(connection.read_bytes(10_000).expect("the beginning") == sample.bytes("slow")[..10_000]);
    connection
}

fn finish_slow(mut connection: Connection, sample: &Sample) {
    let rest = connection.read_bytes(SLOW_BYTES - 10_000).expect("the rest");
    assert!(rest == sample.bytes("slow")[10_000..], "wrong bytes");
}

/// The rest of a response that the daemon gives up: right bytes, then a reset.
fn expect_reset(mut connection: Connection, sample: &Sample) {
    let (rest, end) = connection.read_to_end();
    assert_eq!(end.expect_err("it looks complete").raw_os_error(), Some(libc::ECONNRESET));
    assert!(rest.len() < SLOW_BYTES - 10_000);
    assert!(rest == sample.bytes("slow")[10_000..10_000 + rest.len()], "wrong bytes");
}

/// The daemon ends the connection in order, `limit` after `since` and not much later.
fn expect_close_after(connection: &mut Connection, since: Instant, limit: Duration) -> Vec<u8> {
    let (bytes, end) = connection.read_to_end();
    end.expect("an orderly end");
    let took = since.elapsed();
    assert!(
        took + Duration::from_millis(300) > limit && took < limit + LATE,
        "closed after {took:?}, not {limit:?}"
    );
    bytes
}

fn closed(site: &Site, cause: &str) -> f64 {
    site.metric("oca_connections_closed_total", &[&format!("\"{cause}\"")])
}

fn outcomes(site: &Site, outcome: &str) -> f64 {
    site.metric("oca_requests_total", &[&format!("\"{outcome}\"")])
}

// ---- stopping ----

#[test]
fn sigterm_lets_responses_in_flight_finish_and_the_daemon_exits_with_0() {
    let (site, sample) = site();
    let mut daemon = start(&site);
    let http = daemon.http();
    let slow = begin_slow(Connection::open_narrow(http).unwrap(), &sample);
    let mut idle = Connection::open(http).unwrap();
    read_quick(&mut idle, &sample);
    daemon.signal(Signal::TERM);
    assert_eq!(
        expect_close_after(&mut idle, Instant::now(), Duration::ZERO),
        b"",
        "an idle connection ends at once"
    );
    eventually("nobody is accepted any more", || TcpStream::connect(http).is_err());
    finish_slow(slow, &sample);
    assert!(daemon.wait().success());
}

#[test]
fn connections_that_wait_to_be_accepted_when_the_daemon_is_told_to_stop_are_served() {
    let (site, sample) = site();
    let mut daemon = start(&site);
    // Asleep, it accepts nobody: all of these wait in the kernel.
    daemon.signal(Signal::STOP);
    let request = format!("GET {} HTTP/1.1\r\nHost: test\r\n\r\n", sample.request_path("quick"));
    let mut waiting: Vec<Connection> = (0..60)
        .map(|_| {
            let mut connection = Connection::open(daemon.http()).expect("the kernel takes the connection");
            connection.send(request.as_bytes()).unwrap();
            connection
        })
        .collect();
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::CONT);
    for connection in &mut waiting {
        let head = connection.read_head().expect("it is answered");
        assert_eq!(head.status, 200);
        assert!(connection.finish(head).unwrap().body == sample.bytes("quick"), "wrong bytes");
        let (more, end) = connection.read_to_end();
        assert_eq!((more, end.map_err(|error| error.kind())), (Vec::new(), Ok(())), "and ends in order");
    }
    assert!(daemon.wait().success());
}

#[test]
fn what_is_not_taken_within_the_shutdown_timeout_is_reset_over_http_and_over_tls() {
    let (mut site, sample) = site();
    let files = certificate::make(site.folder.path(), "a", &["localhost"]).unwrap();
    site.premises.add_certificate(&files);
    site.premises.set("serve", "shutdown_timeout = \"1 s\"");
    let mut daemon = start(&site);
    let slow = begin_slow(Connection::open_narrow(daemon.http()).unwrap(), &sample);
    let (stream, _) = tls::connect(narrow_socket(daemon.https()).unwrap(), "localhost", TIMEOUT).unwrap();
    let mut slow_tls = begin_slow(Connection::over(stream), &sample);
    let began = Instant::now();
    daemon.signal(Signal::TERM);
    assert!(daemon.wait().success());
    assert!(began.elapsed() >= Duration::from_millis(900) && began.elapsed() < LATE, "{:?}", began.elapsed());
    expect_reset(slow, &sample);
    let (rest, end) = slow_tls.read_to_end();
    let kind = end.expect_err("a TLS response that is cut off has no farewell").kind();
    assert!(matches!(kind, io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof), "{kind:?}");
    assert!(rest.len() < SLOW_BYTES - 10_000);
}

// ---- draining ----

#[test]
fn a_draining_appliance_serves_on_is_drained_when_it_is_quiet_and_serves_again_when_told() {
    let (site, sample) = site();
    let daemon = start(&site);
    let slow = begin_slow(Connection::open_narrow(daemon.http()).unwrap(), &sample);
    let mut kept = Connection::open(daemon.http()).unwrap();
    read_quick(&mut kept, &sample);
    assert_eq!(site.wait_for(site.admin().drain()).unwrap().readiness, Readiness::Draining);
    eventually("health turns clients away", || site.health().verdict == Verdict::Unhealthy);
    let health = site.health();
    assert_eq!(health.readiness, Readiness::Draining);
    assert_eq!(health.reasons[0].code, "draining");
    read_quick(&mut kept, &sample);
    read_quick(&mut Connection::open(daemon.http()).unwrap(), &sample);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(site.health().readiness, Readiness::Draining, "a response is in flight");
    finish_slow(slow, &sample);
    eventually("drained", || site.health().readiness == Readiness::Drained);
    assert_eq!(site.health().verdict, Verdict::Unhealthy);
    read_quick(&mut kept, &sample);
    assert_eq!(site.wait_for(site.admin().undrain()).unwrap().readiness, Readiness::Serving);
    eventually("health is good again", || site.health().verdict == Verdict::Healthy);
    read_quick(&mut kept, &sample);
    assert!(daemon.stop().success());
}

// ---- SIGHUP ----

fn handshake(daemon: &Daemon<'_>, name: &str) -> (Connection, CertificateDer<'static>) {
    let socket = TcpStream::connect(daemon.https()).expect("a connection");
    let (stream, certificate) = tls::connect(socket, name, TIMEOUT).expect("a handshake");
    (Connection::over(stream), certificate)
}

#[test]
fn each_name_gets_its_certificate_and_an_unknown_name_the_first() {
    let (mut site, sample) = site();
    let first = certificate::make(site.folder.path(), "first", &["first.test", "localhost"]).unwrap();
    let second = certificate::make(site.folder.path(), "second", &["second.test", "*.wild.test"]).unwrap();
    site.premises.add_certificate(&first);
    site.premises.add_certificate(&second);
    let daemon = start(&site);
    for (name, expected) in [
        ("first.test", &first),
        ("second.test", &second),
        ("SECOND.test", &second),
        ("a.wild.test", &second),
        ("unknown.test", &first),
        ("127.0.0.1", &first),
    ] {
        let (mut connection, certificate) = handshake(&daemon, name);
        assert!(certificate == tls::certificate(&expected.pem), "{name}");
        read_quick(&mut connection, &sample);
    }
    assert!(daemon.stop().success());
}

#[test]
fn sighup_gives_new_handshakes_the_new_certificate_and_old_connections_go_on() {
    let (mut site, sample) = site();
    let old = certificate::make(site.folder.path(), "a", &["localhost"]).unwrap();
    site.premises.add_certificate(&old);
    let daemon = start(&site);
    let (mut kept, certificate_then) = handshake(&daemon, "localhost");
    assert!(certificate_then == tls::certificate(&old.pem));
    read_quick(&mut kept, &sample);

    let new = certificate::make(site.folder.path(), "a", &["localhost"]).unwrap();
    assert!(
        handshake(&daemon, "localhost").1 == tls::certificate(&old.pem),
        "nothing changes before the signal"
    );
    daemon.signal(Signal::HUP);
    eventually("new handshakes see the new certificate", || {
        handshake(&daemon, "localhost").1 == tls::certificate(&new.pem)
    });
    read_quick(&mut kept, &sample);

    fs::write(&new.chain, "no certificate").unwrap();
    daemon.signal(Signal::HUP);
    std::thread::sleep(Duration::from_millis(500));
    let (mut connection, certificate_now) = handshake(&daemon, "localhost");
    assert!(certificate_now == tls::certificate(&new.pem), "what cannot be read changes nothing");
    read_quick(&mut connection, &sample);
    read_quick(&mut kept, &sample);
    assert!(daemon.stop().success());
}

#[test]
fn sighup_opens_the_access_log_again_and_every_request_is_in_one_of_the_two() {
    let (site, sample) = site();
    let daemon = start(&site);
    let (log, rotated) = (site.premises.access_log(), site.folder.path().join("access.log.1"));
    let lines = |path: &std::path::Path| fs::read_to_string(path).unwrap_or_default().lines().count();
    let mut connection = Connection::open(daemon.http()).unwrap();
    read_quick(&mut connection, &sample);
    eventually("the request is logged", || lines(&log) == 1);
    fs::rename(&log, &rotated).unwrap();
    read_quick(&mut connection, &sample);
    eventually("until the signal the renamed file is written", || lines(&rotated) == 2);
    daemon.signal(Signal::HUP);
    eventually("the log is there again", || log.exists());
    read_quick(&mut connection, &sample);
    eventually("the request is in the new log", || lines(&log) == 1);
    assert_eq!(lines(&rotated), 2);
    let record = fs::read_to_string(&log).unwrap();
    assert!(record.contains("/title/quick") && record.contains("\"hit_"), "{record}");
    assert!(daemon.stop().success());
}

// ---- shortages and bounds ----

/// More than health asks for, and fewer than the connections that the daemon takes however low the limit is.
const SPARE_DESCRIPTORS: usize = 44;
const CLIENTS: usize = 60;

/// A program that is the daemon with so few descriptors: the hard limit too, which the daemon cannot raise.
fn program_with_descriptors(site: &Site, count: usize) -> PathBuf {
    let program = site.folder.path().join("daemon-with-few-descriptors");
    fs::write(&program, format!("#!/bin/sh\nulimit -n {count}\nexec {PROGRAM} \"$@\"\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    program
}

fn descriptor_count(daemon: &Daemon<'_>) -> usize {
    fs::read_dir(format!("/proc/{}/fd", daemon.id())).unwrap().count()
}

#[test]
fn without_a_free_descriptor_accepting_pauses_and_then_recovers() {
    let (mut site, sample) = site();
    site.premises.set("serve", "workers = 1");
    let daemon = start(&site);
    read_quick(&mut Connection::open(daemon.http()).unwrap(), &sample);
    let needed = descriptor_count(&daemon);
    assert!(daemon.stop().success());
    let daemon = site.start_program(&program_with_descriptors(&site, needed + SPARE_DESCRIPTORS));
    eventually("the title serves", || site.serving().len() == 1);
    let mut first = Connection::open(daemon.http()).unwrap();
    read_quick(&mut first, &sample);

    let mut clients: VecDeque<Connection> =
        (0..CLIENTS).map(|_| Connection::open(daemon.http()).unwrap()).collect();
    eventually("no descriptor is free", || descriptor_count(&daemon) >= needed + SPARE_DESCRIPTORS);
    std::thread::sleep(Duration::from_millis(300));
    read_quick(&mut first, &sample);

    // As clients leave, those who wait take their places.
    while clients.len() > 5 {
        clients.pop_front();
    }
    clients.iter_mut().for_each(|client| read_quick(client, &sample));
    assert!(site.metric("oca_accept_pauses_total", &["\"descriptors\""]) >= 1.0);
    assert_eq!(outcomes(&site, "refused_capacity"), 0.0);
    eventually("there are enough descriptors", || site.health().verdict == Verdict::Healthy);
    assert!(daemon.stop().success());
}

#[test]
fn beyond_the_bound_on_connections_clients_are_told_503_and_when_to_come_back() {
    let (mut site, sample) = site();
    site.premises.set("serve", "workers = 1");
    site.premises.set("serve", "connections = 8");
    site.premises.set("serve", "retry_after = \"7 s\"");
    let daemon = start(&site);
    let mut within: Vec<Connection> = (0..8)
        .map(|_| {
            let mut connection = Connection::open(daemon.http()).unwrap();
            read_quick(&mut connection, &sample);
            connection
        })
        .collect();
    let all_closed = |site: &Site| site.metric("oca_connections_closed_total", &[]);
    for refused in 0..20 {
        // At a bound of 8 one is told so at a time; beside it others are reset.
        eventually("the one before has gone", || all_closed(&site) == f64::from(refused));
        let mut beyond = Connection::open(daemon.http()).unwrap();
        let head = beyond.read_head().expect("a refusal");
        assert_eq!((head.status, head.field("retry-after")), (503, Some("7")));
        assert_eq!(head.field("connection"), Some("close"));
        beyond.finish(head).unwrap();
        expect_close_after(&mut beyond, Instant::now(), Duration::ZERO);
    }
    eventually("they are counted", || outcomes(&site, "refused_capacity") == 20.0);
    within.iter_mut().for_each(|connection| read_quick(connection, &sample));
    within.pop();
    eventually("there is room again", || {
        Connection::open(daemon.http()).is_ok_and(|mut connection| {
            connection.get(&sample.request_path("quick")).is_ok_and(|answer| answer.head.status == 200)
        })
    });
    assert!(daemon.stop().success());
}

#[test]
fn where_the_operator_chose_to_pause_clients_beyond_the_bound_wait_until_there_is_room() {
    let (mut site, sample) = site();
    site.premises.set("serve", "workers = 1");
    site.premises.set("serve", "connections = 4");
    site.premises.set("serve", "at_capacity = \"pause\"");
    let daemon = start(&site);
    let mut within: Vec<Connection> = (0..4).map(|_| Connection::open(daemon.http()).unwrap()).collect();
    within.iter_mut().for_each(|connection| read_quick(connection, &sample));
    let mut beyond =
        Connection::of_socket(TcpStream::connect(daemon.http()).unwrap(), Duration::from_millis(500))
            .unwrap();
    let waits = beyond.get(&sample.request_path("quick")).expect_err("nobody answers yet").kind();
    assert!(matches!(waits, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{waits:?}");
    within.pop();
    let deadline = Instant::now() + PATIENCE;
    let head = loop {
        match beyond.read_head() {
            Ok(head) => break head,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    assert!(beyond.finish(head).unwrap().body == sample.bytes("quick"));
    assert!(site.metric("oca_accept_pauses_total", &["\"capacity\""]) >= 1.0);
    assert_eq!(outcomes(&site, "refused_capacity"), 0.0);
    assert!(daemon.stop().success());
}

// ---- limits ----

/// A daemon with one limit shortened to a second.
fn with_limit(site: &mut Site, key: &str) -> Duration {
    site.premises.set("serve", format!("{key} = \"1 s\""));
    if key == "connection_lifetime" {
        // No limit may be longer than a connection's life.
        for shorter in ["header_timeout", "idle_timeout", "send_stall_timeout", "disk_timeout"] {
            site.premises.set("serve", format!("{shorter} = \"1 s\""));
        }
    }
    Duration::from_secs(1)
}

#[test]
fn a_head_that_does_not_come_in_time_is_answered_408_however_it_trickles() {
    let (mut site, sample) = site();
    let limit = with_limit(&mut site, "header_timeout");
    let daemon = start(&site);
    let mut connection = Connection::open(daemon.http()).unwrap();
    let began = Instant::now();
    for byte in format!("GET {} HTTP/1.1\r\nHost: te", sample.request_path("quick")).bytes() {
        if connection.send(&[byte]).is_err() || began.elapsed() > limit + LATE {
            break;
        }
        std::thread::sleep(Duration::from_millis(40));
    }
    let head = connection.read_head().expect("an answer");
    assert_eq!((head.status, head.field("connection")), (408, Some("close")));
    assert!(began.elapsed() < limit + LATE);
    eventually("it is counted", || outcomes(&site, "client_error_timeout") == 1.0);

    let began = Instant::now();
    let mut silent = Connection::open(daemon.http()).unwrap();
    assert_eq!(expect_close_after(&mut silent, began, limit), b"", "who says nothing is told nothing");
    eventually("it is counted", || closed(&site, "header_timeout") == 2.0);
    assert!(daemon.stop().success());
}

#[test]
fn a_connection_without_a_further_request_is_closed_in_order_after_the_idle_timeout() {
    let (mut site, sample) = site();
    let limit = with_limit(&mut site, "idle_timeout");
    let daemon = start(&site);
    let mut connection = Connection::open(daemon.http()).unwrap();
    read_quick(&mut connection, &sample);
    std::thread::sleep(limit / 4);
    let began = Instant::now();
    read_quick(&mut connection, &sample);
    assert_eq!(expect_close_after(&mut connection, began, limit), b"");
    eventually("it is counted", || closed(&site, "idle_timeout") == 1.0);
    assert!(daemon.stop().success());
}

#[test]
fn a_client_that_takes_nothing_is_reset_after_the_send_stall_timeout_and_one_that_takes_a_little_is_not() {
    let (mut site, sample) = site();
    let limit = with_limit(&mut site, "send_stall_timeout");
    let daemon = start(&site);
    let stalled = begin_slow(Connection::open_narrow(daemon.http()).unwrap(), &sample);
    let mut slow = begin_slow(Connection::open_narrow(daemon.http()).unwrap(), &sample);
    let mut read = 10_000;
    let began = Instant::now();
    while began.elapsed() < limit * 3 {
        let bytes = slow.read_bytes(300_000).expect("a slow client is served");
        assert!(bytes == sample.bytes("slow")[read..read + bytes.len()]);
        read += bytes.len();
        std::thread::sleep(limit / 4);
    }
    expect_reset(stalled, &sample);
    eventually("it is counted", || outcomes(&site, "aborted_send_stall") == 1.0);
    assert_eq!(closed(&site, "send_stall"), 1.0);
    assert!(daemon.stop().success());
}

#[test]
fn at_the_end_of_its_lifetime_an_idle_connection_is_closed_in_order_and_a_response_in_flight_is_reset() {
    let (mut site, sample) = site();
    let limit = with_limit(&mut site, "connection_lifetime");
    let daemon = start(&site);
    let mut idle = Connection::open(daemon.http()).unwrap();
    read_quick(&mut idle, &sample);
    let mut slow = begin_slow(Connection::open_narrow(daemon.http()).unwrap(), &sample);
    let began = Instant::now();
    // Slowly, so that it is the lifetime that ends it, and not a stall.
    let mut read = 10_000;
    let end = loop {
        match slow.read_bytes(100_000) {
            Ok(bytes) => {
                assert!(bytes == sample.bytes("slow")[read..read + bytes.len()]);
                read += bytes.len();
            }
            Err(error) => break error,
        }
        assert!(read < SLOW_BYTES - 200_000, "it was not ended");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(end.raw_os_error(), Some(libc::ECONNRESET));
    assert!(began.elapsed() < limit + LATE);
    let (bytes, end) = idle.read_to_end();
    assert_eq!((bytes, end.is_ok()), (Vec::new(), true));
    eventually("it is counted", || outcomes(&site, "aborted_lifetime") == 1.0);
    assert!(daemon.stop().success());
}

#[test]
fn ipv6_is_served_as_ipv4_is() {
    let (site, sample) = site();
    let daemon = start(&site);
    let v6: SocketAddr =
        daemon.http_addresses().into_iter().find(SocketAddr::is_ipv6).expect("a listener on IPv6");
    read_quick(&mut Connection::open(v6).unwrap(), &sample);
    assert!(daemon.stop().success());
}

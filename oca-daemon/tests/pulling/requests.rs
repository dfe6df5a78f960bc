//! Which requests are asked for, and what is handed over of them.

use std::time::Duration;

use bytes::Bytes;
use oca_daemon::outcome::Outcome;
use oca_daemon::pull::PullRequest;
use oca_daemon::pull::pipe::Writer;

use crate::EVERYTHING;
use crate::client::{Answer, Client};
use crate::worker::{ScriptedWorker, head};

async fn echo(request: PullRequest, mut writer: Writer) {
    let cookies: Vec<&str> =
        request.fields.get_all("x-many").iter().map(|value| value.to_str().unwrap()).collect();
    let text = format!(
        "{} {} {} {} {cookies:?} {}",
        request.method,
        request.target,
        request.authority,
        request.key(),
        String::from_utf8_lossy(&request.content)
    );
    let _ = writer.head(head(200, Some(text.len() as u64))).await;
    let _ = writer.chunk(Bytes::from(text)).await;
    writer.end();
}

#[test]
fn the_whole_request_is_handed_over() {
    let worker = ScriptedWorker::start(EVERYTHING, echo);
    let mut client = Client::connect(worker.http);
    for (target, fields, expected) in [
        ("/a/./b/?c=%2f", "X-Many: 1\r\nx-many: 2\r\n", "GET /a/b/?c=%2f test /a/b/?c=%2f [\"1\", \"2\"] "),
        ("/a?CMCD=br%3D1&b", "", "GET /a?CMCD=br%3D1&b test /a?b [] "),
        ("http://other:81/x", "", "GET /x other:81 /x [] "),
        ("/a%2Fb", "Content-Length: 3\r\n\r\nabc", "GET /a%2Fb test /a%2Fb [] "),
    ] {
        let fields =
            fields.strip_suffix("\r\n\r\nabc").map_or(fields.to_owned(), |fields| format!("{fields}\r\n"));
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n").as_bytes());
        if fields.contains("Content-Length") {
            client.send(b"abc");
        }
        let answer = client.read(false).unwrap();
        assert_eq!(String::from_utf8(answer.body).unwrap(), expected, "{target}");
    }
}

#[test]
fn content_of_unsafe_methods_is_passed_within_a_bound_where_the_operator_allows_it() {
    let worker = ScriptedWorker::start(&format!("{EVERYTHING}unsafe_methods = \"pass\"\n"), echo);
    let mut client = Client::connect(worker.http);
    let text = |answer: Answer| String::from_utf8(answer.body).unwrap();
    client.send(b"POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(text(client.read(false).unwrap()), "POST /a test /a [] hello");
    client.send(b"M-SEARCH /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n");
    std::thread::sleep(Duration::from_millis(50));
    client.send(b"3\r\nllo\r\n0\r\n\r\nDELETE /b HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(text(client.read(false).unwrap()), "M-SEARCH /a test /a [] hello");
    assert_eq!(text(client.read(false).unwrap()), "DELETE /b test /b [] ");
    client.send(b"POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.read(false).unwrap().status, 417);
    let mut client = Client::connect(worker.http);
    client.send(b"POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 65537\r\n\r\n");
    assert_eq!(client.read(false).unwrap().status, 413);
    assert_eq!(worker.asked(), 3);
}

#[test]
fn unsafe_methods_are_refused_by_default() {
    let worker = ScriptedWorker::start(EVERYTHING, echo);
    let mut client = Client::connect(worker.http);
    client.send(b"POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.read(false).unwrap().status, 405);
    assert_eq!(client.ask("OPTIONS", "/a", "").unwrap().status, 204);
    assert_eq!(worker.asked(), 0);
}

#[test]
fn rules_send_elsewhere_and_reject_by_prefix() {
    let rules = "rules = [{ prefix = \"/\", on_miss = \"reject\" }, { prefix = \"/away/\", on_miss = \"redirect\", \
        redirect_to = \"https://cdn.example/x/\" }, { prefix = \"/away/here/\", on_miss = \"pull\" }]\n";
    let worker = ScriptedWorker::start(rules, echo);
    let mut client = Client::connect(worker.http);
    assert_eq!(client.ask("GET", "/a", "").unwrap().status, 404);
    let answer = client.ask("GET", "/away/b%20c?d", "").unwrap();
    assert_eq!(answer.status, 307);
    assert_eq!(answer.field("location"), Some("https://cdn.example/x/away/b%20c?d"));
    assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
    assert_eq!(client.ask("GET", "/away/here/b", "").unwrap().status, 200);
    assert_eq!(worker.asked(), 1);
    worker.counts(Outcome::Redirected, 1);
    let fill = format!("User-Agent: {}1\r\n", control_client::demand::FILL_AGENT_PREFIX);
    assert_eq!(
        client.ask("GET", "/away/here/b", &fill).unwrap().status,
        404,
        "a peer that fills has sources of its own"
    );
}

#[test]
fn nobody_is_asked_for_what_some_origin_would_read_as_a_path_of_another_rule() {
    let rules = "rules = [{ prefix = \"/\", on_miss = \"pull\" }, { prefix = \"/private/\", on_miss = \"reject\" }]\n";
    let worker = ScriptedWorker::start(rules, echo);
    let mut client = Client::connect(worker.http);
    for target in [
        "//private/a",
        "/private%2Fa",
        "/private%5ca",
        "/x/..%2Fprivate/a",
        "/x/..;/private/a",
        "/private;x/a",
    ] {
        assert_eq!(client.ask("GET", target, "").unwrap().status, 400, "{target}");
    }
    for target in ["/private/a", "/x/../private/a", "/x/%2e%2E/private/a", "/%70rivate/a"] {
        assert_eq!(client.ask("GET", target, "").unwrap().status, 404, "{target}");
    }
    assert_eq!(worker.asked(), 0);
    assert_eq!(client.ask("GET", "/x//a%2Fb", "").unwrap().status, 200);
}

//! `oca fill` and what `oca status` says of the agent, against a scripted agent: a real socket, answers word for word.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use control_client::admin_client::AdminError;
use control_client::agent_client::AgentClient;
use control_client::fill::{FillProgress, FillRun, FillState};
use serde_json::{Value, json};

const PROGRESS: &str = include_str!("golden/fill_progress.json");
const HISTORY: &str = include_str!("golden/fill_history.json");
const PLAN: &str = include_str!("golden/fill_plan.json");
const STATUS: &str = include_str!("golden/status.json");
const RUN: &str = "2026-11-21T02:03:04Z-5f3a9c01";

/// A socket that answers each request by what `answer` makes of it (the first line and how many came before), and tells the
/// first lines.
fn listen(socket: &Path, answer: impl Fn(&str, usize) -> (u16, String) + Send + 'static) -> Receiver<String> {
    let listener = UnixListener::bind(socket).expect("the socket is free");
    let (sender, asked) = mpsc::channel();
    thread::spawn(move || {
        for (before, stream) in listener.incoming().enumerate() {
            let mut stream = stream.expect("accepted");
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                head.push(byte[0]);
            }
            let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
            let (status, content) = answer(&line, before);
            let length = content.len();
            // A client that has enough may hang up, and a test that has seen enough may be over.
            let _ = write!(stream, "HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\n\r\n{content}");
            let _ = sender.send(line);
        }
    });
    asked
}

fn progress(change: impl Fn(&mut FillProgress)) -> String {
    let mut progress: FillProgress = serde_json::from_str(PROGRESS).expect("readable");
    change(&mut progress);
    serde_json::to_string(&progress).expect("JSON")
}

fn waiting() -> String {
    progress(|progress| {
        progress.state = FillState::Waiting;
        progress.active.clear();
    })
}

fn history(outcome: &str) -> String {
    let mut history: Value = serde_json::from_str(HISTORY).expect("readable");
    history["runs"][0]["outcome"] = outcome.into();
    let mut earlier = history["runs"][0].clone();
    earlier["run"] = "earlier".into();
    history["runs"].as_array_mut().expect("a list").push(earlier);
    history.to_string()
}

/// An agent whose run goes on for some looks and then ends so.
fn agent_with_a_run(socket: &Path, outcome: &'static str) -> Receiver<String> {
    listen(socket, move |line, before| match line {
        "POST /run HTTP/1.1" => (
            200,
            progress(|progress| {
                progress.state = FillState::Planning;
                progress.run = None;
            }),
        ),
        "GET /fill HTTP/1.1" if before < 3 => (200, PROGRESS.to_owned()),
        "GET /fill HTTP/1.1" => (200, waiting()),
        "GET /history HTTP/1.1" => (200, history(outcome)),
        _ => (404, String::new()),
    })
}

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn agent(&self) -> PathBuf {
        self.socket("agent.sock")
    }

    fn oca_fill(&self, arguments: &[&str]) -> Output {
        oca(&[&["fill"], arguments, &["--socket", self.agent().to_str().expect("UTF-8")]].concat())
    }
}

fn oca(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_oca")).args(arguments).output().expect("oca runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

#[test]
fn the_plan_says_what_is_fetched_retired_and_left_out_and_why() {
    let place = Place::new();
    let asked = listen(&place.agent(), |_, _| (200, PLAN.to_owned()));
    let output = place.oca_fill(&["plan"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        "manifest 812: 39 of its bundles are here\n\n\
         fetch              generation     size  volume  why\n\
         /titles/abc/1080p           2  2.0 MiB       0  pinned\n\n\
         retire             generation     size  volume  why\n\
         /titles/old/1080p           1  1.0 GiB       1  expired\n\n\
         leave out          generation     size  volume  why\n\
         /titles/ghi/1080p           7  4.0 GiB       -  no room for it that a better bundle does not need\n\
         and 3 more are left out\n\n\
         to fetch: 1 bundles, 2.0 MiB; to retire: 1 bundles, 1.0 GiB\n"
    );
    assert_eq!(asked.recv().expect("asked"), "GET /plan HTTP/1.1");
    assert_eq!(stdout(&place.oca_fill(&["plan", "--json"])), PLAN);
}

#[test]
fn the_history_lists_the_runs_and_one_of_them_with_sources_and_failures() {
    let place = Place::new();
    listen(&place.agent(), |_, _| (200, history("incomplete")));
    let output = place.oca_fill(&["history"]);
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("run ") && lines[0].ends_with("failed  detail"), "{text}");
    assert!(lines[1].starts_with(RUN) && lines[1].contains(" 9 h  incomplete  40 of 41  7.5 GiB"), "{text}");
    assert!(lines[2].starts_with("earlier "), "{text}");

    let one = stdout(&place.oca_fill(&["history", RUN]));
    for line in [
        "outcome    incomplete",
        "published  40 of 41 bundles, 7.5 GiB of 8.0 GiB",
        "failed     1 bundles",
        "oca-2   peer     6.0 GiB      0 B",
        "origin  origin   1.5 GiB  2.0 MiB",
        "/titles/def/720p  wrong_bytes  seg-00042.m4s from origin has another SHA-256",
    ] {
        assert!(one.contains(line), "{line} in\n{one}");
    }
    let document: FillRun =
        serde_json::from_str(&stdout(&place.oca_fill(&["history", RUN, "--json"]))).expect("JSON");
    assert_eq!(document.run, RUN);
    let unknown = place.oca_fill(&["history", "nonsense"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("oca fill history lists them"), "{}", stderr(&unknown));
}

#[test]
fn a_run_is_begun_and_followed_to_its_end_whose_outcome_is_the_exit_code() {
    for (outcome, code) in [("completed", 0), ("incomplete", 1), ("failed", 1)] {
        let place = Place::new();
        let asked = agent_with_a_run(&place.agent(), outcome);
        let output = place.oca_fill(&["run"]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        let text = stdout(&output);
        assert!(
            text.starts_with(
                "filling: 3.0 GiB of 8.0 GiB  812.4 Mbit/s  53 s left  12 of 40 bundles, 1 failed"
            ),
            "{text}"
        );
        assert!(text.contains("\nwaiting") && text.contains(&format!("outcome    {outcome}\n")), "{text}");
        assert_eq!(asked.recv().expect("asked"), "POST /run HTTP/1.1");
    }
}

#[test]
fn a_run_can_be_begun_without_waiting() {
    let place = Place::new();
    let asked = agent_with_a_run(&place.agent(), "completed");
    let output = place.oca_fill(&["run", "--no-wait"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stdout(&output).starts_with("planning: manifest 812; the window closes in "),
        "{}",
        stdout(&output)
    );
    assert_eq!(asked.recv().expect("asked"), "POST /run HTTP/1.1");
    thread::sleep(Duration::from_millis(50));
    assert!(asked.try_recv().is_err(), "nothing else was asked");
}

#[test]
fn following_waits_for_a_run_to_begin_and_ends_with_it() {
    let place = Place::new();
    listen(&place.agent(), |line, before| match (line, before) {
        ("GET /fill HTTP/1.1", 0) => (200, waiting()),
        ("GET /fill HTTP/1.1", 1) => (200, PROGRESS.to_owned()),
        ("GET /fill HTTP/1.1", _) => (200, waiting()),
        _ => (200, history("completed")),
    });
    let output = place.oca_fill(&["follow", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let documents: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("one document a line")).collect();
    let states: Vec<&Value> = documents.iter().map(|document| &document["state"]).collect();
    assert_eq!(states, [&json!("waiting"), &json!("filling"), &json!("waiting"), &Value::Null]);
    assert_eq!(documents[3]["outcome"], "completed");
}

#[test]
fn an_agent_that_restarts_in_the_middle_is_waited_for() {
    let place = Place::new();
    let socket = place.agent();
    listen(&socket, |_, before| match before {
        0 => (200, PROGRESS.to_owned()),
        // Nothing that can be read as HTTP: as if it had died.
        1 => (0, String::new()),
        2 => (200, waiting()),
        _ => (200, history("completed")),
    });
    let output = place.oca_fill(&["follow"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn an_agent_that_is_not_there_exits_with_69_and_the_next_step() {
    let place = Place::new();
    for arguments in [&["plan"][..], &["run"], &["follow"], &["history"]] {
        let output = place.oca_fill(arguments);
        assert_eq!(output.status.code(), Some(69), "{arguments:?}");
        let text = stderr(&output);
        assert!(
            text.contains("is the fill agent running (systemctl status fill-agent), with this fill.socket?"),
            "{text}"
        );
    }
    drop(UnixListener::bind(place.agent()).expect("the socket is free"));
    let text = stderr(&place.oca_fill(&["plan"]));
    assert!(text.contains("the socket is a leftover"), "{text}");
}

#[test]
fn what_the_agent_refuses_is_told_in_its_words() {
    let place = Place::new();
    let refusal = r#"{"error": "no_manifest", "detail": "there is no manifest to fill by"}"#;
    listen(&place.agent(), move |_, _| (409, refusal.to_owned()));
    let output = place.oca_fill(&["run"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("there is no manifest to fill by (no_manifest, status 409)"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_agents_socket_is_found_in_the_configuration() {
    let place = Place::new();
    listen(&place.agent(), |_, _| (200, PLAN.to_owned()));
    let config = place.socket("config.toml");
    fs::write(&config, format!("[fill]\nsocket = {:?}\n", place.agent())).expect("written");
    let output = oca(&["fill", "plan", "--config", config.to_str().expect("UTF-8"), "--json"]);
    assert_eq!(stdout(&output), PLAN);
}

#[test]
fn the_status_shows_the_agent_that_the_daemons_configuration_names() {
    let place = Place::new();
    let mut status: Value = serde_json::from_str(STATUS).expect("readable");
    status["configuration"]["fill.socket"] = place.agent().to_str().into();
    let content = status.to_string();
    let daemon = place.socket("daemon.sock");
    listen(&daemon, move |_, _| (200, content.clone()));
    let ask = |arguments: &[&str]| {
        let output = oca(&[&["status", "--socket", daemon.to_str().expect("UTF-8")], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    assert!(ask(&[]).contains("agent  gives no answer: "), "{}", ask(&[]));
    let document: Value = serde_json::from_str(&ask(&["--json"])).expect("JSON");
    assert_eq!(document, status);

    listen(&place.agent(), |_, _| (200, PROGRESS.to_owned()));
    let text = ask(&[]);
    for line in ["agent       filling\n", "  manifest  812\n", "  progress  3.0 GiB of 8.0 GiB  812.4 Mbit/s"]
    {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    let document: Value = serde_json::from_str(&ask(&["--json"])).expect("JSON");
    assert_eq!(document["agent"], serde_json::from_str::<Value>(PROGRESS).expect("JSON"));
    assert_eq!(document["process"], status["process"]);
}

#[test]
fn an_agent_that_does_not_answer_is_given_up_in_time() {
    let place = Place::new();
    let _listener = UnixListener::bind(place.agent()).expect("the socket is free");
    let mut client = AgentClient::new(place.agent());
    client.timeout = Duration::from_millis(100);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let error = runtime.block_on(client.progress()).expect_err("no answer");
    assert!(matches!(error, AdminError::TimedOut { .. }), "{error}");
    assert!(error.to_string().ends_with("no answer after 100 ms; what does the agent's log say?"), "{error}");
}

#[test]
fn what_an_agent_says_cannot_play_tricks_on_the_terminal() {
    let place = Place::new();
    listen(&place.agent(), |_, _| (200, PLAN.replace("pinned", "\\u001b[2J")));
    let text = stdout(&place.oca_fill(&["plan"]));
    assert!(!text.contains('\u{1b}') && text.contains("\u{fffd}[2J"), "{text}");
}

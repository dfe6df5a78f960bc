//! The program itself: its lock, its socket, its signals, and a source over TLS.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use control_client::agent_client::AgentClient;
use control_client::fill::{FillState, RunOutcome};
use control_client::report::{Directive, Order, Report, ReportAnswer};
use control_client::sources::FillSource;
use control_client::wire::DocumentVersion;
use support::appliance::{Appliance, origin};
use support::content::Content;
use support::scripted_plane::ScriptedPlane;
use support::scripted_source::{Act, ScriptedSource};

/// The configuration of an appliance as a file.
fn write_config(appliance: &Appliance, more: &str) -> std::path::PathBuf {
    let path = appliance.folder.path().join("config.toml");
    let config = &appliance.agent.config;
    let key: String =
        config.control.trusted_keys[0].public_key.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!(
        "[store]\nvolumes = [{{ path = {:?}, mount_required = false }}]\n\
         [admin]\nsocket = {:?}\n\
         [control]\nappliance = \"oca-1\"\ntrusted_keys = [{{ id = \"k\", public_key = \"{key}\" }}]\n\
         [fill]\nstate = {:?}\nsocket = {:?}\nkeep_free = \"1 MiB\"\nwindow = \"00:00-24:00\"\ntime_zone = \"UTC\"\n\
         stall_timeout = \"500 ms\"\nconnect_timeout = \"2 s\"\n{more}\n",
        config.store.volumes[0].path, config.admin.socket, config.fill.state, config.fill.socket,
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// An appliance whose agent is the program: the one in this process has let go of the state.
fn appliance(bundles: &[(&Content, Vec<FillSource>)]) -> Appliance {
    let mut appliance = Appliance::new(bundles);
    let elsewhere = appliance.folder.path().join("elsewhere");
    let config = appliance.agent.config.clone();
    let mut other = config.clone();
    other.fill.state = elsewhere;
    appliance.restart_with(other);
    // Only to be read from here on.
    Arc::get_mut(&mut appliance.agent).unwrap().config = config;
    appliance
}

fn program(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fill-agent"));
    command.args(arguments).arg("--config").arg(config).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

fn wait(mut child: Child, within: Duration) -> Output {
    let deadline = Instant::now() + within;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() >= deadline {
            child.kill().unwrap();
            let mut text = String::new();
            child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
            panic!("the program has not ended; it said: {text}");
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_run_by_hand_publishes_and_exits_with_0_and_what_cannot_be_done_with_1() {
    let content = Content::new("/titles/a", 1, &[3_000_000, 5000]);
    let source = ScriptedSource::right(&[&content]);
    let appliance = appliance(&[(&content, vec![origin(source.url())])]);
    let config = write_config(&appliance, "");
    let plan = program(&config, &["plan"]).output().unwrap();
    let text = String::from_utf8(plan.stdout).unwrap();
    assert!(text.contains("/titles/a generation 1") && text.contains("1 to fetch"), "{text}");
    let output = wait(program(&config, &["run", "--now"]).spawn().unwrap(), Duration::from_secs(60));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(appliance.daemon.held(), [content.key()]);
    // Without a daemon nothing can be planned; a volume that holds it already is not asked.
    std::fs::remove_file(appliance.folder.path().join("state/manifest.json")).unwrap();
    let output = wait(program(&config, &["run", "--now"]).spawn().unwrap(), Duration::from_secs(60));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no manifest"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_run_by_hand_is_reported_before_the_program_exits() {
    let content = Content::new("/titles/a", 1, &[100_000]);
    let source = ScriptedSource::right(&[&content]);
    let appliance = appliance(&[(&content, vec![origin(source.url())])]);
    let is_first = AtomicBool::new(true);
    let plane = ScriptedPlane::start(move |told| {
        let Ok(report) = serde_json::from_slice::<Report>(&told.content) else { return (204, Vec::new()) };
        let fill_now = Directive { id: 7, order: Order::FillNow };
        let answer = ReportAnswer {
            version: DocumentVersion,
            sequence: report.sequence,
            inventory_revision: None,
            manifest_sequence: 1,
            directives: if is_first.swap(false, Ordering::SeqCst) { vec![fill_now] } else { Vec::new() },
            next_report_seconds: 60,
        };
        (200, serde_json::to_vec(&answer).unwrap())
    });
    let token = appliance.folder.path().join("token");
    std::fs::write(&token, "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let config = write_config(&appliance, "");
    let text = std::fs::read_to_string(&config).unwrap();
    let control = format!("[control]\nurl = {:?}\ntoken_file = {token:?}", plane.url);
    std::fs::write(&config, text.replace("[control]", &control)).unwrap();
    let output = wait(program(&config, &["run", "--now"]).spawn().unwrap(), Duration::from_secs(60));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let reports = plane.reports();
    assert_eq!(reports.iter().flat_map(|report| &report.runs).count(), 1);
    assert_eq!(reports[0].runs[0].published_bundles, 1);
    assert_eq!(reports[0].appliance.as_str(), "oca-1");
    assert_eq!(reports[1].directives.iter().map(|result| result.id).collect::<Vec<_>>(), [7]);
    assert!(appliance.agent.config.fill.state.join("run_wanted.json").exists(), "the next process begins it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_keeps_the_window_answers_its_socket_and_ends_soon_when_told() {
    let content = Content::new("/titles/a", 1, &[100_000; 80]);
    // Eight at once, each object takes more than a second: there is something to interrupt for a while.
    let is_slow = Arc::new(AtomicBool::new(true));
    let slow = Arc::clone(&is_slow);
    let source = ScriptedSource::start(&[&content], move |asked| match asked.method.as_str() {
        "GET" if slow.load(Ordering::SeqCst) => Act::Slow(4_000),
        _ => Act::Right,
    });
    let appliance = appliance(&[(&content, vec![origin(source.url())])]);
    let config = write_config(&appliance, "");
    let child = program(&config, &["serve"]).spawn().unwrap();
    let client = AgentClient::new(appliance.agent.config.fill.socket.clone());
    until("the window is open, so a run begins", async || {
        client
            .progress()
            .await
            .is_ok_and(|progress| progress.state == FillState::Filling && progress.done_bytes > 0)
    })
    .await;
    let progress = client.run().await.unwrap();
    assert_eq!(
        (progress.state, progress.planned_bundles),
        (FillState::Filling, 1),
        "it is the one under way"
    );
    assert_eq!(progress.active[0].bundle, content.key());
    assert_eq!(progress.active[0].source.as_deref(), Some("origin"));
    let plan = client.plan().await.unwrap();
    assert_eq!((plan.fetches.len(), plan.manifest_sequence), (1, 1));
    let second = program(&config, &["run", "--now"]).output().unwrap();
    assert_eq!(second.status.code(), Some(69), "one agent works at a time");
    assert!(String::from_utf8_lossy(&second.stderr).contains("another agent works"));
    let asked = program(&config, &["plan", "--json"]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&asked.stdout).contains("\"/titles/a\""),
        "the agent that works is asked"
    );

    signal(&child, rustix::process::Signal::HUP);
    signal(&child, rustix::process::Signal::TERM);
    let output = wait(child, Duration::from_secs(15));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!appliance.agent.config.fill.socket.exists(), "the name goes with the process");
    assert_eq!(appliance.incoming().len(), 1, "what was begun stays");

    is_slow.store(false, Ordering::SeqCst);
    let child = program(&config, &["serve"]).spawn().unwrap();
    until("the next process goes on", async || !appliance.daemon.held().is_empty()).await;
    until("it says so", async || {
        let history = client.history().await.unwrap();
        let outcomes: Vec<RunOutcome> = history.runs.iter().map(|run| run.outcome).collect();
        outcomes == [RunOutcome::Completed, RunOutcome::Interrupted]
    })
    .await;
    signal(&child, rustix::process::Signal::TERM);
    wait(child, Duration::from_secs(15));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_agent_leaves_nothing_that_stands_in_the_way_of_the_next() {
    let content = Content::new("/titles/a", 1, &[500_000; 8]);
    let source = ScriptedSource::start(&[&content], |asked| match asked.method.as_str() {
        "GET" if asked.times == 0 => Act::Slow(20_000),
        _ => Act::Right,
    });
    let appliance = appliance(&[(&content, vec![origin(source.url())])]);
    let config = write_config(&appliance, "");
    let mut child = program(&config, &["serve"]).spawn().unwrap();
    until("objects are on their way", async || source.asked().len() > 3).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let output = wait(program(&config, &["run", "--now"]).spawn().unwrap(), Duration::from_secs(60));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(appliance.daemon.held(), [content.key()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_over_tls_is_believed_by_the_roots_of_the_system_alone() {
    let content = Content::new("/titles/a", 1, &[1_000_000, 10]);
    let plain = ScriptedSource::right(&[&content]);
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let port = support::tls_front::start(plain.address, &signed);
    let appliance = appliance(&[(&content, vec![origin(format!("https://localhost:{port}"))])]);
    let roots = appliance.folder.path().join("roots.pem");
    std::fs::write(&roots, signed.cert.pem()).unwrap();
    let config = write_config(&appliance, "");
    let run = |roots: &Path| {
        let child = program(&config, &["run", "--now"]).env("SSL_CERT_FILE", roots).spawn().unwrap();
        wait(child, Duration::from_secs(120))
    };
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let strangers = appliance.folder.path().join("strangers.pem");
    std::fs::write(&strangers, other.cert.pem()).unwrap();
    let refused = run(&strangers);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("no TLS"),
        "{}",
        String::from_utf8_lossy(&refused.stderr)
    );
    assert_eq!(plain.asked(), []);
    let taken = run(&roots);
    assert_eq!(taken.status.code(), Some(0), "{}", String::from_utf8_lossy(&taken.stderr));
    assert_eq!(appliance.daemon.held(), [content.key()]);
}

//! The life of the process: configuration, state, agent; then the service, one run, or a plan; then an end within a bound.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use control_client::agent_client::AgentClient;
use control_client::config::{Config, Reader};
use control_client::fill::{FillPlanReport, PlannedBundle, RunOutcome};
use control_client::process::start_log;
use control_client::units::ByteCount;
use jiff::Timestamp;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::agent::Agent;
use crate::clock::ClockTrust;
use crate::expiry::{self, Enforced};
use crate::limits::{BLOCKING_THREADS_MAX, LAST_REPORT_TIMEOUT, RUNTIME_THREADS_MAX, STOP_TIMEOUT};
use crate::reporter::Reporter;
use crate::run::{self, Occasion};
use crate::service;
use crate::socket;
use crate::state::{StateError, StateFolder};
use crate::watchdog;
use crate::window::WindowState;

/// What the process is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Keep the window, and report.
    Serve,
    /// One run, and exit.
    Run {
        /// Whatever the window says.
        now: bool,
    },
    /// Print what a run would do.
    Plan {
        /// As the document.
        json: bool,
    },
}

/// Exit codes, of `sysexits.h` from 64 on.
const FAILED: u8 = 1;
const UNAVAILABLE: u8 = 69;
const OS_ERROR: u8 = 71;
const CONFIGURATION: u8 = 78;

/// Does the task.
pub fn main(config_path: &Path, clock: ClockTrust, task: Task) -> ExitCode {
    let config = match Config::load_for(config_path, Reader::Agent) {
        Ok(config) => config,
        Err(error) => return refuse(CONFIGURATION, &error),
    };
    start_log(config.log.level);
    let state = match StateFolder::open(&config.fill.state) {
        Ok(state) => state,
        Err(StateError::Locked(_)) if matches!(task, Task::Plan { .. }) => {
            return ask_for_plan(&config, task);
        }
        Err(error) => return refuse(UNAVAILABLE, &error),
    };
    let agent = match Agent::new(config, clock, state) {
        Ok(agent) => Arc::new(agent),
        Err(error) => return refuse(CONFIGURATION, &error),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(OS_ERROR, &error),
    };
    let code = match task {
        Task::Serve => runtime.block_on(serve(&agent)),
        Task::Run { now } => runtime.block_on(run_once(&agent, now)),
        Task::Plan { json } => runtime.block_on(plan(&agent, json)),
    };
    end(&agent, runtime);
    ExitCode::from(code)
}

async fn serve(agent: &Arc<Agent>) -> u8 {
    let told = match until_told() {
        Ok(told) => told,
        Err(error) => return complain(OS_ERROR, &error),
    };
    let socket = match socket::bind(&agent.config.fill.socket) {
        Ok(socket) => socket,
        Err(error) => return complain(UNAVAILABLE, &error),
    };
    tracing::info!(socket = %agent.config.fill.socket.display(), "the fill agent works");
    watchdog::ready();
    tokio::select! {
        () = service::keep(Arc::clone(agent), told) => {}
        () = socket::serve(Arc::clone(agent), socket) => {}
        () = report(agent) => {}
        () = expiry::keep(Arc::clone(agent)) => {}
        () = watchdog::feed(Arc::clone(agent)) => {}
    }
    watchdog::stopping();
    tracing::info!("stopping");
    0
}

async fn report(agent: &Arc<Agent>) {
    match Reporter::new(agent) {
        Some(reporter) => reporter.keep().await,
        None => std::future::pending().await,
    }
}

async fn run_once(agent: &Arc<Agent>, now: bool) -> u8 {
    let told = match until_told() {
        Ok(told) => told,
        Err(error) => return complain(OS_ERROR, &error),
    };
    let at = Timestamp::now();
    let occasion = match agent.window.at(at) {
        _ if now => Occasion { night: agent.window.night_of(at), is_by_hand: true },
        WindowState::Open { night, .. } => Occasion { night, is_by_hand: false },
        WindowState::Closed { opens_at } => {
            return complain(
                FAILED,
                &format_args!("the window is closed until {opens_at}; --now runs at any time"),
            );
        }
    };
    let socket = match socket::bind(&agent.config.fill.socket) {
        Ok(socket) => socket,
        Err(error) => return complain(UNAVAILABLE, &error),
    };
    agent.blocking(service::recover).await;
    let enforced = expiry::enforce(agent).await;
    if enforced != Enforced::Done {
        enforced.tell();
    }
    agent.blocking(Agent::begin_wanted_run).await;
    agent.calls.set_running(true);
    let report = tokio::select! {
        report = run::run(agent, occasion, told.clone()) => report,
        () = socket::serve(Arc::clone(agent), socket) => None,
    };
    agent.calls.set_running(false);
    if let Some(reporter) = Reporter::new(agent)
        && !*told.borrow()
    {
        let _ = tokio::time::timeout(LAST_REPORT_TIMEOUT, reporter.finish()).await;
    }
    match report.map(|report| report.outcome) {
        None | Some(RunOutcome::Completed) => 0,
        Some(_) => FAILED,
    }
}

async fn plan(agent: &Arc<Agent>, json: bool) -> u8 {
    match socket::make_plan(agent).await {
        Ok(report) => print_plan(&report, json),
        Err((_, why)) => complain(UNAVAILABLE, &why),
    }
}

/// Another agent works: it is asked.
fn ask_for_plan(config: &Config, task: Task) -> ExitCode {
    let client = AgentClient::new(config.fill.socket.clone());
    let answer = runtime().map(|runtime| runtime.block_on(client.plan()));
    match answer {
        Ok(Ok(report)) => ExitCode::from(print_plan(&report, task == Task::Plan { json: true })),
        Ok(Err(error)) => refuse(UNAVAILABLE, &error),
        Err(error) => refuse(OS_ERROR, &error),
    }
}

fn print_plan(report: &FillPlanReport, json: bool) -> u8 {
    if json {
        println!("{}", serde_json::to_string_pretty(report).unwrap_or_default());
        return 0;
    }
    let print = |word: &str, bundles: &[PlannedBundle]| {
        for bundle in bundles {
            let bytes = ByteCount::new(bundle.bytes);
            println!(
                "{word:<7} {bytes:>10}  {} generation {}  {}",
                bundle.path, bundle.generation, bundle.why
            );
        }
    };
    print("fetch", &report.fetches);
    print("retire", &report.retires);
    print("skip", &report.skipped);
    println!(
        "manifest {}: {} held, {} to fetch, {} to retire, {} left out",
        report.manifest_sequence,
        report.held,
        report.fetches.len(),
        report.retires.len(),
        report.skipped.len() as u64 + report.more_skipped
    );
    0
}

/// Becomes true with `SIGTERM` or `SIGINT`. There is nothing that `SIGHUP` would have to read again.
fn until_told() -> std::io::Result<watch::Receiver<bool>> {
    let (tell, told) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => tracing::info!("SIGHUP: restart the agent to have it read its configuration"),
            }
        }
        let _ = tell.send(true);
        // Whoever waits for this asks it for as long as the process lives.
        tell.closed().await;
    });
    Ok(told)
}

fn runtime() -> std::io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, |count| count.get());
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(RUNTIME_THREADS_MAX))
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("fill")
        .enable_all()
        .build()
}

/// What the disks have begun ends, and what hangs is left behind.
fn end(agent: &Arc<Agent>, runtime: Runtime) {
    runtime.shutdown_timeout(STOP_TIMEOUT);
    if !agent.volumes.stop(STOP_TIMEOUT) {
        tracing::warn!("a disk has not answered in time; leaving without it");
    }
    tracing::info!("stopped");
}

fn complain(code: u8, why: &dyn std::fmt::Display) -> u8 {
    tracing::error!("{why}");
    code
}

/// Before there is a log that is kept, or where the log's level must not hide it.
fn refuse(code: u8, why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("fill-agent: {why}");
    ExitCode::from(code)
}

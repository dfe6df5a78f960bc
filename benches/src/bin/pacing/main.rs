//! What pacing does for others: a player of our daemon and its neighbours behind one slow line, with `serve.pacing` off and on in turn (after "Sammy",
//! Spang and others, SIGCOMM 2023).
//!
//! `cargo run --release -p benches --bin pacing`, as root: it makes network namespaces of its own, which are gone when it is. `--scenario NAME`,
//! `--congestion NAME` and `--rounds N` choose what is measured, `--rate`, `--round-trip` and `--queue` the line, `--json FILE` keeps one record for each
//! scenario, congestion control and metric. With `-- --quick` everything is short and runs once, which is what CI does: that it runs, never how well.
//!
//! # Reading order
//!
//! The network: [`namespace`], [`tun`], [`delay_line`], [`household`]. What is served, and by whom: [`content`], [`contestant`]. Who is in the
//! household: [`player`] with its [`playback`], [`datagrams`], [`small_requests`], [`download`]. [`scenario`] says what is measured, [`turn`] measures it
//! once, with what the kernel says of connections ([`transport`]), and [`record`] is what comes of all turns.

mod content;
mod contestant;
mod datagrams;
mod delay_line;
mod download;
mod household;
mod namespace;
mod playback;
mod player;
mod record;
mod scenario;
mod small_requests;
mod transport;
mod tun;
mod turn;

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use benches::interrupt::clean_up_when_interrupted;
use benches::rounds::{Rounds, metric};
use benches::run::Run;
use clap::{Parser, ValueEnum};
use content::Content;
use contestant::{Contestant, Pacing};
use control_client::units::{BitRate, ByteCount};
use demo::failure::{Failure, Step};
use demo::role::{StartedAs, play};
use household::{Line, Network};
use namespace::administrative;
use player::Film;
use record::Record;
use scenario::{METRICS, Scenario};
use turn::Turn;

/// Rounds of A B B A, where no other number is asked for: the fewest that have a 95 % interval.
const ROUNDS: usize = 6;

/// What most servers have, and what those have that serve video and say so; each where the kernel has it.
const CONGESTION_CONTROLS: [&str; 2] = ["cubic", "bbr"];

/// Programs that are needed; one Debian package brings all of them.
const PROGRAMS: [&str; 3] = ["ip", "tc", "ss"];

/// The film's highest bitrate, in kbit/s.
const FILM_KBPS: u32 = 6_000;

#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Everything short, once.
    #[arg(long)]
    quick: bool,
    /// Only this neighbour; may be given several times.
    #[arg(long, value_name = "NAME")]
    scenario: Vec<Scenario>,
    /// Only this congestion control, of those that the kernel has; may be given several times.
    #[arg(long, value_name = "NAME")]
    congestion: Vec<String>,
    /// How many rounds; each goes forth and back.
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// The household's line.
    #[arg(long, value_name = "RATE", default_value = "40 Mbit/s")]
    rate: BitRate,
    /// The round trip of an empty line, in milliseconds.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 20)]
    round_trip: u64,
    /// What may wait for the line, in bytes. By default four times what is on its way: 80 ms of 40 Mbit/s.
    #[arg(long, value_name = "BYTES", default_value_t = 400_000)]
    queue: u64,
    /// What the player says that it finds sufficient (rtp), in kbit/s. By default it says its bitrates and leaves the pace to the daemon.
    #[arg(long, value_name = "KBPS")]
    rtp: Option<u32>,
    /// Where to keep the records, one JSON document a line.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<StartedAs>,
}

/// How long a turn is.
#[derive(Clone, Copy, Debug)]
struct Scale {
    segment: Duration,
    /// This many segments are not counted: slow start, and a buffer that has just begun to be refilled.
    warm_up_segments: u32,
    segments: u32,
    rounds: Rounds,
    all_congestion_controls: bool,
}

const FULL: Scale = Scale {
    segment: Duration::from_secs(4),
    warm_up_segments: 1,
    segments: 3,
    rounds: Rounds { count: ROUNDS, spare: ROUNDS, and_back: true },
    all_congestion_controls: true,
};

const QUICK: Scale = Scale {
    segment: Duration::from_secs(1),
    warm_up_segments: 1,
    segments: 2,
    rounds: Rounds { count: 1, spare: 0, and_back: false },
    all_congestion_controls: false,
};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(role) = arguments.role {
        return play(role);
    }
    match open(&arguments) {
        Ok(network) => match measure(&arguments, &network) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => complain(&failure),
        },
        // In CI, what is missing is a defect of the machine's making.
        Err(missing) if arguments.quick && std::env::var_os("CI").is_none() => {
            println!("pacing: not run: {missing}");
            ExitCode::SUCCESS
        }
        Err(missing) => complain(&missing),
    }
}

fn complain(failure: &Failure) -> ExitCode {
    eprintln!("pacing: {failure}");
    ExitCode::FAILURE
}

/// The network; a failure says what this machine lacks for it.
fn open(arguments: &Arguments) -> Result<Network, Failure> {
    for program in PROGRAMS {
        let mut command = administrative(program);
        let started =
            command.arg("-V").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        started.step(&format!("{program} cannot be started: apt-get install iproute2"))?;
    }
    Network::open(&line(arguments))
}

fn line(arguments: &Arguments) -> Line {
    let round_trip = Duration::from_millis(arguments.round_trip);
    Line { rate: arguments.rate, round_trip, queue: ByteCount::new(arguments.queue) }
}

fn measure(arguments: &Arguments, network: &Network) -> Result<(), Failure> {
    let scale = if arguments.quick { QUICK } else { FULL };
    let rounds = Rounds { count: arguments.rounds.unwrap_or(scale.rounds.count), ..scale.rounds };
    let film = Film { kbps: FILM_KBPS, segment: scale.segment, requested_kbps: arguments.rtp };
    let described = format!(
        "{}, round trip {} ms, a queue of {} bytes; segments of {} s at {} kbit/s",
        arguments.rate,
        arguments.round_trip,
        arguments.queue,
        scale.segment.as_secs(),
        film.kbps
    );
    let run = Run::of_now(std::thread::available_parallelism().map_or(1, usize::from));
    println!("{}\n{described}", run.described());
    let folder =
        tempfile::Builder::new().prefix("oca-pacing-").tempdir().step("making a temporary folder")?;
    clean_up_when_interrupted(folder.path().to_owned(), || {})?;
    let content = Content::write(folder.path().join("content"), film.segment_bytes() as usize)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().step("the runtime")?;
    let start = |pacing| Contestant::start(pacing, &runtime, network, &content, folder.path());
    let contestants = [start(Pacing::Off)?, start(Pacing::Players)?];
    let scenarios =
        if arguments.scenario.is_empty() { Scenario::value_variants() } else { &arguments.scenario };
    let mut records = Vec::new();
    for congestion in &congestion_controls(arguments, &scale)? {
        network.choose_congestion_control(Some(congestion))?;
        for &scenario in scenarios {
            println!("\n== {}, {congestion}", scenario.name());
            let turn = Turn {
                network,
                content: &content,
                film,
                scenario,
                congestion,
                from: scale.segment * scale.warm_up_segments,
                to: scale.segment * (scale.warm_up_segments + scale.segments),
            };
            records.extend(compare(&turn, &contestants, rounds)?);
            // What was found so far is not lost when the run is interrupted.
            if let Some(path) = &arguments.json {
                record::write(&records, &described, &run, path)?;
            }
        }
    }
    println!("\n{}", record::table(&records));
    contestants.iter().try_for_each(|contestant| contestant.look(&runtime))?;
    contestants.into_iter().try_for_each(|contestant| contestant.stop(&runtime))
}

/// Both in turn.
fn compare(turn: &Turn<'_>, contestants: &[Contestant; 2], rounds: Rounds) -> Result<Vec<Record>, Failure> {
    let measured: Vec<Vec<[f64; METRICS]>> =
        rounds.run(contestants.len(), |contestant| turn.play(contestants[contestant].address))?;
    let [unpaced, paced] = measured.as_slice() else {
        return Err(Failure::new("there are two contestants"));
    };
    let record = |(number, name): (usize, &'static str)| {
        Record::new(
            turn.scenario.name(),
            turn.congestion,
            name,
            &metric(unpaced, number),
            &metric(paced, number),
        )
    };
    Ok(turn.scenario.metrics().into_iter().enumerate().map(record).collect())
}

/// Those that are asked for, or those of ours that the kernel has; of these, the first where everything is short.
fn congestion_controls(arguments: &Arguments, scale: &Scale) -> Result<Vec<String>, Failure> {
    if !arguments.congestion.is_empty() {
        return Ok(arguments.congestion.clone());
    }
    let available = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control")
        .step("asking the kernel for its congestion controls")?;
    let ours =
        CONGESTION_CONTROLS.into_iter().filter(|name| available.split_whitespace().any(|one| one == *name));
    let count = if scale.all_congestion_controls { CONGESTION_CONTROLS.len() } else { 1 };
    let ours: Vec<String> = ours.take(count).map(str::to_owned).collect();
    if ours.is_empty() {
        return Err(Failure::new(format!("the kernel has none of {}", CONGESTION_CONTROLS.join(", "))));
    }
    Ok(ours)
}

//! Our daemon beside nginx, Varnish and what the machine can do at all: what serving costs, how fast the long tail is, how long the tails are,
//! what is held in memory, and how soon it starts.
//!
//! `cargo run --release -p benches --bin compare`; `--scenario NAME` runs one, `--rounds N` more or fewer rounds, `--json FILE` keeps one record per
//! scenario, metric and peer, and adds to what other runs have put there; `--resume` leaves out what is there, `--table FILE` prints it as Markdown.
//! With `-- --quick` each runs once, and briefly, which is what CI does: that it runs, never how
//! fast. As root, for the page cache is dropped and memory is limited. The folder is made where `TMPDIR` says: on the disk to measure; it takes 25 GiB there.
//!
//! # Reading order
//!
//! `scenario` is the list, and a file for each; `bench` is what they share, `scale` how much is measured, `benches::rounds` in which order.
//! Contestants: `ours`, `nginx`, `varnish`, and `bare`, the limits. Load: `wrk`, which says what a `player` says where that is asked for, and
//! `load`, a generator of our own. What is measured: `core_time`, `process_facts`, `device`. What comes of it: `benches::statistics`, `record`,
//! `target`, `table`; `results`, what is kept of it with its `benches::run`, and `markdown`, how that is quoted.

mod answer_reader;
mod bare;
mod bench;
mod client;
mod core_time;
mod corpus;
mod device;
mod load;
mod markdown;
mod memory_group;
mod nginx;
mod optimum;
mod ours;
mod peer;
mod placement;
mod player;
mod process_facts;
mod progress;
mod read_ahead;
mod record;
mod results;
mod scale;
mod scenario;
mod slow_readers;
mod table;
mod target;
mod varnish;
mod wrk;
mod zipf;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use benches::core_ticks::CoreTicks;
use benches::interrupt::clean_up_when_interrupted;
use benches::rounds::Rounds;
use benches::run::Run;
use clap::{Parser, Subcommand, ValueEnum};
use demo::failure::{Failure, Step};
use demo::role::{StartedAs, play};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use bare::BareArguments;
use bench::Bench;
use peer::is_installed;
use placement::{Side, core_count, server_core, stand};
use progress::Progress;
use read_ahead::ReadAhead;
use record::Record;
use results::Entry;
use scale::{FULL, QUICK};
use scenario::{Ran, Scenario};

/// Rounds of A B B A, where no other number is asked for.
const ROUNDS: usize = 9;

/// Programs that are compared with or that make load, and the Debian packages that bring them.
const PROGRAMS: [(&str, &str); 3] = [("nginx", "nginx"), ("varnishd", "varnish"), ("wrk", "wrk")];

/// A part of the servers' core that is busy with nothing of ours, beyond which that is said.
const NOISE: f64 = 0.03;

/// Descriptors that a process has, if it may: enough for 16,000 connections beside the bundles that our daemon keeps open by default.
const DESCRIPTORS: u64 = 32_768;

#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Everything small, once.
    #[arg(long)]
    quick: bool,
    /// Only this scenario; may be given several times.
    #[arg(long, value_name = "NAME")]
    scenario: Vec<Scenario>,
    /// How many rounds; each goes forth and back.
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Where the records are kept, one JSON document a line; those of other scenarios stay.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Leave out the scenarios of which there are records already.
    #[arg(long, requires = "json")]
    resume: bool,
    /// Measure nothing: print the records of this file as a table in Markdown; of several, with the verdicts of all of them.
    #[arg(long, value_name = "FILE", num_args = 1.., exclusive = true)]
    table: Vec<PathBuf>,
    #[command(subcommand)]
    started_as: Option<Started>,
}

/// What this program starts itself as.
#[derive(Subcommand)]
enum Started {
    #[command(flatten)]
    Role(StartedAs),
    /// A limit.
    #[command(hide = true)]
    Bare(BareArguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.started_as {
        Some(Started::Role(role)) => return play(role),
        Some(Started::Bare(bare)) => return bare::run(&bare),
        None => {}
    }
    let done = if arguments.table.is_empty() {
        measure(&arguments)
    } else {
        let read =
            |path: &PathBuf| fs::metadata(path).step("reading the results").and_then(|_| results::read(path));
        let files = arguments.table.iter().map(read).collect::<Result<Vec<_>, _>>();
        files.map(|files| print!("{}", markdown::table(&files)))
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("compare: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<(), Failure> {
    raise_descriptor_limit();
    stand(Side::Load)?;
    let (scale, rounds) = if arguments.quick {
        (QUICK, Rounds { count: arguments.rounds.unwrap_or(1), spare: 0, and_back: false })
    } else {
        let count = arguments.rounds.unwrap_or(ROUNDS);
        (FULL, Rounds { count, spare: 2 * count, and_back: true })
    };
    let mut kept = arguments.json.as_deref().map_or(Ok(Vec::new()), results::read)?;
    let all = if arguments.scenario.is_empty() { Scenario::value_variants() } else { &arguments.scenario };
    let is_asked = |scenario: &Scenario| !(arguments.resume && results::has(&kept, *scenario));
    let asked: Vec<Scenario> = all.iter().copied().filter(is_asked).collect();
    introduce()?;
    let folder =
        tempfile::Builder::new().prefix("oca-compare-").tempdir().step("making a temporary folder")?;
    let read_ahead = ReadAhead::of(folder.path())?;
    let changed = read_ahead.clone();
    clean_up_when_interrupted(folder.path().to_owned(), move || {
        changed.iter().for_each(ReadAhead::restore);
    })?;
    let bench = Bench::new(folder.path().to_owned(), read_ahead, scale, rounds)?;
    bench.looked_at()?;
    let run = Run::of_now(core_count());
    println!("{}", run.described());
    let mut records: Vec<Record> = Vec::new();
    let mut failed = Vec::new();
    let mut progress = Progress::new(&asked, arguments.quick);
    for scenario in asked {
        println!("\n== {}{}", scenario.name(), progress.next());
        match scenario.run(&bench) {
            Ok(Ran::Measured(found)) => {
                let entry = |record: &Record| Entry { record: record.clone(), run: run.clone() };
                results::merge(&mut kept, scenario, found.iter().map(entry).collect());
                records.extend(found);
            }
            Ok(Ran::Missing(why)) => println!("  not run: {why}"),
            // The others have taken their time, too.
            Err(failure) => {
                println!("  failed: {failure}");
                failed.push(scenario.name());
            }
        }
        println!("  {:.1} s", progress.ended());
        // What was found so far is not lost when the run is interrupted.
        if let Some(path) = &arguments.json {
            results::write(&kept, path)?;
        }
    }
    table::print(&records);
    if failed.is_empty() { Ok(()) } else { Err(Failure::new(format!("failed: {}", failed.join(", ")))) }
}

/// Says who is missing, and what else may spoil the figures.
fn introduce() -> Result<(), Failure> {
    for (program, package) in PROGRAMS {
        if !is_installed(program) {
            let missing = format!("{program} is not installed: apt-get install {package}");
            // There, whoever is missing is a defect of the machine's making.
            if std::env::var_os("CI").is_some() {
                return Err(Failure::new(missing));
            }
            println!("{missing}");
        }
    }
    // Then the kernel receives elsewhere what a server has sent, on nobody's account.
    if device::steers_loopback() {
        println!(
            "the loopback's packets are spread over cores (rps_cpus): costs leave out what the kernel does there"
        );
    }
    if core_count() < 2 {
        println!("one core: servers and load share it, and no figure means anything");
    }
    let core = server_core();
    let ticks =
        || CoreTicks::of_core(core).ok_or_else(|| Failure::new(format!("/proc/stat has no core {core}")));
    let before = ticks()?;
    std::thread::sleep(Duration::from_secs(1));
    let part = before.busy_part_until(ticks()?);
    if part > NOISE {
        println!("core {core} is {:.0} % busy with other things: only ratios hold, if any", part * 100.0);
    }
    Ok(())
}

/// Connections of thousands of clients are this process's, and those who serve them have its limit. Where the system does not let it have more than
/// it has, it has that.
fn raise_descriptor_limit() {
    let raise = |to| setrlimit(Resource::Nofile, Rlimit { current: to, maximum: to });
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if maximum.is_none_or(|maximum| maximum >= DESCRIPTORS) || raise(Some(DESCRIPTORS)).is_err() {
        let _ = raise(maximum);
    }
}

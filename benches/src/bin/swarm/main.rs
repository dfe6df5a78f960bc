//! A swarm of players against real appliances: what viewers see of an evening, and how much of it the appliances served.
//!
//! Everything is a process of its own, as in the demo: an origin, a control plane, two appliances with daemon and agent. The night between two
//! evenings is a real one: what the viewers of the first asked the empty appliances for is reported by the agents, ranked and placed by the
//! control plane, and filled by the agents, each up to a fifth of the catalogue's bytes. In the second evening a thousand players, each
//! over a link of its own, ask the control plane where to go, adapt their bitrate, seek and leave. Then one appliance is killed.
//!
//! Reading order:
//!
//! 1. The model, pure and seeded: [`ladder`], [`catalogue`], [`session`] (who watches what), [`abr`] and [`buffer`], both in [`watching`]
//!    (what a player does next), [`rehearsal`] (evenings in thought), [`attainable`] (what one could hold at best).
//! 2. The players: [`link`], [`cmcd`] (what they say), [`connection`], [`steering`], [`player`], [`crowd`].
//! 3. The site: [`site`], [`past`], [`first_evening`].
//! 4. What comes of it: [`viewing`], [`hearing`] (what the appliances took of what players said), [`figures`], [`timeline`], [`plot`],
//!    [`outcome`].
//!
//! `cargo run --release -p benches --bin swarm`; with `-- --quick` everything is small and short, which is what CI does: that it
//! runs, never how well. `--json FILE` and `--svg FILE` write what was found.

mod abr;
mod attainable;
mod buffer;
mod catalogue;
mod cmcd;
mod connection;
mod crowd;
mod figures;
mod first_evening;
mod hearing;
mod ladder;
mod link;
mod outcome;
mod past;
mod player;
mod plot;
mod rehearsal;
mod session;
mod site;
mod steering;
mod timeline;
mod viewing;
mod watching;

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use benches::run::Run;
use catalogue::{Bundle, Catalogue, CatalogueSize};
use clap::Parser;
use crowd::{Crowd, Watched};
use demo::failure::{Failure, Step};
use demo::role::{StartedAs, play};
use figures::Figures;
use hearing::Heard;
use outcome::{Night, Outcome, Setup};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use session::Viewer;
use site::{Site, SiteOptions};
use steering::{Sender, Steering};
use viewing::Viewing;

/// What everything follows from.
const SEED: u64 = 1;

/// The appliances of the site; the first is the one that is killed.
const APPLIANCES: usize = 2;
const KILLED: usize = 0;

/// The part of the catalogue that a night brings to each, in percent.
const NIGHT_PERCENT: u64 = 20;

/// More would be more connections than an appliance of the demo takes, with those who were moved.
const PLAYERS_MAX: usize = 1_800;

/// An evening is long enough for something to happen before and after the kill, and short enough for its records to stay in memory.
const SECONDS: RangeInclusive<u64> = 6..=3_600;

#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Everything small and short.
    #[arg(long)]
    quick: bool,
    /// Players at the same time.
    #[arg(long, value_name = "N")]
    players: Option<usize>,
    /// How long the evening that is measured lasts; viewers come during its first sixth, and its last third begins with the kill.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Evenings before the first that the appliances have reported; without them, the ranking knows a single day.
    #[arg(long, value_name = "N", default_value_t = 3)]
    past_evenings: u32,
    /// Where to write what was found.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to draw the evening.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<StartedAs>,
}

/// How much is played.
#[derive(Clone, Copy, Debug)]
struct Scale {
    players: usize,
    catalogue: CatalogueSize,
    /// Sessions of each evening before the one that is measured.
    sessions: usize,
    /// The evening that is measured.
    lasts: Duration,
}

impl Scale {
    /// Viewers come one by one until then.
    fn arrivals(&self) -> Duration {
        self.lasts / 6
    }

    fn killed_at(&self) -> Duration {
        self.lasts * 2 / 3
    }
}

const FULL: Scale = Scale {
    players: 1_000,
    catalogue: CatalogueSize { titles: 100, segments_min: 10, segments_max: 20, zipf: 1.0, seed: SEED },
    sessions: 5_000,
    lasts: Duration::from_secs(180),
};

const QUICK: Scale = Scale {
    players: 30,
    catalogue: CatalogueSize { titles: 12, segments_min: 4, segments_max: 8, zipf: 1.0, seed: SEED },
    sessions: 200,
    lasts: Duration::from_secs(6),
};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(role) = arguments.role {
        return play(role);
    }
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("swarm: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all that was sent was right; how well it went is no failure.
fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let mut scale = if arguments.quick { QUICK } else { FULL };
    if let Some(players) = arguments.players {
        if !(1..=PLAYERS_MAX).contains(&players) {
            return Err(Failure::new(format!("--players takes 1 to {PLAYERS_MAX}")));
        }
        scale.players = players;
    }
    if let Some(seconds) = arguments.seconds {
        if !SECONDS.contains(&seconds) {
            return Err(Failure::new(format!("--seconds takes {} to {}", SECONDS.start(), SECONDS.end())));
        }
        scale.lasts = Duration::from_secs(seconds);
    }
    let options = SiteOptions {
        appliances: APPLIANCES,
        night_percent: NIGHT_PERCENT,
        past_evenings: arguments.past_evenings,
        sessions: scale.sessions,
        seed: SEED,
    };
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().step("the runtime")?;
    let (outcome, watched) = tokio::task::LocalSet::new().block_on(&runtime, evenings(&scale, &options))?;
    println!("\n{}", outcome.table());
    for problem in &watched.problems {
        println!("problem: {problem}");
    }
    arguments.json.as_ref().map_or(Ok(()), |path| outcome.write(path))?;
    arguments.svg.as_ref().map_or(Ok(()), |path| outcome.write_picture(path))?;
    Ok(outcome.problems == 0)
}

/// From the empty site to the end of the second evening.
async fn evenings(scale: &Scale, options: &SiteOptions) -> Result<(Outcome, Watched), Failure> {
    let program = std::env::current_exe().step("finding this program")?;
    let folder = tempfile::Builder::new().prefix("oca-swarm-").tempdir().step("making a temporary folder")?;
    let catalogue = Rc::new(Catalogue::new(&scale.catalogue));
    println!("{}", catalogue.description());
    let began = Instant::now();
    let said = |what: &str| println!("{:6.1} s  {what}", began.elapsed().as_secs_f64());
    let mut site = Site::start(&program, folder.path(), &catalogue, options).await?;
    said("the site serves, and holds nothing");
    let evening_began = control_plane::plane::now();
    let first_evening_requests = first_evening::watch(&site, &catalogue, options).await?;
    site.wait_for_reports().await?;
    said(&format!("the first evening was reported: {first_evening_requests} requests"));
    site.wait_for_manifests(evening_began).await?;
    site.fill().await?;
    site.wait_for_reports().await?;
    let (night, best) = judge_night(&catalogue, options, &site.held(&catalogue).await?);
    said(&format!(
        "the night is over: {:.1} % of the bytes are held, expected to be asked for {:.1} % of the time, where {:.1} % is attainable",
        night.part_held_together * 100.0,
        night.expected_byte_hit_ratio * 100.0,
        night.attainable_byte_hit_ratio * 100.0
    ));
    let steering = Steering::new(&site.control_plane.url(), site.names())?;
    let viewers = Viewer::all(SEED, scale.players, scale.arrivals());
    let crowd = Crowd::new(Rc::clone(&catalogue), steering, scale.lasts);
    let killed = &mut site.members[KILLED];
    let used_before = processor_time();
    let (mut watched, by_killed) = crowd
        .watch(viewers, async |crowd: Rc<Crowd>| {
            tokio::time::sleep_until((crowd.began + scale.killed_at()).into()).await;
            // What it counts goes with it.
            let heard = hearing::hear(killed, || crowd.tally(KILLED)).await?;
            killed.kill_daemon()?;
            Ok(heard)
        })
        .await?;
    let players_busy = (processor_time() - used_before).as_secs_f64() / scale.lasts.as_secs_f64();
    said(&format!(
        "the second evening is over; the players' thread was busy {:.0} % of it",
        players_busy * 100.0
    ));
    let mut heard = vec![by_killed];
    for (place, member) in site.members.iter().enumerate().filter(|(_, member)| member.has_daemon()) {
        heard.push(hearing::hear(member, || watched.tally(place)).await?);
    }
    heard.iter().flat_map(Heard::problems).for_each(|problem| watched.complain(problem));
    site.stop().await?;
    let setup = Setup {
        players: scale.players,
        appliances: options.appliances,
        lasts_seconds: scale.lasts.as_secs(),
        killed_at_seconds: scale.killed_at().as_secs(),
        catalogue_bytes: catalogue.bytes(),
        bundles: catalogue.bundles().count(),
        past_evenings: options.past_evenings,
        first_evening_requests,
        players_busy,
    };
    Ok((judge(scale, setup, night, &best, &watched, heard), watched))
}

/// What the night brought, and the bundles that were the best.
fn judge_night(
    catalogue: &Catalogue,
    options: &SiteOptions,
    held: &[HashSet<Bundle>],
) -> (Night, HashSet<Bundle>) {
    let demand = rehearsal::true_demand(catalogue, options.seed);
    let room = catalogue.bytes() * options.night_percent / 100;
    let best = attainable::best(catalogue, &demand, room);
    let together: HashSet<Bundle> = held.iter().flatten().copied().collect();
    let part = |bundles: &HashSet<Bundle>| {
        let bytes: u64 = bundles.iter().map(|bundle| catalogue.bytes_of(*bundle)).sum();
        bytes as f64 / catalogue.bytes() as f64
    };
    let night = Night {
        part_asked: options.night_percent as f64 / 100.0,
        parts_held: held.iter().map(part).collect(),
        part_held_together: part(&together),
        expected_byte_hit_ratio: attainable::share(demand.iter().copied(), &together),
        attainable_byte_hit_ratio: attainable::share(demand.iter().copied(), &best),
    };
    (night, best)
}

/// What the second evening was like.
fn judge(
    scale: &Scale,
    setup: Setup,
    night: Night,
    best: &HashSet<Bundle>,
    watched: &Watched,
    heard: Vec<Heard>,
) -> Outcome {
    let (killed_at, lasts) = (scale.killed_at(), scale.lasts);
    let evening = Figures::of(&watched.viewings, Duration::ZERO, killed_at);
    let asked = figures::segments(&watched.viewings, Duration::ZERO, killed_at);
    let attainable = attainable::share(asked.map(|one| (one.bundle, one.bytes as f64)), best);
    let was_moved = |one: &&Viewing| one.served_by_at(killed_at) == Some(Sender::Appliance(KILLED));
    let moved = Figures::of(watched.viewings.iter().filter(was_moved), killed_at, lasts);
    Outcome {
        run: Run::of_now(std::thread::available_parallelism().map_or(1, usize::from)),
        setup,
        night,
        attainable_byte_hit_ratio: attainable,
        after_kill: Figures::of(&watched.viewings, killed_at, lasts),
        compared_bodies: watched.compared,
        steered: watched.steered,
        heard,
        problems: watched.problem_count,
        targets: outcome::targets(&evening, attainable, &moved),
        timeline: timeline::timeline(&watched.viewings, lasts),
        evening,
        moved,
    }
}

/// What this process, whose only thread is the players', has used of its core.
fn processor_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec.try_into().unwrap_or_default(), used.tv_nsec.try_into().unwrap_or_default())
}

/// As many descriptors as this process may have: a player has up to three connections.
fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it may not have more, a player that gets no connection says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

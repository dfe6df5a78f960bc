//! The nightly fill, measured with real processes: an origin, a control plane, an appliance with daemon and agent.
//!
//! | figure | what is compared |
//! |---|---|
//! | throughput | a fill, against the source alone (the same objects over as many connections, thrown away), the disk alone (the same bytes, direct), and a bare loop that does the work of both and of the agent |
//! | rate cap | the most bytes that the agent takes over any one second, counted where they go into its sockets |
//! | beside it | the 99th percentile of a hot request's latency while an uncapped fill runs, against its value alone, in turn |
//!
//! `cargo run --release -p benches --bin fill`; with `-- --quick` everything is small and runs once, which is what CI does: that it
//! runs, never how fast. `--only PART` measures one part, `--json FILE` writes one record per
//! figure. The folder is made where `TMPDIR` says: on the disk to measure.

mod fill {
    pub(crate) mod bare_fill;
    pub(crate) mod catalogue;
    pub(crate) mod figures;
    pub(crate) mod limits_alone;
    pub(crate) mod placement;
    pub(crate) mod probe;
    pub(crate) mod relay;
    pub(crate) mod site;
    pub(crate) mod throughput;
}

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use control_client::units::{BitRate, ByteCount};
use demo::catalogue::Title;
use demo::failure::{Failure, Step};
use demo::role::{StartedAs, play};
use fill::catalogue::{Catalogue, CatalogueSize, HOT_OBJECT_BYTES, targets_of};
use fill::figures::{self, Figure};
use fill::placement::{Side, lower_agent, stand_process};
use fill::probe::{Latencies, Probe};
use fill::relay::Relay;
use fill::site::{Filled, Site, SiteOptions, settle};
use fill::throughput::throughput;

/// `fill.concurrency`, at its default: as many connections and pieces has what the fill is held against.
const CONCURRENCY: usize = 8;

/// No cap: the highest that can be configured.
const UNCAPPED: &str = "1000 Gbit/s";

/// The cap that is measured.
const CAP: &str = "200 Mbit/s";
const CAP_RATE: BitRate = BitRate::new(200_000_000);

/// Titles that the capped fill brings: more than a few seconds' bytes.
const CAPPED_TITLES: usize = 2;

/// Requests a second for hot objects, over so many connections: half a gigabit, which leaves daemon and disk idle most of the time.
const PROBE_RATE: u32 = 1000;
const PROBE_CONNECTIONS: u32 = 32;

#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Everything small, once.
    #[arg(long)]
    quick: bool,
    /// Only this part.
    #[arg(long, value_name = "PART")]
    only: Option<Part>,
    /// Where to write the figures, one JSON document a line.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<StartedAs>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A fill against source and disk alone.
    Throughput,
    /// The most bytes in a second of a capped fill.
    RateCap,
    /// Hot requests beside a fill.
    Beside,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Scale {
    catalogue: CatalogueSize,
    rounds: usize,
    pairs: usize,
    capped_titles: usize,
    alone: Duration,
}

const FULL: Scale = Scale {
    catalogue: CatalogueSize { titles: 16, segments: 128, segment_bytes: 2 << 20 },
    rounds: 3,
    pairs: 5,
    capped_titles: CAPPED_TITLES,
    alone: Duration::from_secs(6),
};

const QUICK: Scale = Scale {
    catalogue: CatalogueSize { titles: 4, segments: 8, segment_bytes: 2 << 20 },
    rounds: 1,
    pairs: 1,
    capped_titles: 4,
    alone: Duration::from_millis(500),
};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(role) = arguments.role {
        return play(role);
    }
    let scale = if arguments.quick { QUICK } else { FULL };
    let measured = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .step("the runtime")
        .and_then(|runtime| runtime.block_on(measure(&scale, arguments.only)));
    let written = measured.and_then(|figures| {
        figures::print(&figures);
        arguments.json.map_or(Ok(()), |path| figures::write(&figures, &path))
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("fill: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(scale: &Scale, only: Option<Part>) -> Result<Vec<Figure>, Failure> {
    let program = std::env::current_exe().step("finding this program")?;
    let folder = tempfile::Builder::new().prefix("oca-fill-").tempdir().step("making a temporary folder")?;
    let folder = folder.path();
    let bench = Bench { program: &program, folder, scale };
    let catalogue = Catalogue::start(&program, folder, scale.catalogue).await?;
    println!(
        "{} in {} bundles of {} objects of {}",
        ByteCount::new(catalogue.bytes()),
        catalogue.titles.len(),
        scale.catalogue.segments,
        ByteCount::new(scale.catalogue.segment_bytes)
    );
    let mut figures = Vec::new();
    let is_asked = |part| only.is_none_or(|only| only == part);
    if is_asked(Part::Throughput) {
        figures.extend(throughput(&bench, &catalogue).await?);
    }
    if is_asked(Part::RateCap) {
        figures.extend(bench.rate_cap(&catalogue).await?);
    }
    if is_asked(Part::Beside) {
        figures.push(bench.beside_viewers(&catalogue).await?);
    }
    catalogue.origin.stop().await?;
    Ok(figures)
}

/// What all measurements share.
struct Bench<'a> {
    program: &'a Path,
    folder: &'a Path,
    scale: &'a Scale,
}

impl Bench<'_> {
    /// A capped fill through a relay that counts.
    async fn rate_cap(&self, catalogue: &Catalogue) -> Result<Vec<Figure>, Failure> {
        let titles: Vec<&Title> = catalogue.titles.iter().take(self.scale.capped_titles).collect();
        let bytes = titles.iter().map(|title| title.bytes()).sum();
        let relay = Relay::start(catalogue.origin.address())?;
        let site = self.site(catalogue, "rate-cap", &relay.url(), &titles, CAP, Side::Everywhere).await?;
        let filling = site.begin_fill(catalogue).await?;
        site.end_fill(filling, catalogue, bytes).await?;
        site.stop().await?;
        let through = relay.through();
        let cap = CAP_RATE.bytes_per_second() as f64;
        let scenario = format!("fill at {CAP}");
        let mean = through.bytes as f64 / through.span.as_secs_f64();
        println!(
            "\ncap {CAP}: {} in {:.1} s, at most {:.3} MB in a second",
            ByteCount::new(bytes),
            through.span.as_secs_f64(),
            through.most_in_a_second as f64 / 1e6
        );
        Ok(vec![
            Figure::of_pairs(
                &scenario,
                "most_bytes_in_a_second",
                "cap",
                &[(through.most_in_a_second as f64, cap)],
            ),
            Figure::of_pairs(&scenario, "mean_bytes_per_second", "cap", &[(mean, cap)]),
        ])
    }

    /// Hot requests, without and with an uncapped fill beside them. The appliance has half of the cores.
    async fn beside_viewers(&self, catalogue: &Catalogue) -> Result<Figure, Failure> {
        stand_process(catalogue.origin.id(), Side::Outside)?;
        let titles: Vec<&Title> = catalogue.titles.iter().chain([&catalogue.hot]).collect();
        let origin = catalogue.origin.url();
        let site = self.site(catalogue, "beside", &origin, &titles, UNCAPPED, Side::Appliance).await?;
        lower_agent(site.member.agent()?.id())?;
        // What is watched comes first.
        let first = site.begin_fill(catalogue).await?;
        site.end_fill(first, catalogue, catalogue.bytes() + catalogue.hot.bytes()).await?;
        let probe = Probe {
            address: site.member.http(),
            targets: Arc::new(targets_of(&catalogue.hot)),
            object_bytes: HOT_OBJECT_BYTES,
            rate: PROBE_RATE,
            connections: PROBE_CONNECTIONS,
        };
        println!("\nhot requests, microseconds: alone p50, p99; beside a fill p50, p99");
        let mut pairs = Vec::new();
        for _ in 0..self.scale.pairs {
            site.retire_all_but(&catalogue.hot).await?;
            let alone = probe.start()?;
            tokio::time::sleep(self.scale.alone).await;
            let alone = alone.finish()?;
            settle().await;
            let (beside, filled) = beside(&site, catalogue, &probe).await?;
            println!(
                "{:>8.0} {:>8.0} {:>12.0} {:>8.0}   of {} and {} requests; the fill: {:.0} MB/s",
                alone.p50_micros,
                alone.p99_micros,
                beside.p50_micros,
                beside.p99_micros,
                alone.requests,
                beside.requests,
                catalogue.bytes() as f64 / filled.took.as_secs_f64() / 1e6
            );
            pairs.push((beside.p99_micros, alone.p99_micros));
        }
        site.stop().await?;
        Ok(Figure::of_pairs("hot requests beside a fill", "p99_micros", "the same without a fill", &pairs))
    }

    async fn site(
        &self,
        catalogue: &Catalogue,
        name: &str,
        origin: &str,
        titles: &[&Title],
        rate: &str,
        appliance_side: Side,
    ) -> Result<Site, Failure> {
        let control_plane_side =
            if appliance_side == Side::Appliance { Side::Outside } else { Side::Everywhere };
        let options = SiteOptions { name, origin, titles, rate, appliance_side, control_plane_side };
        Site::start(self.program, self.folder, catalogue, &options).await
    }
}

/// The probe is begun when the fill has, and ended when that ends.
async fn beside(site: &Site, catalogue: &Catalogue, probe: &Probe) -> Result<(Latencies, Filled), Failure> {
    let filling = site.begin_fill(catalogue).await?;
    let probing = probe.start()?;
    let filled = site.end_fill(filling, catalogue, catalogue.bytes()).await?;
    Ok((probing.finish()?, filled))
}

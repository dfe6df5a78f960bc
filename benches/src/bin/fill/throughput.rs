//! How fast a fill is, and what it could be: source, disk, a bare loop and the fill in turn, on all cores.

use std::time::Duration;

use control_client::units::ByteCount;
use demo::catalogue::Title;
use demo::failure::Failure;

use super::bare_fill::BareFill;
use super::catalogue::{Catalogue, targets_of};
use super::figures::Figure;
use super::limits_alone;
use super::placement::{Side, processor_seconds};
use super::site::settle;
use crate::{Bench, CONCURRENCY, UNCAPPED};

/// Measures it, round by round.
pub(crate) async fn throughput(bench: &Bench<'_>, catalogue: &Catalogue) -> Result<Vec<Figure>, Failure> {
    let titles: Vec<&Title> = catalogue.titles.iter().collect();
    let origin = catalogue.origin.url();
    let site = bench.site(catalogue, "throughput", &origin, &titles, UNCAPPED, Side::Everywhere).await?;
    let bytes = catalogue.bytes();
    let bundles: Vec<Vec<String>> = titles.iter().map(|title| targets_of(title)).collect();
    let bare = BareFill {
        address: catalogue.origin.address(),
        bundles: &bundles,
        object_bytes: bench.scale.catalogue.segment_bytes,
        connections: CONCURRENCY,
    };
    let per_second = |took: Duration| bytes as f64 / took.as_secs_f64();
    let mut rounds = Vec::new();
    println!("\nMB/s    source alone   disk alone: written   and read back   bare loop   fill");
    for _ in 0..bench.scale.rounds {
        let source =
            limits_alone::source(catalogue.origin.address(), &catalogue.targets(), bytes, CONCURRENCY)?;
        let (files, file_bytes) = (catalogue.titles.len(), title_bytes(catalogue));
        let disk = limits_alone::disk(&bench.folder.join("disk"), files, file_bytes, CONCURRENCY)?;
        settle().await;
        let before = processor_seconds(std::process::id());
        let looped = bare.run(&bench.folder.join("bare"))?;
        let bare_seconds = processor_seconds(std::process::id()) - before;
        settle().await;
        let filling = site.begin_fill(catalogue).await?;
        let filled = site.end_fill(filling, catalogue, bytes).await?;
        site.retire_all_but(&catalogue.hot).await?;
        let round = Round {
            source: per_second(source),
            written: per_second(disk.write),
            read_back: per_second(disk.write + disk.read),
            bare: per_second(looped),
            ours: per_second(filled.took),
            bare_seconds: bare_seconds * 1e9 / bytes as f64,
            our_seconds: filled.agent_seconds * 1e9 / bytes as f64,
        };
        println!(
            "{:>20.0} {:>21.0} {:>15.0} {:>11.0} {:>6.0}   processor seconds per GB: agent {:.2}, bare loop {:.2}, origin {:.2}",
            round.source / 1e6,
            round.written / 1e6,
            round.read_back / 1e6,
            round.bare / 1e6,
            round.ours / 1e6,
            round.our_seconds,
            round.bare_seconds,
            filled.origin_seconds * 1e9 / bytes as f64,
        );
        rounds.push(round);
    }
    site.stop().await?;
    Ok(figures(&format!("fill of {}", ByteCount::new(bytes)), &rounds))
}

/// Bytes per second, and processor seconds per gigabyte.
struct Round {
    source: f64,
    written: f64,
    read_back: f64,
    bare: f64,
    ours: f64,
    bare_seconds: f64,
    our_seconds: f64,
}

fn figures(scenario: &str, rounds: &[Round]) -> Vec<Figure> {
    let of = |metric, peer, pair: fn(&Round) -> (f64, f64)| {
        let pairs: Vec<(f64, f64)> = rounds.iter().map(pair).collect();
        Figure::of_pairs(scenario, metric, peer, &pairs)
    };
    let rate = |peer, pair| of("bytes_per_second", peer, pair);
    vec![
        rate("source alone", |round| (round.ours, round.source)),
        rate("disk alone, written", |round| (round.ours, round.written)),
        rate("disk alone, written and read back", |round| (round.ours, round.read_back)),
        rate("the slower of source and disk, written", |round| (round.ours, round.source.min(round.written))),
        rate("a bare loop that does the same", |round| (round.ours, round.bare)),
        of("processor_seconds_per_gigabyte", "a bare loop that does the same", |round| {
            (round.our_seconds, round.bare_seconds)
        }),
    ]
}

fn title_bytes(catalogue: &Catalogue) -> u64 {
    catalogue.size.segments * catalogue.size.segment_bytes
}

//! What it costs a worker to look whether a block is in memory, and to tell the tier that it was asked for.

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_store::{OpenBundle, Store};
use oca_daemon::health::MemoryWatch;
use oca_daemon::stats::WorkerStats;
use oca_daemon::tier::{Budget, Residency, Sample, SampleSender, Tier};

use crate::timing::Timing;

/// Blocks that are brought into memory, each of a bundle of its own: within what everybody may lock.
const BLOCKS: u32 = 8;

/// What the tier may have.
const BUDGET: Budget = Budget { bytes: 64 << 20, blocks_max: 32, files_max: 32, prefetches: true, cut: None };

/// How long the tier may take for them, and how often it is told.
const PATIENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(20);

pub(crate) fn measure(store: &Arc<Store>, timing: Timing) -> Result<(), Box<dyn Error>> {
    let stats = [Arc::new(WorkerStats::new(1))];
    let (tier, mut senders) = Tier::start(store, 1, &stats, BUDGET, MemoryWatch::new())?;
    let (residency, sender) =
        tier.residency().zip(senders.first_mut()).ok_or("there is no tier to look into")?;
    let bundles: Vec<Arc<OpenBundle>> = (0..BLOCKS)
        .map(|number| {
            let bundle =
                store.lookup(&format!("/bench/{number:06}")).ok_or("a bundle is not in the index")?;
            crate::open(store, &bundle)
        })
        .collect::<Result<_, _>>()?;
    bring_into_memory(&bundles, &residency, sender)?;

    let mut dropped = 0_u64;
    let what = format!("look up one of {BLOCKS} blocks in memory, and push a sample");
    timing.measure_with_pauses(&what, |number| {
        let bundle = bundles[number as usize % bundles.len()].bundle();
        let sample = Sample::new(bundle, black_box(0), true);
        let is_resident = black_box(residency.has(sample.key));
        dropped += u64::from(!is_resident || !sender.push(sample));
    });
    println!("samples dropped {dropped}");
    tier.stop();
    Ok(())
}

/// Tells the tier of viewers until it has all of them.
fn bring_into_memory(
    bundles: &[Arc<OpenBundle>],
    residency: &Residency,
    sender: &mut SampleSender,
) -> Result<(), Box<dyn Error>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let samples = bundles.iter().map(|bundle| Sample::new(bundle.bundle(), 0, false));
        let absent: Vec<Sample> = samples.filter(|sample| !residency.has(sample.key)).collect();
        if absent.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("the tier has not taken {} blocks into memory", absent.len()).into());
        }
        for sample in absent {
            sender.push(sample);
        }
        std::thread::sleep(AGAIN);
    }
}

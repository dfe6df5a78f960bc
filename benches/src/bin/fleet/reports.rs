//! Reports through the control plane's own HTTP API into SQLite: as fast as sixteen connections send them,
//! and at the pace of 10,000 appliances that report every minute.
//!
//! The clients share the machine with the server; the server's processor time is told apart, because it runs
//! on threads of its own.

mod client;
mod setup;

use std::error::Error;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::Scale;
use crate::memory::{processor_seconds, resident_bytes, this_thread_processor_seconds};
use crate::table::{Table, per_mille};
use client::{Client, Connection, Inventory};
use setup::Server;

/// Connections that reports come on at once.
const CONNECTIONS: usize = 16;

/// Reports per second of 10,000 appliances that report every minute.
const PACE: f64 = 10_000.0 / 60.0;

/// Bundles that each appliance holds here. The tables have a row for each, and ten million rows for 1,000
/// each would be most of the time.
const HELD: u32 = 100;

/// Bundles of the largest inventory: those of 20 TB.
const LARGEST: u32 = 40_000;

/// Enrolments that are timed.
const ENROLMENTS: usize = 20;

/// One report of so many tells that a bundle came and another went.
const CHANGES_EVERY: u64 = 10;

pub(crate) fn measure(scale: &Scale) -> Result<Table, Box<dyn Error>> {
    let before = resident_bytes()?;
    let folder = tempfile::tempdir()?;
    let bundles = scale.bundles.min(LARGEST);
    let server = Server::start(scale, bundles, folder.path())?;
    let clients = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let figures = tokio::task::LocalSet::new().block_on(&clients, run(&server, scale, bundles))?;
    let mut table = Table::new(format!(
        "Reports of {} appliances over HTTP into SQLite, {} bundles in the catalogue, {HELD} held by each",
        server.clients.len(),
        bundles
    ));
    let [first, fastest, paced] = &figures.phases;
    table.add(
        "first_per_minute",
        "first reports, each with a whole inventory",
        first.per_minute,
        "per minute",
    );
    let promised = "per minute (promised: 10,000)";
    table.add("reports_per_minute", "reports as fast as they come", fastest.per_minute, promised);
    table.add("report_p50_millis", "such a report, median", fastest.p50 / 1000.0, "ms");
    table.add("report_p99_millis", "such a report, 99 of 100", fastest.p99 / 1000.0, "ms");
    table.add(
        "report_processor_micros",
        "the server's processor time for one",
        fastest.processor_micros,
        "µs",
    );
    table.add("paced_per_minute", "reports at the pace of 10,000 a minute", paced.per_minute, "per minute");
    table.add("paced_p50_millis", "such a report, median", paced.p50 / 1000.0, "ms");
    table.add("paced_p99_millis", "such a report, 99 of 100", paced.p99 / 1000.0, "ms");
    table.add(
        "paced_processor_percent",
        "the server's processor time at that pace",
        paced.processor_share * 100.0,
        "% of a core",
    );
    table.add(
        "largest_millis",
        format!("one report with an inventory of {bundles} bundles"),
        figures.largest.as_secs_f64() * 1e3,
        "ms",
    );
    table.add("enrolment_millis", "an enrolment, on average", figures.enrolment.as_secs_f64() * 1e3, "ms");
    let database: u64 = std::fs::read_dir(folder.path())?
        .map(|file| file.and_then(|file| file.metadata()).map(|metadata| metadata.len()))
        .sum::<Result<u64, _>>()?;
    table.add("database_megabytes", "the database's files", database as f64 / 1e6, "MB");
    let resident = resident_bytes()?.saturating_sub(before);
    table.add("resident_megabytes", "memory, clients and all (resident, grown)", resident as f64 / 1e6, "MB");
    server.stop();
    Ok(table)
}

struct Figures {
    phases: [Phase; 3],
    enrolment: Duration,
    largest: Duration,
}

struct Phase {
    per_minute: f64,
    p50: f64,
    p99: f64,
    processor_micros: f64,
    processor_share: f64,
}

async fn run(server: &Server, scale: &Scale, bundles: u32) -> Result<Figures, Box<dyn Error>> {
    let clients: Rc<Vec<Client>> = Rc::new(server.clients.clone());
    let all = clients.len() as u64;
    let first = phase(server, &clients, bundles, Sending::All).await?;
    let fastest = phase(server, &clients, bundles, Sending::AsFastAsPossible(scale.duration)).await?;
    let reports = (scale.duration.as_secs_f64() * PACE) as u64;
    let paced = phase(server, &clients, bundles, Sending::Paced { reports: reports.min(all) }).await?;
    let mut connection = Connection::open(server.address).await?;
    let began = Instant::now();
    for client in clients.iter().take(ENROLMENTS) {
        client.enrol(&mut connection).await?;
    }
    let enrolment = began.elapsed() / ENROLMENTS.min(clients.len()) as u32;
    let began = Instant::now();
    clients[0].report(&mut connection, bundles, Inventory::All(bundles)).await?;
    Ok(Figures { phases: [first, fastest, paced], enrolment, largest: began.elapsed() })
}

/// How reports are sent.
#[derive(Clone, Copy)]
enum Sending {
    /// Each appliance once, with its whole inventory, as fast as possible.
    All,
    AsFastAsPossible(Duration),
    /// Each at its time, which does not wait for those before it.
    Paced {
        reports: u64,
    },
}

async fn phase(
    server: &Server,
    clients: &Rc<Vec<Client>>,
    bundles: u32,
    sending: Sending,
) -> Result<Phase, Box<dyn Error>> {
    let processor_before = processor_seconds()? - this_thread_processor_seconds()?;
    let began = Instant::now();
    let mut tasks = Vec::new();
    for lane in 0..CONNECTIONS {
        let clients = Rc::clone(clients);
        let connection = Connection::open(server.address).await?;
        tasks.push(tokio::task::spawn_local(async move {
            send(&clients, connection, bundles, sending, lane, began).await.map_err(|error| error.to_string())
        }));
    }
    let mut nanoseconds = Vec::new();
    for task in tasks {
        nanoseconds.append(&mut task.await??);
    }
    let seconds = began.elapsed().as_secs_f64();
    let processor = processor_seconds()? - this_thread_processor_seconds()? - processor_before;
    nanoseconds.sort_unstable();
    let reports = nanoseconds.len().max(1) as f64;
    Ok(Phase {
        per_minute: reports / seconds * 60.0,
        p50: per_mille(&nanoseconds, 500),
        p99: per_mille(&nanoseconds, 990),
        processor_micros: processor * 1e6 / reports,
        processor_share: processor / seconds,
    })
}

/// The reports of every sixteenth appliance, one after another; how long each took, in nanoseconds.
async fn send(
    clients: &[Client],
    mut connection: Connection,
    bundles: u32,
    sending: Sending,
    lane: usize,
    began: Instant,
) -> Result<Vec<u64>, Box<dyn Error>> {
    let mut nanoseconds = Vec::new();
    let mut number = lane as u64;
    loop {
        let is_over = match sending {
            Sending::All => number >= clients.len() as u64,
            Sending::AsFastAsPossible(duration) => began.elapsed() >= duration,
            Sending::Paced { reports } => number >= reports,
        };
        if is_over {
            return Ok(nanoseconds);
        }
        let mut first = Instant::now();
        if let Sending::Paced { .. } = sending {
            // Counted from when it was due: a report that waits for the one before it has waited.
            first = began + Duration::from_secs_f64(number as f64 / PACE);
            tokio::time::sleep_until(first.into()).await;
        }
        let inventory = match sending {
            Sending::All => Inventory::All(HELD),
            _ if number.is_multiple_of(CHANGES_EVERY) => Inventory::Change,
            _ => Inventory::Same,
        };
        let client = &clients[(number % clients.len() as u64) as usize];
        client.report(&mut connection, bundles, inventory).await?;
        nanoseconds.push(first.elapsed().as_nanos() as u64);
        number += CONNECTIONS as u64;
    }
}

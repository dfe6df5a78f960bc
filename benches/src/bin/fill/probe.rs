//! Viewers, as far as latency goes: requests at a fixed rate, whether or not the ones before are answered. A latency counts from the
//! moment when the request should have been sent, so that an answer that holds up the next request is not forgotten (Tene, "How NOT to
//! measure latency", 2013).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use benches::client::Client;
use benches::statistics::quantile;
use demo::failure::{Failure, Step};

use super::placement;

/// What is asked for, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    /// The daemon.
    pub(crate) address: SocketAddr,
    /// Each in turn.
    pub(crate) targets: Arc<Vec<String>>,
    /// What each is long.
    pub(crate) object_bytes: u64,
    /// Requests a second, over all connections.
    pub(crate) rate: u32,
    /// Connections, each with a thread; so many requests may be late at once before others wait for them.
    pub(crate) connections: u32,
}

/// Requests that are being made.
pub(crate) struct Probing {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<io::Result<Vec<f64>>>>,
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latencies {
    /// Requests.
    pub(crate) requests: usize,
    /// Half of them took at most so many microseconds.
    pub(crate) p50_micros: f64,
    /// Of a hundred, 99 took at most so many.
    pub(crate) p99_micros: f64,
}

impl Probe {
    /// Connects, and begins.
    pub(crate) fn start(&self) -> Result<Probing, Failure> {
        let is_over = Arc::new(AtomicBool::new(false));
        let clients: Vec<Client> = (0..self.connections)
            .map(|_| Client::connect(self.address))
            .collect::<io::Result<_>>()
            .step("connecting to the daemon")?;
        let first = Instant::now() + Duration::from_millis(20);
        let threads = (0..).zip(clients).map(|(number, client)| {
            let (probe, is_over) = (self.clone(), Arc::clone(&is_over));
            thread::spawn(move || probe.ask(client, number, first, &is_over))
        });
        let threads = threads.collect();
        Ok(Probing { is_over, threads })
    }

    /// What one connection does.
    fn ask(
        &self,
        mut client: Client,
        number: u32,
        first: Instant,
        is_over: &AtomicBool,
    ) -> io::Result<Vec<f64>> {
        placement::be_the_outside(true);
        let mut latencies = Vec::new();
        for request in (u64::from(number)..).step_by(self.connections as usize) {
            let intended = first + Duration::from_secs_f64(request as f64 / f64::from(self.rate));
            thread::sleep(intended.saturating_duration_since(Instant::now()));
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let length = client.get(&self.targets[request as usize % self.targets.len()])?;
            if length != self.object_bytes {
                return Err(io::Error::other(format!(
                    "an object has {length} bytes, not {}",
                    self.object_bytes
                )));
            }
            latencies.push(intended.elapsed().as_secs_f64() * 1e6);
        }
        Ok(latencies)
    }
}

impl Probing {
    /// Ends it.
    pub(crate) fn finish(self) -> Result<Latencies, Failure> {
        self.is_over.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for thread in self.threads {
            let latencies = thread.join().map_err(|_| Failure::new("a thread of the probe panicked"))?;
            all.extend(latencies.step("asking for a hot object")?);
        }
        if all.is_empty() {
            return Err(Failure::new("it was over before one request was made"));
        }
        Ok(Latencies {
            requests: all.len(),
            p50_micros: quantile(&all, 0.5),
            p99_micros: quantile(&all, 0.99),
        })
    }
}

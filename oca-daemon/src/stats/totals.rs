//! The sum over all workers, taken at scrape.

use super::{
    AcceptPause, CloseCause, Counter, HistogramTotal, ReadEnd, RecordLayer, TlsVersion, Transport,
    WorkerStats,
};
use crate::media::PlayerTotals;
use crate::outcome::Outcome;
use std::sync::atomic::Ordering::Relaxed;

/// What all workers counted, summed. Arrays are indexed by the enum's number.
pub struct Totals {
    /// Connections accepted, by transport.
    pub accepted: [u64; Transport::COUNT],
    /// Connections that ended, by cause.
    pub closed: [u64; CloseCause::COUNT],
    /// Connections open now, by transport.
    pub open: [u64; Transport::COUNT],
    /// Handshakes completed, by version.
    pub handshakes: [u64; TlsVersion::COUNT],
    /// Handshakes that resumed a session.
    pub handshakes_resumed: u64,
    /// TLS connections with a request, by who seals what is sent.
    pub record_layers: [u64; RecordLayer::COUNT],
    /// Bytes of responses over TLS that the kernel took, by who seals.
    pub record_layer_bytes: [u64; RecordLayer::COUNT],
    /// Times that accepting was paused, by cause.
    pub accept_pauses: [u64; AcceptPause::COUNT],
    /// Requests that began and have not ended.
    pub requests_in_flight: u64,
    /// Requests that ended, by outcome.
    pub outcomes: [u64; Outcome::COUNT],
    /// Bytes of bodies sent, by the outcome of their requests.
    pub body_bytes: [u64; Outcome::COUNT],
    /// Bytes taken by the kernel for clients.
    pub egress_bytes: u64,
    /// Time to the first byte of responses.
    pub first_byte: HistogramTotal,
    /// Time to the end of requests.
    pub duration: HistogramTotal,
    /// Requests that ended and were not counted as demand.
    pub demand_uncounted: u64,
    /// Samples that the RAM tier did not get.
    pub samples_dropped: u64,
    /// What players say.
    pub players: PlayerTotals,
    /// Requests that wait for a bundle to be opened.
    pub openings_in_flight: u64,
    /// Size of all pools of read buffers.
    pub buffers_total_bytes: u64,
    /// What is taken of them now.
    pub buffers_in_use_bytes: u64,
    /// Times that a response waited for a read buffer.
    pub buffer_waits: u64,
    /// Memory for what is sealed and waits for room in sockets.
    pub sealed_bytes: u64,
    /// Reads, by volume.
    pub volumes: Vec<VolumeTotals>,
}

/// The reads of one volume.
#[derive(Default)]
pub struct VolumeTotals {
    /// Reads that the kernel has now.
    pub in_flight: u64,
    /// Reads that ended, by how.
    pub ended: [u64; ReadEnd::COUNT],
    /// Bytes read and found right.
    pub bytes: u64,
    /// Responses that gave up waiting for a read.
    pub timeouts: u64,
    /// How long reads took.
    pub duration: HistogramTotal,
}

impl Totals {
    /// Sums the counters of `workers`, as they are now.
    pub fn of<'a>(workers: impl IntoIterator<Item = &'a WorkerStats>) -> Totals {
        let mut totals = Totals::zero();
        for worker in workers {
            totals.add(worker);
        }
        totals
    }

    /// Connections open now, over every transport.
    pub fn open_connections(&self) -> u64 {
        self.open.iter().sum()
    }

    fn zero() -> Totals {
        Totals {
            accepted: [0; _],
            closed: [0; _],
            open: [0; _],
            handshakes: [0; _],
            handshakes_resumed: 0,
            record_layers: [0; _],
            record_layer_bytes: [0; _],
            accept_pauses: [0; _],
            requests_in_flight: 0,
            outcomes: [0; _],
            body_bytes: [0; _],
            egress_bytes: 0,
            first_byte: HistogramTotal::default(),
            duration: HistogramTotal::default(),
            demand_uncounted: 0,
            samples_dropped: 0,
            players: PlayerTotals::default(),
            openings_in_flight: 0,
            buffers_total_bytes: 0,
            buffers_in_use_bytes: 0,
            buffer_waits: 0,
            sealed_bytes: 0,
            volumes: Vec::new(),
        }
    }

    fn add(&mut self, worker: &WorkerStats) {
        add_each(&mut self.accepted, &worker.accepted);
        add_each(&mut self.closed, &worker.closed);
        add_each(&mut self.open, &worker.open);
        add_each(&mut self.handshakes, &worker.handshakes);
        self.handshakes_resumed += worker.handshakes_resumed.value();
        add_each(&mut self.record_layers, &worker.record_layers);
        add_each(&mut self.record_layer_bytes, &worker.record_layer_bytes);
        add_each(&mut self.accept_pauses, &worker.accept_pauses);
        self.requests_in_flight += worker.requests_in_flight.value();
        add_each(&mut self.outcomes, &worker.outcomes);
        add_each(&mut self.body_bytes, &worker.body_bytes);
        self.egress_bytes += worker.egress_bytes.value();
        self.first_byte.add(&worker.first_byte);
        self.duration.add(&worker.duration);
        self.samples_dropped += worker.samples_dropped.value();
        self.demand_uncounted += worker.demand_uncounted.value();
        self.players.add(&worker.players);
        self.openings_in_flight += worker.openings_in_flight.value();
        self.buffers_total_bytes += worker.buffers_total_bytes.load(Relaxed);
        self.buffers_in_use_bytes += worker.buffers_in_use_bytes.load(Relaxed);
        self.sealed_bytes += worker.sealed_bytes.bytes();
        self.buffer_waits += worker.buffer_waits.value();
        let volume_count = self.volumes.len().max(worker.volumes.len());
        self.volumes.resize_with(volume_count, VolumeTotals::default);
        for (total, volume) in self.volumes.iter_mut().zip(&*worker.volumes) {
            total.in_flight += volume.in_flight.value();
            add_each(&mut total.ended, &volume.ended);
            total.bytes += volume.bytes.value();
            total.timeouts += volume.timeouts.value();
            total.duration.add(&volume.duration);
        }
    }
}

pub(crate) fn add_each(totals: &mut [u64], counters: &[Counter]) {
    for (total, counter) in totals.iter_mut().zip(counters) {
        *total += counter.value();
    }
}

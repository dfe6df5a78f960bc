//! Reads that come back, and those who wait for buffers to read into.

use cache_store::QuarantineReason;

use super::Worker;
use crate::connection::Connection;
use crate::disk_reads::{FinishedRead, ReadError};
use crate::limits::{SURRENDER_AFTER, TIMER_TICK};
use crate::read_queue::Place;
use crate::stats::ReadEnd;
use crate::token::ConnectionId;

impl Worker {
    pub(super) fn on_read(&mut self, slot: u32, result: i32) {
        let Some(read) = self.reactor.reads.finish(slot, result, &mut self.reactor.ring) else { return };
        self.count_read(&read);
        if let Err(error) = &read.outcome {
            let bundle = read.bundle.bundle();
            tracing::warn!(path = bundle.key().path.as_str(), %error, "a read brought no bytes that may be served");
            match error {
                ReadError::Failed(error) => self.service.store.report_read_error(bundle, error),
                ReadError::Truncated => {
                    self.service.store.report_corrupt(bundle, QuarantineReason::Truncated)
                }
                ReadError::Corrupt(_) => self.service.store.report_corrupt(bundle, QuarantineReason::Data),
            }
        }
        for (reader, piece) in read.readers {
            let reads = &mut self.reactor.reads;
            let shared = read.outcome.as_ref().map(|buffers| reads.share(piece, read.first_chunk, buffers));
            let mut shared = Some(shared);
            self.with_connection(reader, |connection, reactor, service| {
                if let Some(shared) = shared.take() {
                    connection.on_read(piece, shared, reactor, service);
                }
            });
            // It has gone.
            if let Some(Ok(unwanted)) = shared {
                self.reactor.reads.take_back(unwanted);
            }
        }
        if let Ok(buffers) = read.outcome {
            self.reactor.reads.take_back(buffers);
        }
    }

    fn count_read(&self, read: &FinishedRead) {
        let (end, bytes) = match &read.outcome {
            Ok(_) => (ReadEnd::Complete, read.length_bytes),
            Err(ReadError::Failed(_)) => (ReadEnd::Failed, 0),
            Err(ReadError::Truncated) => (ReadEnd::Truncated, 0),
            Err(ReadError::Corrupt(_)) => (ReadEnd::Corrupt, 0),
        };
        let duration = self.reactor.now.saturating_duration_since(read.began);
        self.service.stats.read_ended(read.bundle.bundle().volume().0, end, bytes, duration);
    }

    /// Gives free buffers to those who wait for them, one in each volume's line at a time.
    pub(super) fn serve_lines(&mut self) {
        self.reclaim_buffers();
        loop {
            let mut has_called = false;
            for volume in self.reactor.reads.volumes() {
                if let Some(id) = self.reactor.reads.call(volume) {
                    has_called = true;
                    self.with_connection(id, |connection, reactor, service| {
                        connection.on_turn(volume, reactor, service)
                    });
                }
            }
            if !has_called {
                break;
            }
        }
        let connections = &self.connections;
        let find =
            |id: ConnectionId| connections.get(id.slot as usize).filter(|connection| connection.id() == id);
        let place_of = |id| find(id).map_or(Place::None, Connection::place);
        self.reactor.reads.tidy(connections.len(), place_of);
        self.reactor
            .reads
            .tidy_readers(|id, piece| find(id).is_some_and(|connection| connection.awaits(piece)));
    }

    /// Where others wait, takes buffers from clients that have taken nothing for a while; at most once a tick. Those who wait for
    /// their next request, however many, are not looked at.
    fn reclaim_buffers(&mut self) {
        if self.reactor.now < self.surrendered_at + TIMER_TICK {
            return;
        }
        self.surrendered_at = self.reactor.now;
        for id in self.reactor.reads.look_through_readers() {
            self.with_connection(id, |connection, reactor, _| {
                connection.surrender_buffers(SURRENDER_AFTER, reactor)
            });
        }
    }
}

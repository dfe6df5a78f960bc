//! A block that is on its way into memory is waited for, so that it is read once, however many want it. The wait is short: whoever
//! has waited long enough, or learns that the block does not come, reads for himself.

use control_client::units::ByteRange;

use super::{Connection, Exchange};
use crate::block_waiters::Wait;
use crate::reactor::Reactor;
use crate::service::Service;
use crate::tier::{BlockKey, Sample};
use crate::token::ConnectionId;

/// Which block an exchange waits for.
#[derive(Clone, Copy, Debug, Default)]
pub struct AwaitedBlock {
    key: Option<BlockKey>,
    /// The tier has answered for this one: it is not asked again.
    settled: Option<BlockKey>,
    /// It has waited in vain, and does not wait any more.
    is_impatient: bool,
}

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// In memory.
    Resident,
    /// On its way there, or about to be: a message will come.
    Awaited,
    /// On the disk only.
    Absent,
}

impl Exchange {
    /// Where the block is of which `range` is wanted next. Tells the tier that it was asked for, once in a row.
    pub(super) fn look_at_block(
        &mut self,
        id: ConnectionId,
        range: ByteRange,
        reactor: &mut Reactor,
        service: &Service,
    ) -> Whereabouts {
        let (Some(residency), Some(open)) = (&service.residency, &self.bundle) else {
            return Whereabouts::Absent;
        };
        let bundle = open.bundle();
        let key = BlockKey::at(bundle, range.start);
        let is_resident = residency.has(key);
        if !is_resident && self.awaited.key == Some(key) {
            return Whereabouts::Awaited;
        }
        self.awaited.key = None;
        let may_wait = !is_resident
            && self.is_viewer
            && !self.awaited.is_impatient
            && !residency.is_stalled(bundle.volume());
        let may_ask = may_wait && self.awaited.settled != Some(key) && residency.is_open(bundle.volume());
        let wait = if may_ask || (may_wait && residency.is_loading(key)) {
            reactor.block_waiters.wait(key, id)
        } else {
            Wait::Refused
        };
        if wait == Wait::First {
            self.sampled = Some(key);
            let sample = Sample::new(bundle, range.start, false);
            if !reactor.samples.ask(sample, range.len(), service.mailbox.clone()) {
                reactor.block_waiters.take(key);
                return Whereabouts::Absent;
            }
        } else if self.is_viewer && self.sampled != Some(key) {
            self.sampled = Some(key);
            if !reactor.samples.push(Sample::new(bundle, range.start, is_resident)) {
                service.stats.sample_dropped();
            }
        }
        if wait != Wait::Refused {
            self.awaited.key = Some(key);
            return Whereabouts::Awaited;
        }
        if is_resident { Whereabouts::Resident } else { Whereabouts::Absent }
    }

    /// Whether the next block is waited for.
    pub(super) fn awaits_block(&self) -> bool {
        self.awaited.key.is_some()
    }

    /// Waits for no block any more, where it waits for one.
    pub(super) fn lose_patience(&mut self) -> bool {
        let has_waited = self.awaited.key.take().is_some();
        self.awaited.is_impatient |= has_waited;
        has_waited
    }
}

impl Connection {
    /// The tier has answered: the block is in memory, or it is to be read.
    pub fn on_block_settled(&mut self, key: BlockKey, reactor: &mut Reactor, service: &Service) {
        let Some(exchange) = &mut self.exchange else { return };
        if exchange.awaited.key != Some(key) {
            return;
        }
        exchange.awaited.key = None;
        exchange.awaited.settled = Some(key);
        if self.blocked_since.is_none() {
            self.advance(reactor, service);
        }
    }
}

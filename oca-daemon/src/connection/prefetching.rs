//! What a player says it will ask for next (CMCD `nor`, `nrr`) is looked up, and the RAM tier told of the blocks that are not in memory.
//! A hint costs its request a look-up and no more; the tier does with it what it likes.

use std::sync::Arc;
use std::time::Instant;

use cache_store::OpenBundle;
use control_client::units::ByteRange;

use super::Connection;
use crate::limits::{PREFETCH_BLOCKS_MAX, PREFETCH_INTERVAL, PREFETCH_PLACE_BYTES_MAX};
use crate::media::cmcd::{self, Next};
use crate::media::{HintFate, Unresolved, resolve};
use crate::reactor::Reactor;
use crate::request::Request;
use crate::service::Service;
use crate::tier::{BLOCK_BYTES, BlockKey, Hint, Residency, SampleSender};

impl Connection {
    /// An object, which lies at `object` in `bundle`, is about to be sent: hands over what its player names as the next.
    pub(super) fn prefetch_next(
        &mut self,
        request: &Request<'_>,
        bundle: &Arc<OpenBundle>,
        object: ByteRange,
        reactor: &mut Reactor,
        service: &Service,
    ) {
        let Some(exchange) = &self.exchange else { return };
        let names_next = exchange.record.cmcd.as_ref().is_some_and(|cmcd| cmcd.names_next);
        let (true, true, Some(residency)) = (names_next, exchange.is_viewer, &service.residency) else {
            return;
        };
        if !service.players.prefetches {
            return;
        }
        let is_limited = self.hinted_at.is_some_and(|at| reactor.now < at + PREFETCH_INTERVAL);
        if is_limited {
            return service.stats.players.hinted(HintFate::Limited);
        }
        self.hinted_at = Some(reactor.now);
        cmcd::next_objects(request.target, &request.fields.cmcd, |next| {
            let found = next.ok_or(HintFate::Malformed).and_then(|next| find(&next, bundle, object, service));
            let fate = match found {
                Ok((bundle, range)) => {
                    hand_over(&bundle, range, residency, reactor.now, &mut reactor.samples)
                }
                Err(fate) => fate,
            };
            service.stats.players.hinted(fate);
        });
    }
}

/// The bundle that holds what is named, and where in its file the part that is wanted lies.
fn find(
    next: &Next<'_>,
    bundle: &Arc<OpenBundle>,
    object: ByteRange,
    service: &Service,
) -> Result<(Arc<OpenBundle>, ByteRange), HintFate> {
    let (bundle, object) = if next.reference.is_empty() {
        (Arc::clone(bundle), object)
    } else {
        let directory = bundle.bundle().key().path.as_str();
        let mut buffer = [0; PREFETCH_PLACE_BYTES_MAX];
        let place = resolve(directory, next, &mut buffer).map_err(|unresolved| match unresolved {
            Unresolved::Malformed => HintFate::Malformed,
            Unresolved::Elsewhere => HintFate::Elsewhere,
        })?;
        let bundle = if place.directory == directory {
            Arc::clone(bundle)
        } else {
            let found = service.store.lookup(place.directory).ok_or(HintFate::Absent)?;
            found.opened().ok_or(HintFate::Closed)?
        };
        let object = bundle.object(place.object).ok_or(HintFate::Absent)?.range;
        (bundle, object)
    };
    let Some(range) = next.range else { return Ok((bundle, object)) };
    let part = range.within(object.len()).ok_or(HintFate::Malformed)?;
    Ok((bundle, ByteRange { start: object.start + part.start, end: object.start + part.end }))
}

/// Tells the tier of the first blocks of `range` that are not in memory.
fn hand_over(
    bundle: &OpenBundle,
    range: ByteRange,
    residency: &Residency,
    now: Instant,
    samples: &mut SampleSender,
) -> HintFate {
    let mut fate = HintFate::Resident;
    let blocks = range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES);
    for block in blocks.take(PREFETCH_BLOCKS_MAX) {
        let key = BlockKey::at(bundle.bundle(), block * BLOCK_BYTES);
        if residency.has(key) || residency.is_loading(key) {
            continue;
        }
        if !samples.hint(Hint { key, bundle: Arc::clone(bundle.bundle()), since: now }) {
            return HintFate::Dropped;
        }
        fate = HintFate::HandedOver;
    }
    fate
}

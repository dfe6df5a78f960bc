//! One request and its response, from the request's first byte to the response's last: what is being sent,
//! and what will be counted and logged of it.

use std::sync::Arc;
use std::time::Instant;

use cache_store::OpenBundle;

use super::awaiting::AwaitedBlock;
use super::pulling::Pull;
use crate::access_log::Record;
use crate::body::ResponseBody;
use crate::demand::Asked;
use crate::limits::{SPARE_EXCHANGES_MAX, SPARE_HEAD_BYTES_MAX};
use crate::outcome::Outcome;
use crate::request::Persistence;
use crate::tier::BlockKey;

/// Exchanges of one worker that are over, kept for the next ones: an answer from memory asks the allocator for little.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "what goes to a connection and comes back is the box")]
pub struct SpareExchanges(Vec<Box<Exchange>>);

impl SpareExchanges {
    /// An exchange whose first byte has just arrived.
    pub(super) fn begin(&mut self, now: Instant, record: Record) -> Box<Exchange> {
        match self.0.pop() {
            Some(mut exchange) => {
                exchange.begin_again(now, record);
                exchange
            }
            None => Box::new(Exchange::begin(now, record)),
        }
    }

    /// Takes one that is over, whose buffers are back in their pool.
    pub(super) fn keep(&mut self, mut exchange: Box<Exchange>) {
        if self.0.len() < SPARE_EXCHANGES_MAX && exchange.head.capacity() <= SPARE_HEAD_BYTES_MAX {
            exchange.end();
            self.0.push(exchange);
        }
    }
}

/// The exchange in hand.
pub struct Exchange {
    /// When the request's first byte arrived.
    pub began: Instant,
    /// What is known of it, as it will be logged. Its status is that of the response from when there is one,
    /// its outcome how the exchange ends if nothing goes wrong from here on.
    pub record: Record,
    /// Whose demand it is.
    pub asked: Asked,
    /// Whether the connection goes on after the response.
    pub persistence: Persistence,
    /// The response's head.
    pub head: Vec<u8>,
    /// Whether nothing more is added to the head.
    pub head_is_complete: bool,
    /// How much of the head is sent.
    pub head_sent_bytes: usize,
    /// The response's body.
    pub body: ResponseBody,
    /// Bytes of the body that were sent from memory.
    pub ram_bytes: u64,
    /// Whether any of it came from a disk, or from the buffers of reads.
    pub was_read: bool,
    /// Whether a viewer asks, rather than a peer that fills: only viewers' requests say what is worth a place in memory.
    pub is_viewer: bool,
    /// The block that the tier was last told of.
    pub sampled: Option<BlockKey>,
    /// The block that is waited for, and those that are waited for no more.
    pub awaited: AwaitedBlock,
    /// Where the body is read from, if it is an object's; keeps the file open until the response is done.
    pub bundle: Option<Arc<OpenBundle>>,
    /// Where the response comes from, if it is pulled through; dropped, nobody takes it any more.
    pub pull: Option<Pull>,
}

impl Exchange {
    fn begin(now: Instant, record: Record) -> Self {
        Self {
            began: now,
            record,
            asked: Asked::Nothing,
            persistence: Persistence::Close,
            head: Vec::new(),
            head_is_complete: false,
            head_sent_bytes: 0,
            body: ResponseBody::default(),
            ram_bytes: 0,
            was_read: false,
            is_viewer: true,
            sampled: None,
            awaited: AwaitedBlock::default(),
            bundle: None,
            pull: None,
        }
    }

    /// One more, in the place of one that is over: with the memory that its record's target, its head and its body's lists have.
    fn begin_again(&mut self, now: Instant, record: Record) {
        let (head, body) = (std::mem::take(&mut self.head), std::mem::take(&mut self.body));
        let mut target = std::mem::take(&mut self.record.target);
        target.set(b"");
        *self = Self { head, body, ..Self::begin(now, Record { target, ..record }) };
    }

    /// It is over: nothing that it holds is of use any more, but that memory.
    fn end(&mut self) {
        self.asked = Asked::Nothing;
        self.record.cmcd = None;
        self.head.clear();
        self.body.clear();
        self.bundle = None;
        if self.pull.take().is_some() {
            // It came in pieces of upstream's size, of which there may have been many.
            self.body = ResponseBody::default();
        }
    }

    /// Whether anything of the response has left, so that another answer is no longer possible.
    pub fn has_answered(&self) -> bool {
        self.head_sent_bytes > 0
    }

    /// Whether there is something to send now.
    pub fn has_bytes_ready(&self) -> bool {
        self.head_sent_bytes < self.head.len() || self.body.is_ready()
    }

    /// How it ends if it ends well: an object that came from memory, all of it, came from there.
    pub fn outcome(&self) -> Outcome {
        match self.record.outcome {
            Outcome::HitDisk if self.ram_bytes > 0 && !self.was_read => Outcome::HitRam,
            outcome => outcome,
        }
    }

    /// Whether the response is complete, as far as the transport has taken it.
    pub fn is_sent(&self) -> bool {
        self.head_sent_bytes == self.head.len()
            && self.body.is_sent()
            && self.pull.as_ref().is_none_or(Pull::has_ended)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use control_client::units::ByteRange;

    use super::*;
    use crate::media::Cmcd;
    use crate::response::Part;

    fn record(unix_nanos: u64) -> Record {
        Record::begin(unix_nanos, SocketAddr::from(([192, 0, 2, 1], 1)), 0, None)
    }

    #[test]
    fn nothing_of_an_exchange_that_is_over_is_in_the_next_one_but_memory() {
        let mut spare = SpareExchanges::default();
        let mut exchange = spare.begin(Instant::now(), record(1));
        exchange.record.target.set(&[b'/'; 1000]);
        exchange.record.cmcd = Cmcd::read("/", &[b"sid=\"theirs\""]).map(Box::new);
        exchange.record.status = 200;
        exchange.head.extend_from_slice(b"HTTP/1.1 200 OK");
        (exchange.head_is_complete, exchange.head_sent_bytes, exchange.ram_bytes) = (true, 7, 1);
        exchange.body.begin_with([Part::File(ByteRange { start: 0, end: 10 }), Part::Text(vec![b'x'])]);
        exchange.body.queue_resident(10);
        let address: *const Exchange = &raw const *exchange;
        spare.keep(exchange);
        let next = spare.begin(Instant::now(), record(2));
        assert_eq!(&raw const *next, address);
        assert_eq!((next.record.began_unix_nanos, next.record.status), (2, 0));
        assert!(next.record.target.as_bytes().is_empty() && !next.record.target.is_cut());
        assert!(next.record.cmcd.is_none());
        assert!(next.head.is_empty() && next.head.capacity() > 0 && next.is_sent() && !next.has_answered());
        assert_eq!((next.head_is_complete, next.ram_bytes), (false, 0));
    }

    #[test]
    fn a_head_that_grew_is_not_kept() {
        let mut spare = SpareExchanges::default();
        let mut exchange = spare.begin(Instant::now(), record(1));
        exchange.head.reserve(SPARE_HEAD_BYTES_MAX + 1);
        spare.keep(exchange);
        assert!(spare.0.is_empty());
        (0..2 * SPARE_EXCHANGES_MAX)
            .for_each(|_| spare.keep(Box::new(Exchange::begin(Instant::now(), record(1)))));
        assert_eq!(spare.0.len(), SPARE_EXCHANGES_MAX);
    }
}

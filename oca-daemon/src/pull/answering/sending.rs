//! Sending an answer: its head when its first bytes are there, so that what fails at once can still be told as an error.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, StatusCode};

use super::{Answer, Ending, Next};
use crate::limits::RANGE_IGNORED_BYTES_MAX;
use crate::outcome::Outcome;
use crate::pull::caching::{Answering, StoredHead, answer_fields, answering, filling_fields};
use crate::pull::content::{Content, Lack};
use crate::pull::failure::PullFailure;
use crate::pull::flight::{Arrival, Passenger};
use crate::pull::held::Held;
use crate::pull::{AnswerHead, CacheStatus, Forwarded};

/// The bytes of an object that an answer has.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Extent {
    /// None.
    Empty,
    /// These.
    Known(Range<u64>),
    /// All there are, and how many is not known.
    ToItsEnd,
}

impl Answer<'_> {
    /// Answers with what is held.
    pub(super) async fn send_held(
        &mut self,
        held: &Held,
        mut cache_status: CacheStatus,
    ) -> Result<(), Ending> {
        let now = SystemTime::now();
        let head = &held.head;
        let answering = answering(&self.head(), head);
        let fields = answer_fields(head, answering, Some(head.age(now)));
        let extent = extent(answering, head);
        let missing = match &extent {
            Extent::Known(range) => held.first_missing(range.clone()),
            Extent::Empty | Extent::ToItsEnd => None,
        };
        let is_here = missing.is_none();
        if is_here {
            self.client.give_back();
        }
        if !is_here && cache_status.forwarded.is_none() {
            cache_status.forwarded = Some(Forwarded::Partial);
        }
        if matches!(head.status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            self.pull.stats.negative_hits.add(1);
        }
        cache_status.ttl_seconds = Some(self.ttl_seconds(head, now));
        let is_hit = is_here && cache_status.forwarded.is_none_or(|why| why == Forwarded::Stale);
        let answer_head = AnswerHead {
            status: answering.status(head).as_u16(),
            fields,
            content_length: content_length(&extent, answering, head),
            source: if is_hit { Outcome::DemandHit } else { Outcome::DemandMiss },
            cache_status,
        };
        let mut content = Content::held(&self.key, held, self.fields_for(head));
        if let Some(place) = missing
            && !content.follow(&self.pull.flights, place)
        {
            // The flight that brings the rest has ended since, or is far from there.
            return Err(Ending::Changed);
        }
        self.send(answer_head, extent, content).await
    }

    /// Answers with what a flight brings, which may be stored.
    pub(super) async fn send_arrived(
        &mut self,
        passenger: Passenger,
        arrival: &Arrival,
        head: &Arc<StoredHead>,
        reason: Forwarded,
    ) -> Result<Next, Ending> {
        let mut answering = answering(&self.head(), head);
        if let Answering::Range(range) = answering
            && range.start.saturating_sub(passenger.flight().received_to()) > RANGE_IGNORED_BYTES_MAX
        {
            // Upstream sends all of it, and the range is too far away to wait for.
            answering = Answering::Whole;
        }
        let extent = extent(answering, head);
        let begins_before = matches!(&extent, Extent::Known(range) if range.start < arrival.start);
        if begins_before || (extent == Extent::ToItsEnd && arrival.start > 0) {
            return Ok(Next::PassAlone);
        }
        let (is_collapsed, now) = (!passenger.is_first, SystemTime::now());
        if is_collapsed {
            self.pull.stats.collapsed.add(1);
        }
        let answer_head = AnswerHead {
            status: answering.status(head).as_u16(),
            // What another has asked for has been under way since then (RFC 9111 §4).
            fields: answer_fields(head, answering, is_collapsed.then(|| head.age(now))),
            content_length: content_length(&extent, answering, head),
            source: Outcome::DemandMiss,
            cache_status: CacheStatus {
                forwarded: Some(reason),
                ttl_seconds: Some(self.ttl_seconds(head, now)),
                is_stored: true,
                is_collapsed,
                ..CacheStatus::default()
            },
        };
        if extent == Extent::Empty || !answer_head.has_body(self.request.is_head()) {
            passenger.take_head(arrival.start);
        }
        let content = Content::flown(&self.key, passenger, Some(Arc::clone(head)), self.fields_for(head));
        self.send(answer_head, extent, content).await.map(|()| Next::Answered)
    }

    /// Answers with what a flight brings, and may not be stored.
    pub(super) async fn send_passing(
        &mut self,
        passenger: Passenger,
        status: StatusCode,
        fields: HeaderMap,
        length: Option<u64>,
        cache_status: CacheStatus,
    ) -> Result<(), Ending> {
        let answer_head = AnswerHead {
            status: status.as_u16(),
            fields,
            content_length: length,
            source: Outcome::DemandMiss,
            cache_status,
        };
        let extent = length.map_or(Extent::ToItsEnd, |length| Extent::Known(0..length));
        let content = Content::flown(&self.key, passenger, None, HeaderMap::new());
        self.send(answer_head, extent, content).await
    }

    /// Sends the head with the first bytes, and then the rest.
    async fn send(&mut self, head: AnswerHead, extent: Extent, mut content: Content) -> Result<(), Ending> {
        let (mut place, end) = match extent {
            Extent::Known(range) if !range.is_empty() => (range.start, Some(range.end)),
            Extent::ToItsEnd => (0, None),
            Extent::Empty | Extent::Known(_) => (0, Some(0)),
        };
        if !head.has_body(self.request.is_head()) {
            return Ok(self.writer.head(head).await?);
        }
        let reason = head.cache_status.forwarded.unwrap_or(Forwarded::Partial);
        let mut head = Some(head);
        while end.is_none_or(|end| place < end) {
            let next = tokio::select! {
                next = content.next(self.pull, &mut self.client, place, end) => next,
                () = self.writer.gone() => return Err(Ending::Gone),
            };
            let next = next.map_err(|lack| match lack {
                // Bytes of two objects are never mixed.
                Lack::Changed | Lack::Missed if head.is_some() => Ending::Changed,
                Lack::Changed => Ending::Failed(PullFailure::Invalid),
                Lack::Missed => Ending::Failed(PullFailure::TimedOut),
                Lack::Far => Ending::Far(reason),
                Lack::Failed(failure) => Ending::Failed(failure),
            })?;
            let Some(bytes) = next else { break };
            place += bytes.len() as u64;
            if let Some(head) = head.take() {
                self.writer.head(head).await?;
            }
            self.writer.chunk(bytes).await?;
        }
        if let Some(head) = head {
            self.writer.head(head).await?;
        }
        if end.is_some_and(|end| place < end) { Err(Ending::Failed(PullFailure::Invalid)) } else { Ok(()) }
    }

    /// What upstream is asked with for more of it.
    fn fields_for(&self, head: &StoredHead) -> HeaderMap {
        filling_fields(&self.request.fields, head, &self.pull.policy)
    }

    fn ttl_seconds(&self, head: &StoredHead, now: SystemTime) -> i64 {
        let seconds = |duration: std::time::Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        seconds(head.lifetime(&self.key, &self.pull.policy)).saturating_sub(seconds(head.age(now)))
    }
}

/// Which bytes of the object an answer has.
fn extent(answering: Answering, head: &StoredHead) -> Extent {
    match (answering, head.total_length) {
        (Answering::Whole, Some(total)) => Extent::Known(0..total),
        (Answering::Whole, None) => Extent::ToItsEnd,
        (Answering::Range(range), _) => Extent::Known(range.start..range.end),
        _ => Extent::Empty,
    }
}

/// What Content-Length says: of a 304, what a 200 would have said.
fn content_length(extent: &Extent, answering: Answering, head: &StoredHead) -> Option<u64> {
    match (answering, extent) {
        (Answering::NotModified, _) => head.total_length,
        (_, Extent::Empty) => Some(0),
        (_, Extent::Known(range)) => Some(range.end - range.start),
        (_, Extent::ToItsEnd) => None,
    }
}

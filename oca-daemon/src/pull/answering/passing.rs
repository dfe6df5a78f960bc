//! Passing a request on to upstream for one client alone: what nobody else may be given, and what changes something.

use std::time::SystemTime;

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, EXPECT, HOST, RANGE};
use http::{HeaderMap, Method, StatusCode};

use super::{Answer, Ending, Next};
use crate::outcome::Outcome;
use crate::pull::blocks::ContentRange;
use crate::pull::caching::{RequestHead, ResponseHead, end_to_end, invalidated, lone_fields};
use crate::pull::held::Held;
use crate::pull::upstream::{Ask, Reply};
use crate::pull::{AnswerHead, CacheStatus, Forwarded, PullFailure, PurgeSelector};

impl Answer<'_> {
    /// Passes the request on, where upstream is asked for this client; where it fails, what is held may stand in.
    pub(super) async fn pass_or_stale(&mut self, why: Forwarded, held: &[Held]) -> Result<(), Ending> {
        match self.pass_unless_barred(why, held).await {
            Err(Ending::Failed(failure)) if !self.is_begun => {
                self.send_stale_or(failure, held, None).await.map(|_: Next| ())
            }
            result => result,
        }
    }

    /// Passes the request on, where upstream is asked for this client.
    pub(super) async fn pass_unless_barred(&mut self, why: Forwarded, held: &[Held]) -> Result<(), Ending> {
        if self.is_barred(held) {
            return Err(Ending::Failed(PullFailure::Busy));
        }
        self.pass(why).await
    }

    /// Passes the request on with its own conditions and range, and sends what comes as it comes.
    pub(super) async fn pass(&mut self, why: Forwarded) -> Result<(), Ending> {
        tokio::select! {
            taken = self.client.take_part() => taken.map_err(Ending::Failed)?,
            () = self.writer.gone() => return Err(Ending::Gone),
        }
        let request_time = SystemTime::now();
        let ask = self.ask_alone();
        let pull = self.pull;
        let answered = async {
            // Given back with the head: the body comes as slowly as the client takes it, and no more of it is in memory than its pipe
            // holds.
            let place = pull.upstreams.place(&ask).await?;
            place.ask(&ask).await
        };
        let mut reply = tokio::select! {
            reply = answered => reply.map_err(Ending::Failed)?,
            () = self.writer.gone() => return Err(Ending::Gone),
        };
        if matches!(reply.status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            self.pull.absences.note(self.client.address());
        }
        self.invalidate(&reply, request_time).await;
        let part_bytes = self.part_bytes(&reply).map_err(Ending::Failed)?;
        let (source, is_head) = (self.source(), self.request.is_head());
        let cache_status = CacheStatus { forwarded: Some(why), ..CacheStatus::default() };
        let mut fields = end_to_end(&reply.fields);
        let length = fields.remove(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if length.zip(part_bytes).is_some_and(|(length, part_bytes)| length != part_bytes) {
            return Err(Ending::Failed(PullFailure::Invalid));
        }
        let length = length.or(part_bytes);
        let head = AnswerHead {
            status: reply.status.as_u16(),
            fields,
            content_length: length,
            source,
            cache_status,
        };
        let has_body = head.has_body(is_head);
        self.is_begun = true;
        self.writer.head(head).await?;
        if has_body {
            self.send_all(&mut reply, part_bytes).await?;
        }
        Ok(())
    }

    /// How many bytes a 206 to a GET says that it has, where that is one part of bytes.
    ///
    /// # Errors
    /// It is no answer to what was asked.
    fn part_bytes(&self, reply: &Reply) -> Result<Option<u64>, PullFailure> {
        if self.request.method != Method::GET || reply.status != StatusCode::PARTIAL_CONTENT {
            return Ok(None);
        }
        let asked = self.request.fields.get(RANGE).and_then(|range| range.to_str().ok());
        let asked = asked.ok_or(PullFailure::Invalid)?;
        match reply.fields.get(CONTENT_RANGE).and_then(ContentRange::parse) {
            Some(part) if part.answers(asked) => Ok(Some(part.end - part.start)),
            None if is_for_the_client_to_read(&reply.fields) => Ok(None),
            _ => Err(PullFailure::Invalid),
        }
    }

    /// Sends a body to its end, which is after `part_bytes` where that is known: one that is shorter or longer is cut.
    async fn send_all(&mut self, reply: &mut Reply, part_bytes: Option<u64>) -> Result<(), Ending> {
        let mut sent = 0;
        loop {
            let next = tokio::select! {
                next = reply.chunk() => next.map_err(Ending::Failed)?,
                () = self.writer.gone() => return Err(Ending::Gone),
            };
            match next {
                Some(bytes) => {
                    sent += bytes.len() as u64;
                    if part_bytes.is_some_and(|part_bytes| sent > part_bytes) {
                        return Err(Ending::Failed(PullFailure::Invalid));
                    }
                    self.writer.chunk(bytes).await?;
                }
                None if part_bytes.is_some_and(|part_bytes| sent < part_bytes) => {
                    return Err(Ending::Failed(PullFailure::Invalid));
                }
                None => return Ok(()),
            }
        }
    }

    fn ask_alone(&self) -> Ask {
        let is_safe = [Method::GET, Method::HEAD].contains(&self.request.method);
        let mut fields = if is_safe {
            lone_fields(&self.request.fields, &self.pull.habits.varying(&self.key), &self.pull.policy)
        } else {
            end_to_end(&self.request.fields)
        };
        for name in [HOST, EXPECT, CONTENT_LENGTH] {
            fields.remove(name);
        }
        self.pull.loop_guard.mark(&mut fields);
        Ask {
            method: self.request.method.clone(),
            target: if is_safe { self.key.to_string() } else { self.request.target.clone() },
            fields,
            content: self.request.content.clone(),
        }
    }

    /// Drops what the request has made untrue (RFC 9111 §4.4), before the client learns that it succeeded.
    async fn invalidate(&self, reply: &Reply, request_time: SystemTime) {
        let request =
            RequestHead { method: &self.request.method, target: &self.key, fields: &self.request.fields };
        let response_time = SystemTime::now();
        let response =
            ResponseHead { status: reply.status, fields: &reply.fields, request_time, response_time };
        for key in invalidated(&request, self.request.scheme, &self.request.authority, &response) {
            if let Err(error) = self.pull.purge(vec![PurgeSelector::Exact(key)]).await {
                tracing::warn!(%error, "what a client's request has made untrue could not be dropped for good");
            }
        }
    }

    fn source(&self) -> Outcome {
        let is_safe = [Method::GET, Method::HEAD].contains(&self.request.method);
        if is_safe { Outcome::DemandMiss } else { Outcome::DemandPassed }
    }
}

/// Whether a 206 says in other ways where its content belongs: each of several parts does so itself, and there are other units than bytes.
fn is_for_the_client_to_read(fields: &HeaderMap) -> bool {
    let text = |name| fields.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (kind, range) = (text(CONTENT_TYPE).to_ascii_lowercase(), text(CONTENT_RANGE).to_ascii_lowercase());
    let unit = range.split([' ', '=']).next().unwrap_or_default();
    if range.is_empty() { kind.starts_with("multipart/byteranges") } else { unit != "bytes" }
}

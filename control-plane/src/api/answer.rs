//! Answers: small ones, which nobody keeps, and large ones, whose bytes are reckoned with whoever asked until they are sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::memory::{Memory, Share};
use super::{Api, Problem};
use crate::limits;

/// A document.
pub(super) fn json<T: serde::Serialize>(document: &T) -> Result<Response, Problem> {
    let content = serde_json::to_vec(document).map_err(|error| Problem::internal(&error))?;
    Ok(json_text(content))
}

/// A document that is JSON already.
pub(super) fn json_text(content: impl Into<Body>) -> Response {
    let mut response = Response::new(content.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Memory for an answer; none is needed for a small one.
pub(super) struct Room(Option<Share>);

impl Memory {
    /// Takes memory for an answer of so many bytes before it is made, or refuses.
    pub(super) fn room(&self, whose: &str, bytes: u64) -> Result<Room, Problem> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if bytes <= limits::SMALL_BYTES_MAX {
            return Ok(Room(None));
        }
        // What is larger than all that belongs to one is sent alone.
        match self.take(whose, bytes.min(self.each_bytes_max())) {
            Some(share) => Ok(Room(Some(share))),
            None => Err(Problem::crowded("too many large answers are being sent")),
        }
    }
}

impl Api {
    /// A document that may be a large answer. It is made already: at most one for each thread that makes them.
    pub(super) fn large_json<T: serde::Serialize>(
        &self,
        whose: &str,
        document: &T,
    ) -> Result<Response, Problem> {
        let content = serde_json::to_vec(document).map_err(|error| Problem::internal(&error))?;
        Ok(self.answers.room(whose, content.len() as u64)?.send(content.into()))
    }
}

impl Room {
    /// Sends it, at a least rate where it is large.
    pub(super) fn send(self, content: Bytes) -> Response {
        match self.0 {
            None => json_text(content),
            Some(share) => {
                let long = content.len() as u64 / limits::ANSWER_BYTES_PER_SECOND;
                let patience = limits::ANSWER_TIME + Duration::from_secs(long);
                json_text(Body::new(InPieces::of(content, share, patience)))
            }
        }
    }
}

/// A body whose bytes are in the memory of a task that hands them on piece by piece. Whoever takes them too slowly loses them, whatever
/// its connection does.
struct InPieces {
    pieces: mpsc::Receiver<Bytes>,
    left: u64,
}

impl InPieces {
    fn of(content: Bytes, share: Share, patience: Duration) -> Self {
        let (sender, pieces) = mpsc::channel(1);
        let left = content.len() as u64;
        let deadline = Instant::now() + patience;
        tokio::spawn(async move {
            for piece in content.chunks(limits::ANSWER_PIECE_BYTES) {
                // Copied, so that the last one does not hold them all.
                let piece = Bytes::copy_from_slice(piece);
                if !matches!(timeout_at(deadline, sender.send(piece)).await, Ok(Ok(()))) {
                    break;
                }
            }
            drop((content, share));
        });
        Self { pieces, left }
    }
}

impl hyper::body::Body for InPieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = ready!(self.pieces.poll_recv(context));
        Poll::Ready(match piece {
            Some(piece) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                Some(Ok(Frame::data(piece)))
            }
            None if self.left == 0 => None,
            None => Some(Err(io::Error::new(io::ErrorKind::TimedOut, "it was taken too slowly"))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn content() -> Bytes {
        let bytes: Vec<u8> = (0..3 * limits::ANSWER_PIECE_BYTES + 7).map(|place| place as u8).collect();
        bytes.into()
    }

    async fn eventually_free(memory: &Memory, bytes: usize) {
        assert!(memory.wait("somebody else", bytes, PATIENCE).await.is_some());
    }

    #[tokio::test]
    async fn a_large_answer_is_sent_whole_and_gives_its_memory_back() {
        let content = content();
        let memory = Memory::new(content.len(), content.len());
        let body = InPieces::of(content.clone(), memory.take("oca-1", content.len()).unwrap(), PATIENCE);
        assert!(memory.take("oca-2", 1).is_none());
        assert_eq!(body.collect().await.unwrap().to_bytes(), content);
        eventually_free(&memory, content.len()).await;
    }

    #[tokio::test]
    async fn whoever_goes_away_gives_the_memory_back() {
        let content = content();
        let memory = Memory::new(content.len(), content.len());
        let mut body = InPieces::of(content.clone(), memory.take("oca-1", content.len()).unwrap(), PATIENCE);
        assert!(body.frame().await.unwrap().is_ok());
        drop(body);
        eventually_free(&memory, content.len()).await;
    }

    #[tokio::test]
    async fn whoever_takes_an_answer_too_slowly_loses_it_and_its_memory() {
        let content = content();
        let memory = Memory::new(content.len(), content.len());
        let share = memory.take("oca-1", content.len()).unwrap();
        let mut body = InPieces::of(content.clone(), share, Duration::from_millis(10));
        assert!(body.frame().await.unwrap().is_ok());
        // The connection is still there, and takes nothing.
        eventually_free(&memory, content.len()).await;
        let rest = body.collect().await;
        assert!(rest.is_err(), "what is missing is not passed off as the end");
    }
}

//! Contents of requests: bounded each, and the large ones in memory all together.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;

use super::memory::Share;
use super::{Api, Problem};
use crate::limits;

/// A document, and the memory that is reckoned with whoever sent it.
pub(super) struct Content<T> {
    pub(super) document: T,
    _memory: Option<Share>,
}

impl Api {
    /// Reads a JSON document of at most `bytes_max` bytes. Memory for a large one is taken when the first bytes of it have come: who only
    /// says that he will send much takes nothing from others.
    pub(super) async fn content<T: DeserializeOwned>(
        &self,
        whose: &str,
        headers: &HeaderMap,
        mut body: Body,
        bytes_max: usize,
    ) -> Result<Content<T>, Problem> {
        let told = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if told.is_some_and(|bytes| bytes > bytes_max) {
            return Err(too_large(bytes_max));
        }
        let mut bytes = Vec::with_capacity(told.unwrap_or_default().min(limits::SMALL_BYTES_MAX));
        let mut memory = None;
        if !read(&mut body, &mut bytes, bytes_max.min(limits::SMALL_BYTES_MAX)).await? {
            if bytes.len() > bytes_max {
                return Err(too_large(bytes_max));
            }
            let whole = told.unwrap_or(bytes_max);
            let reckoned = whole.saturating_mul(limits::CONTENT_FACTOR);
            memory = self.contents.wait(whose, reckoned, limits::CONTENT_PATIENCE).await;
            if memory.is_none() {
                return Err(Problem::crowded("too many large contents are being read"));
            }
            let rest = read(&mut body, &mut bytes, bytes_max);
            let patience = Duration::from_secs(1 + whole as u64 / limits::CONTENT_BYTES_PER_SECOND);
            let in_time = tokio::time::timeout(patience, rest).await;
            if !in_time.map_err(|_| too_slow())?? {
                return Err(too_large(bytes_max));
            }
        }
        let document = serde_json::from_slice(&bytes).map_err(|error| {
            Problem::refused(format!("the content is not the document that belongs here: {error}"))
        })?;
        Ok(Content { document, _memory: memory })
    }
}

/// Reads until there are more than `bytes_max` bytes, or no more come: whether these are all.
async fn read(body: &mut Body, bytes: &mut Vec<u8>, bytes_max: usize) -> Result<bool, Problem> {
    while bytes.len() <= bytes_max {
        let Some(frame) = body.frame().await else { return Ok(true) };
        let frame = frame.map_err(|error| Problem::refused(format!("the content broke off: {error}")))?;
        bytes.extend_from_slice(frame.data_ref().map_or(&[], Bytes::as_ref));
    }
    Ok(false)
}

fn too_large(bytes_max: usize) -> Problem {
    let detail = format!("the content has more than {bytes_max} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
}

fn too_slow() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the content comes too slowly")
}

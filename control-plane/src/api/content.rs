//! Contents of requests: bounded each, and in memory all together.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::sync::SemaphorePermit;

use super::{Api, Problem};

/// A document, and the memory that its bytes are reckoned with.
pub(super) struct Content<'a, T> {
    pub(super) document: T,
    _memory: SemaphorePermit<'a>,
}

impl Api {
    /// Reads a JSON document of at most `bytes_max` bytes. Waits while others' contents fill the memory.
    pub(super) async fn content<T: DeserializeOwned>(
        &self,
        headers: &HeaderMap,
        body: Body,
        bytes_max: usize,
    ) -> Result<Content<'_, T>, Problem> {
        let told = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if told.is_some_and(|bytes| bytes > bytes_max) {
            return Err(too_large(bytes_max));
        }
        let reserved = u32::try_from(told.unwrap_or(bytes_max)).unwrap_or(u32::MAX);
        let memory = self.contents.acquire_many(reserved).await.map_err(|_| Problem::busy("stopping"))?;
        let bytes = read(body, bytes_max).await?;
        let document = serde_json::from_slice(&bytes).map_err(|error| {
            Problem::refused(format!("the content is not the document that belongs here: {error}"))
        })?;
        Ok(Content { document, _memory: memory })
    }
}

async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(bytes_max)),
        Err(error) => Err(Problem::refused(format!("the content broke off: {error}"))),
    }
}

fn too_large(bytes_max: usize) -> Problem {
    let detail = format!("the content has more than {bytes_max} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
}

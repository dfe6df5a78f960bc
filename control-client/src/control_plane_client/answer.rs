use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;

use super::ControlPlaneError;
use crate::admin::Failure;
use crate::limits;

/// An answer as it was received.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    retry_after: Option<Duration>,
    content: Vec<u8>,
}

/// Why an answer was not received.
pub(super) enum ReadError {
    TooLarge,
    Broken(reqwest::Error),
}

impl Answer {
    /// Reads at most so many bytes; of an answer that is no success, a few are enough.
    pub(super) async fn read(mut response: Response, bytes_max: u64) -> Result<Self, ReadError> {
        let status = response.status();
        let bytes_max = if status.is_success() { bytes_max } else { limits::SMALL_ANSWER_BYTES_MAX };
        if response.content_length().is_some_and(|bytes| bytes > bytes_max) && status.is_success() {
            return Err(ReadError::TooLarge);
        }
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(limits::RETRY_AFTER_MAX));
        let mut content = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(ReadError::Broken)? {
            let room = usize::try_from(bytes_max).unwrap_or(usize::MAX) - content.len();
            if piece.len() > room {
                if status.is_success() {
                    return Err(ReadError::TooLarge);
                }
                content.extend_from_slice(&piece[..room]);
                break;
            }
            content.extend_from_slice(&piece);
        }
        Ok(Self { status, retry_after, content })
    }

    pub(super) fn succeeded(&self) -> Result<(), ControlPlaneError> {
        let failure = || self.failure();
        match self.status.as_u16() {
            200..=299 => Ok(()),
            401 | 403 => {
                Err(ControlPlaneError::Unauthorised { status: self.status.as_u16(), failure: failure() })
            }
            404 | 410 => Err(ControlPlaneError::Absent { failure: failure() }),
            status @ (408 | 429 | 500..) => Err(ControlPlaneError::Unavailable {
                status,
                retry_after: self.retry_after,
                failure: failure(),
            }),
            status => Err(ControlPlaneError::Refused { status, failure: failure() }),
        }
    }

    pub(super) fn document<T: DeserializeOwned>(&self) -> Result<T, ControlPlaneError> {
        self.succeeded()?;
        serde_json::from_slice(&self.content)
            .map_err(|error| ControlPlaneError::Unintelligible(error.to_string()))
    }

    pub(super) fn content(self) -> Result<Vec<u8>, ControlPlaneError> {
        self.succeeded()?;
        Ok(self.content)
    }

    /// What the control plane says of a failure; where it is not the control plane that answers, the start of what was said.
    pub(super) fn failure(&self) -> Failure {
        let quoted = |text: &str, characters| -> String {
            text.trim()
                .chars()
                .take(characters)
                .map(|c| if c.is_control() { '\u{fffd}' } else { c })
                .collect()
        };
        match serde_json::from_slice::<Failure>(&self.content) {
            Ok(failure) => Failure {
                error: quoted(&failure.error, limits::FAILURE_WORD_CHARACTERS_MAX),
                detail: quoted(&failure.detail, limits::FAILURE_DETAIL_CHARACTERS_MAX),
            },
            Err(_) => Failure {
                error: "unexpected_answer".to_owned(),
                detail: quoted(
                    &String::from_utf8_lossy(&self.content),
                    limits::FAILURE_DETAIL_CHARACTERS_MAX,
                ),
            },
        }
    }
}

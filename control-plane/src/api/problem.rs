use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use control_client::admin::Failure;

use crate::database::DatabaseError;
use crate::registry::RegistryError;

/// Why a request is not answered with what it asked for: a status, and a [`Failure`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    failure: Failure,
    retry_after_seconds: Option<u32>,
}

impl Problem {
    /// One with a status, a word for programs, and a sentence for people.
    pub fn new(status: StatusCode, error: &str, detail: impl fmt::Display) -> Self {
        let failure = Failure { error: error.to_owned(), detail: detail.to_string() };
        Self { status, failure, retry_after_seconds: None }
    }

    /// Nobody whom the route is for.
    pub fn unauthorized(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    /// The request is not one that can be answered.
    pub fn refused(detail: impl fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "refused", detail)
    }

    /// There is no such thing.
    pub fn absent(detail: impl fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// Later it may be answered.
    pub fn busy(detail: impl fmt::Display) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail);
        Self { retry_after_seconds: Some(RETRY_AFTER_SECONDS), ..problem }
    }

    /// The same where many ask at once: each is told another moment, so that they do not all come again together.
    pub fn crowded(detail: impl fmt::Display) -> Self {
        let draw = RandomState::new().hash_one(0_u8) % u64::from(CROWD_SECONDS);
        let seconds = RETRY_AFTER_SECONDS + u32::try_from(draw).unwrap_or_default();
        Self { retry_after_seconds: Some(seconds), ..Self::busy(detail) }
    }

    /// It is this program's own fault, or its database's. What exactly is for the log.
    pub fn internal(error: &dyn fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        let detail = "the control plane failed; its log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }
}

const RETRY_AFTER_SECONDS: u32 = 2;

/// What many are told to wait beyond that, at most.
const CROWD_SECONDS: u32 = 30;

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        if error.is_passing() {
            tracing::warn!(%error, "the database is busy");
            Self::busy("the database is busy")
        } else {
            Self::internal(&error)
        }
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Database(error) => error.into(),
            RegistryError::Randomness => Self::internal(&error),
            RegistryError::UnknownAppliance(_)
            | RegistryError::UnknownSite(_)
            | RegistryError::UnknownPrefix(_) => Self::absent(error),
            RegistryError::ApplianceTaken(_)
            | RegistryError::SiteTaken(_)
            | RegistryError::SiteInUse { .. }
            | RegistryError::TooManyAppliances
            | RegistryError::TooManyDirectives => Self::new(StatusCode::CONFLICT, "conflict", error),
            RegistryError::Topology(_) | RegistryError::Refused(_) => Self::refused(error),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let content = serde_json::to_vec(&self.failure).unwrap_or_default();
        let mut response = super::answer::json_text(content);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

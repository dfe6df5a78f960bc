use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::admin::Failure;
use crate::units::{ByteCount, display_duration};

/// Why a call to the control plane failed, by who has to act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlPlaneError {
    /// The appliance's operator: the configuration names nothing that can be asked.
    Unusable(String),
    /// The appliance's operator: the control plane does not know this token, or not for this appliance (401, 403).
    Unauthorised {
        /// The HTTP status code.
        status: u16,
        /// What the control plane says.
        failure: Failure,
    },
    /// Whoever runs the network or the control plane: nobody could be connected to, or the exchange broke off.
    Unreachable {
        /// Who was called.
        url: String,
        /// What broke.
        detail: String,
    },
    /// Whoever runs the network or the control plane: no whole answer came in time.
    TimedOut {
        /// Who was called.
        url: String,
        /// How long was waited.
        after: Duration,
    },
    /// The control plane's operator, or only time: it cannot answer now (408, 429, 5xx).
    Unavailable {
        /// The HTTP status code.
        status: u16,
        /// When to come back, where it says so; at most [`crate::limits::RETRY_AFTER_MAX`].
        retry_after: Option<Duration>,
        /// What the control plane says.
        failure: Failure,
    },
    /// The control plane's operator: what was asked for is not there (404, 410).
    Absent {
        /// What the control plane says.
        failure: Failure,
    },
    /// Both operators: the control plane will not have what it was told, or sends elsewhere (other 3xx and 4xx).
    Refused {
        /// The HTTP status code.
        status: u16,
        /// What the control plane says.
        failure: Failure,
    },
    /// Both operators: the answer is longer than any that can be meant.
    TooLarge {
        /// The bound.
        bytes_max: u64,
    },
    /// Both operators: the answer is not the document that was asked for.
    Unintelligible(String),
}

impl ControlPlaneError {
    /// Whether the same call may succeed later without anything being changed on this appliance.
    pub const fn is_temporary(&self) -> bool {
        !matches!(self, Self::Unusable(_) | Self::Unauthorised { .. } | Self::Refused { .. })
    }

    /// When the control plane wants to be asked again, where it said so.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl fmt::Display for ControlPlaneError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(what) => write!(formatter, "{what}; mend it in the configuration's [control]"),
            Self::Unauthorised { status, failure } => write!(
                formatter,
                "the control plane does not accept this appliance: {} ({}, status {status}); \
                 do control.appliance and control.token_file belong together?",
                failure.detail, failure.error
            ),
            Self::Unreachable { url, detail } => {
                write!(formatter, "the control plane at {url} cannot be reached: {detail}; it is tried again")
            }
            Self::TimedOut { url, after } => write!(
                formatter,
                "the control plane at {url} gave no whole answer within {}; it is tried again",
                display_duration(*after)
            ),
            Self::Unavailable { status, failure, .. } => write!(
                formatter,
                "the control plane cannot answer now: {} ({}, status {status}); it is tried again",
                failure.detail, failure.error
            ),
            Self::Absent { failure } => {
                write!(
                    formatter,
                    "the control plane does not have it: {} ({})",
                    failure.detail, failure.error
                )
            }
            Self::Refused { status, failure } => write!(
                formatter,
                "the control plane refuses: {} ({}, status {status}); \
                 is it the control plane that control.url names, and of the same release?",
                failure.detail, failure.error
            ),
            Self::TooLarge { bytes_max } => write!(
                formatter,
                "the answer is longer than {}; is it the control plane that control.url names?",
                ByteCount::new(*bytes_max)
            ),
            Self::Unintelligible(detail) => write!(
                formatter,
                "the answer cannot be read: {detail}; \
                 is it the control plane that control.url names, and of the same release?"
            ),
        }
    }
}

impl Error for ControlPlaneError {}

/// reqwest's sentence without the URL, which is said already, and what lies below it.
pub(super) fn with_sources(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut source = error.source();
    while let Some(cause) = source {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}

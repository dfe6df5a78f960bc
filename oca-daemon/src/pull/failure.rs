//! Why there is no answer, or no end of one.

use crate::outcome::Outcome;
use crate::response::Status;

/// Why a request that is pulled through could not be answered, or not to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullFailure {
    /// No upstream could be connected to, or all were struggling and are left alone for a while.
    Unreachable,
    /// The last upstream that was asked did not answer, or not go on, in time.
    TimedOut,
    /// What upstream sent cannot be trusted: it breaks HTTP, is shorter or longer than was said, or changed on the way.
    Invalid,
    /// Upstream is, in the end, this appliance.
    Loop,
    /// As many requests or fetches are under way as may be.
    Busy,
    /// The client takes only what is held (`only-if-cached`), and it is not, or not fresh.
    NotHeld,
    /// No upstream can have it: all are buckets, and the path is no object's name there, or the method neither GET nor HEAD.
    NoObject,
    /// What is held could not be read.
    Unreadable,
    /// The daemon is stopping.
    Stopping,
    /// Nobody said why: a defect of ours.
    Defect,
}

impl PullFailure {
    /// What is answered where nothing has been sent yet.
    pub fn status(self) -> Status {
        match self {
            Self::Unreachable | Self::Invalid | Self::Defect => Status::BAD_GATEWAY,
            Self::TimedOut | Self::NotHeld => Status::GATEWAY_TIMEOUT,
            Self::NoObject => Status::NOT_FOUND,
            Self::Loop => Status::LOOP_DETECTED,
            Self::Busy | Self::Unreadable | Self::Stopping => Status::SERVICE_UNAVAILABLE,
        }
    }

    /// How the request ends where nothing has been sent yet.
    pub fn refused(self) -> Outcome {
        match self {
            Self::Unreachable => Outcome::RefusedUpstreamUnreachable,
            Self::TimedOut => Outcome::RefusedUpstreamTimeout,
            Self::Invalid => Outcome::RefusedUpstreamInvalid,
            Self::Loop => Outcome::RefusedUpstreamLoop,
            Self::Busy => Outcome::RefusedUpstreamBusy,
            Self::NotHeld => Outcome::ClientErrorOnlyIfCached,
            Self::NoObject => Outcome::ClientErrorAbsent,
            Self::Unreadable => Outcome::RefusedReadError,
            Self::Stopping => Outcome::RefusedShutdown,
            Self::Defect => Outcome::RefusedUpstreamDefect,
        }
    }

    /// How it ends within the body.
    pub fn aborted(self) -> Outcome {
        match self {
            Self::TimedOut => Outcome::AbortedUpstreamTimeout,
            Self::Unreadable => Outcome::AbortedReadError,
            Self::Stopping => Outcome::AbortedShutdown,
            Self::Unreachable
            | Self::Invalid
            | Self::Loop
            | Self::Busy
            | Self::NotHeld
            | Self::NoObject
            | Self::Defect => Outcome::AbortedUpstreamInvalid,
        }
    }

    /// One word, for `detail` of Cache-Status (RFC 9211 §2.8) and the text of an error.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "upstream_unreachable",
            Self::TimedOut => "upstream_timeout",
            Self::Invalid => "upstream_invalid",
            Self::Loop => "upstream_loop",
            Self::Busy => "upstream_busy",
            Self::NotHeld => "only_if_cached",
            Self::NoObject => "no_object",
            Self::Unreadable => "read_error",
            Self::Stopping => "shutdown",
            Self::Defect => "upstream_defect",
        }
    }
}

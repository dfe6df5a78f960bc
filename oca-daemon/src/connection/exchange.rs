//! One request and its response, from the request's first byte to the response's last: what is being sent,
//! and what will be counted and logged of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_store::OpenBundle;
use control_client::units::ByteRange;

use crate::access_log::LoggedTarget;
use crate::body::ResponseBody;
use crate::outcome::Outcome;
use crate::request::Persistence;

/// The exchange in hand.
pub struct Exchange {
    /// When the request's first byte arrived.
    pub began: Instant,
    /// The same, in nanoseconds since the Unix epoch.
    pub began_unix_nanos: u64,
    /// The method's name, "" until the head could be read.
    pub method: &'static str,
    /// The version's name, "" until the head could be read.
    pub version: &'static str,
    /// The target as the client wrote it.
    pub target: LoggedTarget,
    /// The first range that is sent.
    pub range: Option<ByteRange>,
    /// The status code of the response, 0 until there is one.
    pub status: u16,
    /// How the exchange ends if nothing goes wrong from here on.
    pub outcome: Outcome,
    /// Whether the connection goes on after the response.
    pub persistence: Persistence,
    /// The response's head.
    pub head: Vec<u8>,
    /// How much of the head is sent.
    pub head_sent_bytes: usize,
    /// The response's body.
    pub body: ResponseBody,
    /// Bytes of the body that are sent.
    pub body_sent_bytes: u64,
    /// Where the body is read from; keeps the file open until the response is done.
    pub bundle: Option<Arc<OpenBundle>>,
    /// How long after its beginning the first byte of the response was sent.
    pub first_byte: Option<Duration>,
}

impl Exchange {
    /// An exchange whose first byte has just arrived.
    pub fn begin(now: Instant, unix_nanos: u64) -> Self {
        Self {
            began: now,
            began_unix_nanos: unix_nanos,
            method: "",
            version: "",
            target: LoggedTarget::new(b""),
            range: None,
            status: 0,
            outcome: Outcome::AbortedClientGone,
            persistence: Persistence::Close,
            head: Vec::new(),
            head_sent_bytes: 0,
            body: ResponseBody::default(),
            body_sent_bytes: 0,
            bundle: None,
            first_byte: None,
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

    /// Whether the response is complete, as far as the transport has taken it.
    pub fn is_sent(&self) -> bool {
        self.head_sent_bytes == self.head.len() && self.body.is_sent()
    }
}

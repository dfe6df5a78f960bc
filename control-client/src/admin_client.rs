//! The client of the daemon's admin API: one HTTP/1.1 exchange a call, over the Unix socket or TCP.
//!
//! Every call is bounded: connecting and the whole exchange in time, the answer in bytes. It runs on any
//! tokio runtime that has I/O and time enabled.

mod address;
mod answer;
mod error;
mod exchange;

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

use crate::admin::{Adopt, Adopted, Purge, Purged, ReadinessChanged, Retire, Retired};
use crate::demand::Demand;
use crate::health::HealthReport;
use crate::inventory::Inventory;
use crate::limits;
use crate::load::Load;
use crate::status::StatusReport;

pub use address::AdminAddress;
pub use answer::Answer;
pub use error::AdminError;
pub(crate) use exchange::exchange;

/// What to ask of the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `GET /health`.
    Health,
    /// `GET /metrics`.
    Metrics,
    /// `GET /inventory`.
    Inventory,
    /// `GET /status`.
    Status,
    /// `GET /load`.
    Load,
    /// `GET /demand`.
    Demand,
    /// `POST /adopt`.
    Adopt(Adopt),
    /// `POST /retire`.
    Retire(Retire),
    /// The same, where the space is waited for so many seconds at most.
    RetireWithin(Retire, u64),
    /// `POST /purge`.
    Purge(Purge),
    /// `POST /drain`.
    Drain,
    /// `POST /undrain`.
    Undrain,
}

/// Asks one daemon. Changes need [`AdminAddress::Socket`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminClient {
    /// Where the daemon listens.
    pub address: AdminAddress,
    /// For connecting.
    pub connect_timeout: Duration,
    /// For a whole exchange that only reads.
    pub read_timeout: Duration,
    /// For a whole exchange that changes something.
    pub change_timeout: Duration,
}

impl AdminClient {
    /// With the timeouts of [`crate::limits`].
    pub fn new(address: AdminAddress) -> Self {
        Self {
            address,
            connect_timeout: limits::CONNECT_TIMEOUT,
            read_timeout: limits::READ_TIMEOUT,
            change_timeout: limits::CHANGE_TIMEOUT,
        }
    }

    /// Asks, and gives the answer as it was received, whatever its status.
    pub async fn send(&self, call: &Call) -> Result<Answer, AdminError> {
        let (method, path) = call.method_and_path();
        let timeout = match call {
            // The daemon waits first, and answers then.
            Call::RetireWithin(_, seconds) => {
                self.change_timeout.saturating_add(Duration::from_secs(*seconds))
            }
            _ if method == "GET" => self.read_timeout,
            _ => self.change_timeout,
        };
        let exchange = exchange(&self.address, self.connect_timeout, method, &path, call.content());
        match tokio::time::timeout(timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(AdminError::TimedOut { address: self.address.clone(), after: timeout }),
        }
    }

    /// The verdict, whether healthy or not.
    pub async fn health(&self) -> Result<HealthReport, AdminError> {
        self.send(&Call::Health).await?.health()
    }

    /// The metrics, in Prometheus's text format.
    pub async fn metrics(&self) -> Result<String, AdminError> {
        self.send(&Call::Metrics).await?.text()
    }

    /// The bundles that the appliance holds.
    pub async fn inventory(&self) -> Result<Inventory, AdminError> {
        self.send(&Call::Inventory).await?.document()
    }

    /// What runs, and where it listens.
    pub async fn status(&self) -> Result<StatusReport, AdminError> {
        self.send(&Call::Status).await?.document()
    }

    /// How much the appliance has to do.
    pub async fn load(&self) -> Result<Load, AdminError> {
        self.send(&Call::Load).await?.document()
    }

    /// What clients asked for since the daemon started.
    pub async fn demand(&self) -> Result<Demand, AdminError> {
        self.send(&Call::Demand).await?.document()
    }

    /// Takes a bundle into the inventory.
    pub async fn adopt(&self, adopt: Adopt) -> Result<Adopted, AdminError> {
        self.send(&Call::Adopt(adopt)).await?.document()
    }

    /// Takes a bundle out, and waits until its space has returned.
    pub async fn retire(&self, retire: Retire) -> Result<Retired, AdminError> {
        self.send(&Call::Retire(retire)).await?.document()
    }

    /// Takes a bundle out, and waits so many seconds at most until its space has returned: the daemon answers 504 where it has
    /// not, and keeps no thread that waits for it.
    pub async fn retire_within(&self, retire: Retire, seconds: u64) -> Result<Retired, AdminError> {
        self.send(&Call::RetireWithin(retire, seconds)).await?.document()
    }

    /// Stops serving content.
    pub async fn purge(&self, purge: Purge) -> Result<Purged, AdminError> {
        self.send(&Call::Purge(purge)).await?.document()
    }

    /// Begins to drain.
    pub async fn drain(&self) -> Result<ReadinessChanged, AdminError> {
        self.send(&Call::Drain).await?.document()
    }

    /// Serves again.
    pub async fn undrain(&self) -> Result<ReadinessChanged, AdminError> {
        self.send(&Call::Undrain).await?.document()
    }
}

impl Call {
    /// The method and the path of the request.
    pub fn method_and_path(&self) -> (&'static str, Cow<'static, str>) {
        let (method, path) = match self {
            Self::Health => ("GET", "/health"),
            Self::Metrics => ("GET", "/metrics"),
            Self::Inventory => ("GET", "/inventory"),
            Self::Status => ("GET", "/status"),
            Self::Load => ("GET", "/load"),
            Self::Demand => ("GET", "/demand"),
            Self::Adopt(_) => ("POST", "/adopt"),
            // As long as the daemon waits at most; this client's own timeout ends it earlier.
            Self::Retire(_) => ("POST", "/retire?wait_seconds=14400"),
            Self::RetireWithin(_, seconds) => {
                return ("POST", Cow::Owned(format!("/retire?wait_seconds={seconds}")));
            }
            Self::Purge(_) => ("POST", "/purge"),
            Self::Drain => ("POST", "/drain"),
            Self::Undrain => ("POST", "/undrain"),
        };
        (method, Cow::Borrowed(path))
    }

    fn content(&self) -> Vec<u8> {
        match self {
            Self::Adopt(adopt) => json(adopt),
            Self::Retire(retire) | Self::RetireWithin(retire, _) => json(retire),
            Self::Purge(purge) => json(purge),
            _ => Vec::new(),
        }
    }
}

fn json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document)
        .expect("change documents hold only strings, numbers and booleans, which JSON can say")
}

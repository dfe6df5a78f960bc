//! `GET /health`: whether clients should be steered to this appliance, why not, and how much more it can take.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::wire::DocumentVersion;

/// The answer to `GET /health`. Sent with 200 where the verdict is [`Verdict::Healthy`], else with 503.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HealthReport {
    /// Always 1.
    pub version: DocumentVersion,
    /// The name under which the control plane knows this appliance, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appliance: Option<String>,
    /// The step of the appliance's life.
    pub readiness: Readiness,
    /// Whether to steer clients here.
    pub verdict: Verdict,
    /// What speaks against health, and what an operator should know; the gravest first.
    pub reasons: Vec<Reason>,
    /// What is left of everything that can run out.
    pub headroom: Headroom,
    /// Every configured volume, in the order of the configuration.
    pub volumes: Vec<VolumeHealth>,
    /// Whole seconds since the process started.
    pub uptime_seconds: u64,
}

/// The steps of an appliance's life: `Starting → Recovering → Serving ⇄ Draining → Drained`. Only `Serving`
/// is steered to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// Configuration, memory, rings and listeners are being set up.
    Starting,
    /// The inventory is being read.
    Recovering,
    /// Requests are served.
    Serving,
    /// Requests are served, but no new ones should be sent here.
    Draining,
    /// Nothing is in flight: safe to unplug.
    Drained,
}

/// Whether clients should be steered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Yes.
    Healthy,
    /// No; the reasons say why.
    Unhealthy,
}

/// One thing that speaks against health, or that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reason {
    /// A word for programs, in snake case.
    pub code: String,
    /// A sentence for people: what is the matter, and what to do.
    pub text: String,
}

/// What is left of everything that can run out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Headroom {
    /// Connections that may still be opened.
    pub connections_free: u64,
    /// File descriptors that the process may still open.
    pub descriptors_free: u64,
    /// Memory that the process may still take, by the kernel's or the cgroup's account.
    pub memory_available_bytes: u64,
    /// Read buffers not in use, over all workers.
    pub read_buffers_free_bytes: u64,
    /// What is left of `store.footer_cache`.
    pub footer_cache_free_bytes: u64,
}

/// One volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VolumeHealth {
    /// Its place in `store.volumes`, counted from 0.
    pub index: u8,
    /// Its directory.
    pub path: String,
    /// Its identity from the marker file; empty where that could not be read.
    pub id: String,
    /// Whether it serves.
    pub state: VolumeState,
    /// Why it does not serve, where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Read errors since the process started.
    pub errors: u64,
    /// Bundles that it serves.
    pub bundles: u64,
    /// Bytes free on its file system.
    pub free_bytes: u64,
}

/// Whether a volume serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum VolumeState {
    /// It serves.
    Serving,
    /// It gave too many read errors, and is left alone.
    Isolated,
    /// It could not be opened at start.
    Failed,
}

impl Readiness {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Recovering => "recovering",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Drained => "drained",
        }
    }
}

impl Verdict {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl VolumeState {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Isolated => "isolated",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl fmt::Display for VolumeState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

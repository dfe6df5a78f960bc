//! The report: what an appliance tells the control plane, `POST /v1/appliances/{appliance}/reports`, and what it is answered.
//!
//! Reports of one appliance are numbered. One that was not acknowledged is sent again with the same number and may then say
//! more of the moment (health, load, inventory), but demand, runs, results of directives and what was dropped stay the same for
//! one number; the control plane takes each number once, so these are neither lost nor counted twice. [`crate::outbox`] sees to it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::content::{BundleKey, BundlePath, Generation};
use crate::demand::PathDemand;
use crate::fill::FillRun;
use crate::fleet::ApplianceName;
use crate::health::HealthReport;
use crate::limits;
use crate::load::Load;
use crate::wire::DocumentVersion;

/// Who an appliance is, `PUT /v1/appliances/{appliance}`: sent when the agent starts and when it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Enrolment {
    /// Always 1.
    pub version: DocumentVersion,
    /// Its release.
    pub release: String,
    /// The URLs under which clients and peers reach it, without a path: `http://192.0.2.7`, `https://oca-1.example.net`.
    pub serve_urls: Vec<String>,
    /// The URL of its read-only admin API, which the control plane polls.
    pub admin_url: String,
    /// The bytes that bundles may take on it.
    pub capacity_bytes: u64,
}

/// One report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Report {
    /// Always 1.
    pub version: DocumentVersion,
    /// Who reports.
    pub appliance: ApplianceName,
    /// Chosen once by an appliance's state folder: numbers begin at 1 again where it is another.
    pub instance: String,
    /// The number of the report.
    pub sequence: u64,
    /// When it was made, in seconds since 1970 by the appliance's clock.
    pub at: u64,
    /// What the daemon says of its health; left out where it did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthReport>,
    /// How much it has to do; left out where it did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// What it holds; left out where the daemon did not answer, or nothing has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<InventoryReport>,
    /// What clients asked for since the last report that was acknowledged, by path, and by day where that is long ago.
    pub demand: Vec<DayDemand>,
    /// Runs that ended since then.
    pub runs: Vec<FillRun>,
    /// The sequence of the manifest in force; 0 where there is none.
    pub manifest_sequence: u64,
    /// Why the last manifest that came was not taken, where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_refused: Option<String>,
    /// Directives that were carried out, or could not be.
    pub directives: Vec<DirectiveResult>,
    /// What could not be kept until now; left out where everything could.
    #[serde(default, skip_serializing_if = "Dropped::is_empty")]
    pub dropped: Dropped,
}

/// What an appliance had to tell and could not keep until the control plane heard it, since the last report that was acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Dropped {
    /// Runs.
    pub runs: u64,
    /// Results of directives.
    pub results: u64,
    /// Requests of clients for directories that are in no report, those without a bundle included.
    pub requests: u64,
    /// Bytes sent to these clients.
    pub bytes: u64,
    /// Those of the requests that found no bundle.
    pub absent: u64,
}

impl Dropped {
    /// Whether nothing was dropped.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds up.
    pub fn add(&mut self, other: &Self) {
        self.runs = self.runs.saturating_add(other.runs);
        self.results = self.results.saturating_add(other.results);
        self.requests = self.requests.saturating_add(other.requests);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.absent = self.absent.saturating_add(other.absent);
    }
}

impl ReportAnswer {
    /// When to report next, within [`limits::REPORT_INTERVAL`] whatever the control plane says.
    pub fn next_report(&self) -> Duration {
        let asked = Duration::from_secs(self.next_report_seconds.into());
        asked.clamp(*limits::REPORT_INTERVAL.start(), *limits::REPORT_INTERVAL.end())
    }
}

/// Demand of one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DayDemand {
    /// The day, counted from 1970-01-01 in UTC.
    pub day: u32,
    /// What was asked for.
    pub paths: Vec<PathDemand>,
}

/// What an appliance serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum InventoryReport {
    /// All of it.
    Full {
        /// The number of this state.
        revision: u64,
        /// Bundles that serve.
        bundles: Vec<HeldBundle>,
    },
    /// What has changed.
    Delta {
        /// The number of the state that the changes are to be applied to.
        from: u64,
        /// The number of the state after them.
        revision: u64,
        /// Bundles that serve now.
        added: Vec<HeldBundle>,
        /// Bundles that serve no longer.
        removed: Vec<BundleKey>,
    },
}

/// A bundle that serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeldBundle {
    /// The directory that it serves.
    pub path: BundlePath,
    /// Its edition.
    pub generation: Generation,
    /// The length of its file.
    pub bytes: u64,
}

/// The answer to a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReportAnswer {
    /// Always 1.
    pub version: DocumentVersion,
    /// The number of the report that is acknowledged.
    pub sequence: u64,
    /// The revision of the inventory that the control plane has; `None` asks for all of it.
    pub inventory_revision: Option<u64>,
    /// The sequence of the newest manifest for this appliance; 0 where there is none.
    pub manifest_sequence: u64,
    /// What to do, in that order. Each is given again until a report tells its result.
    pub directives: Vec<Directive>,
    /// When to report next.
    pub next_report_seconds: u32,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Directive {
    /// Its number, which is never used again.
    pub id: u64,
    /// What.
    pub order: Order,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Order {
    /// Ask for no more clients.
    Drain,
    /// Serve again.
    Undrain,
    /// Stop serving content.
    Purge {
        /// The directory.
        path: BundlePath,
        /// Everything below it, too.
        prefix: bool,
    },
    /// Begin a fill now, whatever the window says.
    FillNow,
}

/// What became of a directive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DirectiveResult {
    /// Its number.
    pub id: u64,
    /// Why it could not be carried out; left out where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

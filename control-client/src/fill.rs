//! What the fill agent tells: how a run goes (`GET /fill` on its socket), how it went (in reports and `GET /history`), and what
//! it would do (`GET /plan`).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::content::{BundleKey, BundlePath, Generation};
use crate::sources::SourceKind;
use crate::wire::DocumentVersion;

/// How the fill goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FillProgress {
    /// Always 1.
    pub version: DocumentVersion,
    /// What the agent is doing.
    pub state: FillState,
    /// A sentence that says why, where the state does not say it all.
    pub detail: String,
    /// The run that is under way, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// When the window opens next, or closes where it is open; in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_changes_at: Option<u64>,
    /// The sequence of the manifest in force; 0 where there is none.
    pub manifest_sequence: u64,
    /// Bytes that the run has to fetch.
    pub planned_bytes: u64,
    /// Bytes of these that are on disk, verified.
    pub done_bytes: u64,
    /// Bundles that the run has to fetch.
    pub planned_bundles: u64,
    /// Bundles of these that are published.
    pub done_bundles: u64,
    /// Bundles that were given up for this run.
    pub failed_bundles: u64,
    /// Bits per second received over the last seconds.
    pub rate_bits_per_second: u64,
    /// Bundles that are being fetched now.
    pub active: Vec<BundleProgress>,
}

/// What the agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FillState {
    /// The window is closed, or everything is there.
    Waiting,
    /// It asks for manifest, inventory and sources, and decides.
    Planning,
    /// It fetches and publishes.
    Filling,
    /// The window closed in the middle of the work: the next run goes on.
    Suspended,
    /// It reports the run.
    Reporting,
}

/// One bundle on its way in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BundleProgress {
    /// The bundle.
    pub bundle: BundleKey,
    /// Where it is.
    pub step: FillStep,
    /// The bytes of its objects.
    pub bytes: u64,
    /// Bytes of these that are on disk.
    pub done_bytes: u64,
    /// Where it comes from, where it comes from somewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Where a bundle is on its way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FillStep {
    /// Its objects are being fetched.
    Fetching,
    /// It is read back from the disk and compared.
    Verifying,
    /// It is synced, renamed and adopted.
    Publishing,
}

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FillRun {
    /// Its name, which is never used again: the moment when it began, and a random number.
    pub run: String,
    /// When it began, in seconds since 1970.
    pub started_at: u64,
    /// When it ended.
    pub ended_at: u64,
    /// How it ended.
    pub outcome: RunOutcome,
    /// A sentence that says why.
    pub detail: String,
    /// The sequence of the manifest that it worked on.
    pub manifest_sequence: u64,
    /// Bundles to fetch.
    pub planned_bundles: u64,
    /// Bytes of their objects.
    pub planned_bytes: u64,
    /// Bundles that were published.
    pub published_bundles: u64,
    /// Bytes of their objects.
    pub published_bytes: u64,
    /// Bundles that were retired.
    pub retired_bundles: u64,
    /// Bytes that returned.
    pub retired_bytes: u64,
    /// Bundles that were not published, and why; at most [`crate::limits::RUN_FAILURES_MAX`], the first ones.
    pub failures: Vec<FillFailure>,
    /// Failures beyond these.
    pub more_failures: u64,
    /// Bytes received, by source, wasted ones too.
    pub sources: Vec<SourceBytes>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// Everything planned was done, or there was nothing to do.
    Completed,
    /// Some bundles failed; the rest was done.
    Incomplete,
    /// The window closed, or the night's bytes were spent.
    Suspended,
    /// The agent was told to stop, or died: the next start noticed.
    Interrupted,
    /// Nothing could be done.
    Failed,
}

/// A bundle that was not published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FillFailure {
    /// The bundle.
    pub bundle: BundleKey,
    /// Why, for programs.
    pub reason: FailureReason,
    /// Why, for people.
    pub detail: String,
}

/// Why a bundle was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// Its descriptor could not be had, or is not the manifest's.
    Descriptor,
    /// No source is known for it.
    NoSource,
    /// No source could be reached, or none answered in time.
    Unreachable,
    /// The sources refused: 4xx or 5xx, a redirect, or an answer that is no HTTP.
    Refused,
    /// They sent another length than the descriptor says.
    WrongLength,
    /// They sent other bytes.
    WrongBytes,
    /// What they sent changed in the middle of an object.
    Changed,
    /// The disk is full.
    DiskFull,
    /// The disk failed, or gave back other bytes than were written.
    DiskFailed,
    /// The volume is gone, or was isolated.
    VolumeLost,
    /// The daemon would not adopt it.
    NotAdopted,
    /// It was purged while the run was under way.
    Purged,
}

/// What came from one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SourceBytes {
    /// How far away it is.
    pub kind: SourceKind,
    /// Its name.
    pub name: String,
    /// Bytes of objects that were received from it.
    pub bytes: u64,
    /// Bytes of these that were of no use: wrong, or received twice.
    pub wasted_bytes: u64,
}

/// What a run would do now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FillPlanReport {
    /// Always 1.
    pub version: DocumentVersion,
    /// The sequence of the manifest; 0 where there is none.
    pub manifest_sequence: u64,
    /// Bundles to fetch, in that order.
    pub fetches: Vec<PlannedBundle>,
    /// Bundles to retire.
    pub retires: Vec<PlannedBundle>,
    /// Entries of the manifest that are here already.
    pub held: u64,
    /// Entries of the manifest that are left out, and why; at most [`crate::limits::PLAN_SKIPPED_MAX`], the best ranked.
    pub skipped: Vec<PlannedBundle>,
    /// Entries left out beyond these.
    pub more_skipped: u64,
}

/// One bundle of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlannedBundle {
    /// The directory that it serves.
    pub path: BundlePath,
    /// Its edition.
    pub generation: Generation,
    /// The bytes of its objects.
    pub bytes: u64,
    /// The volume's place in `store.volumes`, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<u8>,
    /// Why, in words.
    pub why: String,
}

/// The answer to `GET /history`: the last runs, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FillHistory {
    /// Always 1.
    pub version: DocumentVersion,
    /// The runs.
    pub runs: Vec<FillRun>,
}

macro_rules! words {
    ($name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $name {
            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(self.as_str())
            }
        }
    };
}

words!(FillState {
    Waiting = "waiting",
    Planning = "planning",
    Filling = "filling",
    Suspended = "suspended",
    Reporting = "reporting",
});
words!(FillStep { Fetching = "fetching", Verifying = "verifying", Publishing = "publishing" });
words!(RunOutcome {
    Completed = "completed",
    Incomplete = "incomplete",
    Suspended = "suspended",
    Interrupted = "interrupted",
    Failed = "failed",
});
words!(FailureReason {
    Descriptor = "descriptor",
    NoSource = "no_source",
    Unreachable = "unreachable",
    Refused = "refused",
    WrongLength = "wrong_length",
    WrongBytes = "wrong_bytes",
    Changed = "changed",
    DiskFull = "disk_full",
    DiskFailed = "disk_failed",
    VolumeLost = "volume_lost",
    NotAdopted = "not_adopted",
    Purged = "purged",
});

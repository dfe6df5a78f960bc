//! What a file in `nights/` says.

use std::time::Duration;

use control_client::content::{BundleKey, BundlePath, Generation, Sha256};
use control_client::fill_manifest::{FillClass, FillEntry};
use control_client::fleet::TitleName;
use control_client::sources::SourceKind;
use control_client::units::{BitRate, ByteCount, DailyWindow, duration};
use jiff::Timestamp;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// What it is about.
    #[serde(rename = "story")]
    pub(crate) _story: String,
    #[serde(deserialize_with = "moment")]
    pub(crate) from: Timestamp,
    #[serde(deserialize_with = "moment")]
    pub(crate) until: Timestamp,
    #[serde(default)]
    pub(crate) appliance: ApplianceFacts,
    pub(crate) volumes: Vec<VolumeFacts>,
    #[serde(default)]
    pub(crate) held: Vec<HeldFacts>,
    pub(crate) manifest: Vec<EntryFacts>,
    pub(crate) sources: Vec<SourceFacts>,
    #[serde(default)]
    pub(crate) events: Vec<EventFacts>,
    /// What it has to look like.
    pub(crate) night: String,
}

/// The `[fill]` section of its configuration.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ApplianceFacts {
    pub(crate) window: DailyWindow,
    pub(crate) time_zone: String,
    pub(crate) rate: BitRate,
    pub(crate) night_bytes: ByteCount,
    pub(crate) keep_free: ByteCount,
    pub(crate) churn_days: u32,
    #[serde(with = "duration")]
    pub(crate) yield_latency: Duration,
}

impl Default for ApplianceFacts {
    fn default() -> Self {
        Self {
            window: DailyWindow::new(2 * 60, 6 * 60).unwrap(),
            time_zone: "UTC".to_owned(),
            rate: BitRate::new(400_000_000),
            night_bytes: ByteCount::gib(1000),
            keep_free: ByteCount::gib(1),
            churn_days: 7,
            yield_latency: Duration::from_millis(50),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VolumeFacts {
    /// Free beside everything that is held.
    pub(crate) free: ByteCount,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeldFacts {
    pub(crate) path: BundlePath,
    #[serde(default = "first_generation")]
    pub(crate) generation: u64,
    #[serde(default)]
    pub(crate) volume: u8,
    /// The length of its file.
    pub(crate) bytes: ByteCount,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EntryFacts {
    pub(crate) path: BundlePath,
    #[serde(default = "first_generation")]
    pub(crate) generation: u64,
    pub(crate) bytes: ByteCount,
    /// A day.
    pub(crate) serves: ByteCount,
    #[serde(default = "ranked")]
    pub(crate) class: FillClass,
    #[serde(default)]
    pub(crate) expires: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceFacts {
    pub(crate) name: String,
    pub(crate) kind: SourceKind,
    pub(crate) rate: BitRate,
    #[serde(default, with = "duration")]
    pub(crate) after: Duration,
    /// All where nothing is said.
    #[serde(default)]
    pub(crate) has: Option<Vec<BundlePath>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventFacts {
    #[serde(deserialize_with = "moment")]
    pub(crate) at: Timestamp,
    pub(crate) what: Happening,
}

/// What happens.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Happening {
    SourceRate { source: String, rate: BitRate },
    SourceAway { source: String },
    SourceBack { source: String },
    SourceLies { source: String },
    SourceBusy { source: String, retry_after_seconds: u64 },
    SourceHas { source: String, path: BundlePath },
    VolumeLost { volume: u8 },
    RoomTaken { volume: u8, bytes: ByteCount },
    ClockSet { by_seconds: i64, synchronised: bool },
    Manifest { entries: Vec<EntryFacts> },
    AgentKilled {},
    AgentStarted {},
    ReadLatency { millis: u64 },
}

fn first_generation() -> u64 {
    1
}

fn ranked() -> FillClass {
    FillClass::Ranked
}

fn moment<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

impl HeldFacts {
    pub(crate) fn key(&self) -> BundleKey {
        BundleKey { path: self.path.clone(), generation: Generation::new(self.generation) }
    }
}

/// How many objects a bundle is divided into.
pub(crate) const OBJECTS: u64 = 100;

impl EntryFacts {
    pub(crate) fn entry(&self) -> FillEntry {
        let expires = self.expires.as_ref().map(|text| text.parse::<Timestamp>().unwrap().as_second());
        FillEntry {
            path: self.path.clone(),
            generation: Generation::new(self.generation),
            title: TitleName::parse("title").unwrap(),
            bytes: self.bytes.bytes(),
            objects: OBJECTS,
            score: self.serves.bytes(),
            descriptor: Sha256::new([0; 32]),
            class: self.class,
            expires_at: expires.map(|seconds| u64::try_from(seconds).unwrap()),
        }
    }
}

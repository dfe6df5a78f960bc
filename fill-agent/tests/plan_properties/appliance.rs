//! Appliances with random content.

use control_client::content::{BundleKey, BundlePath, Generation, Sha256};
use control_client::fill_manifest::{FillClass, FillEntry};
use control_client::fleet::TitleName;
use fill_agent::plan::{Held, Partial, PlanInput, VolumeRoom};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const DAY: u64 = 86_400;
pub(crate) const MIB: u64 = 1 << 20;

/// All that a plan is made from.
#[derive(Clone, Debug)]
pub(crate) struct Appliance {
    pub(crate) entries: Vec<FillEntry>,
    pub(crate) held: Vec<Held>,
    pub(crate) partial: Vec<Partial>,
    pub(crate) volumes: Vec<VolumeRoom>,
    pub(crate) keep_free_bytes: u64,
    pub(crate) night_bytes: u64,
    pub(crate) night_bytes_left: u64,
    pub(crate) churn_days: u32,
    pub(crate) clock_is_synchronised: bool,
}

/// How much there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    entries: usize,
    held: usize,
    partial: usize,
    volumes: usize,
    paths: u8,
}

impl Shape {
    pub(crate) const CROWDED: Self = Self { entries: 14, held: 14, partial: 4, volumes: 4, paths: 20 };
    /// Few enough to try everything.
    pub(crate) const SMALL: Self = Self { entries: 6, held: 5, partial: 1, volumes: 3, paths: 8 };
}

impl Appliance {
    pub(crate) fn input(&self) -> PlanInput<'_> {
        PlanInput {
            entries: &self.entries,
            held: &self.held,
            partial: &self.partial,
            volumes: &self.volumes,
            keep_free_bytes: self.keep_free_bytes,
            night_bytes: self.night_bytes,
            night_bytes_left: self.night_bytes_left,
            churn_days: self.churn_days,
            now: NOW,
            clock_is_synchronised: self.clock_is_synchronised,
        }
    }

    pub(crate) fn entry(&self, path: &BundlePath) -> Option<&FillEntry> {
        self.entries.iter().find(|entry| entry.path == *path)
    }

    pub(crate) fn is_an_entry(&self, key: &BundleKey) -> bool {
        self.entry(&key.path).is_some_and(|entry| entry.generation == key.generation)
    }

    pub(crate) fn serves(&self, volume: u8) -> bool {
        self.volumes.iter().any(|room| room.index == volume && room.is_serving)
    }

    /// Seconds that something is of use, of those that are looked at.
    pub(crate) fn life(&self, expires_at: Option<u64>) -> u64 {
        let horizon = u64::from(self.churn_days) * DAY;
        match expires_at {
            Some(moment) if self.clock_is_synchronised => moment.saturating_sub(NOW).min(horizon),
            _ => horizon,
        }
    }

    /// Bytes that an entry serves while it is looked at.
    pub(crate) fn value(&self, entry: &FillEntry) -> i128 {
        (i128::from(entry.score) * i128::from(self.life(entry.expires_at)) / i128::from(DAY)).max(1)
    }

    /// A full appliance with yesterday's list, and today's: a twentieth of the titles are others, and scores
    /// have drifted.
    pub(crate) fn of_a_large_site(entries: usize, volumes: u8) -> Self {
        let gib = 1 << 30;
        let bytes = |number: usize| (1 + number as u64 * 7919 % 5) * gib / 10;
        let score = |number: usize, day: usize| {
            let rank = (number + number * 31 * day % 997) as u64 + 1;
            2_000 * gib / rank
        };
        let entry = |number: usize| FillEntry {
            path: path(number),
            generation: Generation::new(1),
            title: TitleName::parse("title").unwrap(),
            bytes: bytes(number),
            objects: 100,
            score: score(number, 2),
            descriptor: Sha256::new([0; 32]),
            class: if number % 1000 == 7 { FillClass::Pinned } else { FillClass::Ranked },
            expires_at: None,
        };
        let held = |number: usize| Held {
            key: BundleKey { path: path(number), generation: Generation::new(1) },
            volume: (number % usize::from(volumes)) as u8,
            file_bytes: bytes(number) + MIB,
            expires_at: None,
        };
        Self {
            entries: (0..entries).map(|number| number + number / 20 * 3).map(entry).collect(),
            held: (0..entries / 4).map(|number| number * 3 + 1).map(held).collect(),
            partial: Vec::new(),
            volumes: (0..volumes)
                .map(|index| VolumeRoom { index, free_bytes: 20 * gib, owed_bytes: 0, is_serving: true })
                .collect(),
            keep_free_bytes: 10 * gib,
            night_bytes: 6656 * gib,
            night_bytes_left: 6656 * gib,
            churn_days: 7,
            clock_is_synchronised: true,
        }
    }
}

pub(crate) fn path(number: usize) -> BundlePath {
    BundlePath::parse(&format!("/titles/{number}")).unwrap()
}

fn class() -> impl Strategy<Value = FillClass> {
    prop_oneof![
        1 => Just(FillClass::Pinned),
        1 => Just(FillClass::Prewarm),
        4 => Just(FillClass::Ranked),
    ]
}

fn expiry() -> impl Strategy<Value = Option<u64>> {
    option::weighted(0.2, prop_oneof![NOW - DAY..NOW + 2 * DAY, NOW..NOW + 20 * DAY])
}

fn entry(paths: u8) -> impl Strategy<Value = FillEntry> {
    let bytes = prop_oneof![1..40 * MIB, (1..40_u64).prop_map(|mebibytes| mebibytes * MIB)];
    let score = prop_oneof![1 => Just(0), 6 => 0..30 * MIB, 1 => 0..300 * MIB];
    (0..paths, 1..4_u64, bytes, 1..4_u64, score, class(), expiry()).prop_map(
        |(number, generation, bytes, objects, score, class, expires_at)| FillEntry {
            path: path(number.into()),
            generation: Generation::new(generation),
            title: TitleName::parse("title").unwrap(),
            bytes,
            objects,
            score,
            descriptor: Sha256::new([0; 32]),
            class,
            expires_at,
        },
    )
}

fn held(shape: Shape) -> impl Strategy<Value = Held> {
    (0..shape.paths, 1..4_u64, 0..shape.volumes as u8, MIB..40 * MIB, expiry()).prop_map(
        |(number, generation, volume, file_bytes, expires_at)| Held {
            key: BundleKey { path: path(number.into()), generation: Generation::new(generation) },
            volume,
            file_bytes,
            expires_at,
        },
    )
}

/// One random appliance. Held bundles and files that were begun are of the manifest more often than not.
pub(crate) fn appliance(shape: Shape) -> impl Strategy<Value = Appliance> {
    let volume = (0..60 * MIB, prop::bool::weighted(0.9));
    let content = (
        vec(entry(shape.paths), 0..=shape.entries),
        vec(held(shape), 0..=shape.held),
        vec((0..shape.entries, 0..shape.volumes as u8, 0..=100_u64), 0..=shape.partial),
        vec(volume, 1..=shape.volumes),
    );
    let limits = (0..10 * MIB, 0..200 * MIB, 0..100_u64, 1..10_u32, prop::bool::weighted(0.8));
    (content, limits).prop_map(|(content, limits)| {
        let (mut entries, mut held, begun, volumes) = content;
        let (keep_free_bytes, night_bytes, left_percent, churn_days, clock_is_synchronised) = limits;
        let mut seen = std::collections::HashSet::new();
        entries.retain(|entry| seen.insert(entry.path.clone()));
        let mut seen = std::collections::HashSet::new();
        held.retain(|held| seen.insert(held.key.clone()));
        let partial = begun.into_iter().filter_map(|(place, volume, percent)| {
            let entry = entries.get(place)?;
            let file_bytes = cache_store::Layout::file_bytes_bound(entry.objects, entry.bytes);
            let key = BundleKey { path: entry.path.clone(), generation: entry.generation };
            Some(Partial { key, volume, file_bytes, done_bytes: entry.bytes * percent / 100 })
        });
        let mut partial: Vec<Partial> = partial.collect();
        let mut seen = std::collections::HashSet::new();
        partial.retain(|file| seen.insert((file.key.clone(), file.volume)));
        let room =
            |(index, (free_bytes, is_serving))| VolumeRoom { index, free_bytes, owed_bytes: 0, is_serving };
        Appliance {
            volumes: (0..).zip(volumes).map(room).collect(),
            partial,
            entries,
            held,
            keep_free_bytes,
            night_bytes,
            night_bytes_left: night_bytes * left_percent / 100,
            churn_days,
            clock_is_synchronised,
        }
    })
}

/// Hundreds of bundles of one class, none more than a hundredth of all the room.
pub(crate) fn large_appliance() -> impl Strategy<Value = Appliance> {
    let bundle = (10 * MIB..40 * MIB, 0..60 * MIB, any::<bool>());
    (vec(bundle, 400..700), 2..6_u8, 500..5000_u64, 0..8000_u64, 1..10_u32).prop_map(
        |(bundles, volumes, free_mebibytes, night_mebibytes, churn_days)| {
            let mut appliance = Appliance::of_a_large_site(0, volumes);
            for (number, (bytes, score, is_held)) in bundles.into_iter().enumerate() {
                if is_held {
                    let key = BundleKey { path: path(number), generation: Generation::new(1) };
                    let volume = (number % usize::from(volumes)) as u8;
                    appliance.held.push(Held { key, volume, file_bytes: bytes + MIB, expires_at: None });
                }
                // One held bundle in ten is in no list.
                if !is_held || number % 10 != 0 {
                    appliance.entries.push(FillEntry {
                        path: path(number),
                        generation: Generation::new(1),
                        title: TitleName::parse("title").unwrap(),
                        bytes,
                        objects: 10,
                        score,
                        descriptor: Sha256::new([0; 32]),
                        class: FillClass::Ranked,
                        expires_at: None,
                    });
                }
            }
            for room in &mut appliance.volumes {
                room.free_bytes = free_mebibytes * MIB / u64::from(volumes);
            }
            appliance.keep_free_bytes = 10 * MIB;
            appliance.night_bytes = night_mebibytes * MIB;
            appliance.night_bytes_left = night_mebibytes * MIB;
            appliance.churn_days = churn_days;
            appliance
        },
    )
}

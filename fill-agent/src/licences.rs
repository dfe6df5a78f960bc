//! When what is held expires, as far as any manifest has said: one that was dropped from the list by now still expires, and so does
//! one whose volume was away, when that is put back.

use std::collections::{BTreeMap, HashSet};

use cache_store::VolumeId;
use control_client::content::{BundleKey, BundlePath, Generation};
use control_client::fill_manifest::FillManifest;
use serde::{Deserialize, Serialize};

use crate::limits::LICENCES_KEPT_MAX;

/// The licences of bundles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Licences {
    of: BTreeMap<BundleKey, Licence>,
}

/// One bundle's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Licence {
    /// In seconds since 1970.
    expires_at: u64,
    /// The volumes that the bundle was seen on.
    volumes: Vec<VolumeId>,
}

/// A licence in the state folder.
#[derive(Serialize, Deserialize)]
struct Written {
    path: BundlePath,
    generation: Generation,
    expires_at: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    volumes: Vec<String>,
}

impl Licences {
    /// When that bundle expires, where a manifest said so.
    pub fn expires_at(&self, key: &BundleKey) -> Option<u64> {
        self.of.get(key).map(|licence| licence.expires_at)
    }

    /// Whether any has expired at `now`.
    pub fn has_expired(&self, now: u64) -> bool {
        self.of.values().any(|licence| licence.expires_at <= now)
    }

    /// Whether any has expired at `now` whose bundle may be on one of these volumes.
    pub fn has_expired_on(&self, now: u64, volumes: &HashSet<VolumeId>) -> bool {
        let may_be_there = |licence: &Licence| {
            licence.volumes.is_empty() || licence.volumes.iter().any(|volume| volumes.contains(volume))
        };
        self.of.values().any(|licence| licence.expires_at <= now && may_be_there(licence))
    }

    /// Takes in what a manifest says: it overrides what earlier ones did. Whether anything has changed.
    pub fn take_in(&mut self, manifest: &FillManifest) -> bool {
        let mut has_changed = false;
        for entry in &manifest.entries {
            let key = BundleKey { path: entry.path.clone(), generation: entry.generation };
            let before = self.expires_at(&key);
            match entry.expires_at {
                Some(expires_at) => self.of.entry(key).or_default().expires_at = expires_at,
                None => drop(self.of.remove(&key)),
            }
            has_changed |= before != entry.expires_at;
        }
        has_changed
    }

    /// A bundle was seen on that volume. Whether anything has changed.
    pub fn note_volume(&mut self, key: &BundleKey, volume: VolumeId) -> bool {
        let Some(licence) = self.of.get_mut(key).filter(|licence| !licence.volumes.contains(&volume)) else {
            return false;
        };
        licence.volumes.push(volume);
        true
    }

    /// Forgets those of bundles that are neither held nor listed, unless they were seen on a volume that is none of `volumes`: a
    /// bundle whose volume is away comes back with it, and its licence has ended all the same. Only for somebody who knows of
    /// everything that is held on these. Whether anything has changed.
    pub fn forget_others(
        &mut self,
        manifest: Option<&FillManifest>,
        volumes: &HashSet<VolumeId>,
        is_held: impl Fn(&BundleKey) -> bool,
    ) -> bool {
        let entries = manifest.into_iter().flat_map(|manifest| &manifest.entries);
        let listed: HashSet<(&BundlePath, Generation)> =
            entries.map(|entry| (&entry.path, entry.generation)).collect();
        let is_needed = |key: &BundleKey| listed.contains(&(&key.path, key.generation)) || is_held(key);
        let before = self.of.len();
        self.of.retain(|key, licence| {
            is_needed(key) || !licence.volumes.iter().all(|volume| volumes.contains(volume))
        });
        // Volumes that never come back leave theirs behind: the oldest go.
        let excess = self.of.len().saturating_sub(LICENCES_KEPT_MAX);
        if excess > 0 {
            let away = self.of.iter().filter(|(key, _)| !is_needed(key));
            let mut away: Vec<(u64, BundleKey)> =
                away.map(|(key, licence)| (licence.expires_at, key.clone())).collect();
            away.sort_unstable();
            away.iter().take(excess).for_each(|(_, key)| drop(self.of.remove(key)));
        }
        self.of.len() != before
    }
}

impl Serialize for Licences {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.of.iter().map(|(key, licence)| Written {
            path: key.path.clone(),
            generation: key.generation,
            expires_at: licence.expires_at,
            volumes: licence.volumes.iter().map(VolumeId::to_string).collect(),
        }))
    }
}

impl<'de> Deserialize<'de> for Licences {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Vec::<Written>::deserialize(deserializer)?;
        let of = written.into_iter().map(|written| {
            let volumes = written.volumes.iter().filter_map(|id| VolumeId::parse(id)).collect();
            let key = BundleKey { path: written.path, generation: written.generation };
            (key, Licence { expires_at: written.expires_at, volumes })
        });
        Ok(Self { of: of.collect() })
    }
}

#[cfg(test)]
mod tests {
    use control_client::content::Sha256;
    use control_client::fill_manifest::{FillClass, FillEntry};
    use control_client::fleet::{ApplianceName, TitleName};
    use control_client::wire::DocumentVersion;

    use super::*;

    fn key(path: &str) -> BundleKey {
        BundleKey { path: BundlePath::parse(path).unwrap(), generation: Generation::new(1) }
    }

    fn manifest(entries: &[(&str, Option<u64>)]) -> FillManifest {
        let entry = |(path, expires_at): &(&str, Option<u64>)| FillEntry {
            path: BundlePath::parse(path).unwrap(),
            generation: Generation::new(1),
            title: TitleName::parse("t").unwrap(),
            bytes: 1,
            objects: 1,
            score: 1,
            descriptor: Sha256::new([1; 32]),
            class: FillClass::Ranked,
            expires_at: *expires_at,
        };
        FillManifest {
            version: DocumentVersion,
            audience: ApplianceName::parse("oca-1").unwrap(),
            sequence: 1,
            issued_at: 0,
            entries: entries.iter().map(entry).collect(),
        }
    }

    #[test]
    fn a_licence_is_remembered_while_its_bundle_is_held_and_the_newest_manifest_has_the_last_word() {
        let mut licences = Licences::default();
        assert!(licences.take_in(&manifest(&[("/a", Some(10)), ("/b", Some(20))])));
        let newest = manifest(&[("/b", None), ("/c", Some(30))]);
        assert!(licences.take_in(&newest));
        assert!(!licences.take_in(&newest), "nothing new");
        assert_eq!((licences.expires_at(&key("/a")), licences.expires_at(&key("/b"))), (Some(10), None));
        let text = serde_json::to_string(&licences).unwrap();
        assert_eq!(serde_json::from_str::<Licences>(&text).unwrap(), licences);
        assert!(licences.has_expired(10) && !licences.has_expired(9));
        let none = HashSet::new();
        assert!(!licences.forget_others(Some(&newest), &none, |held| *held == key("/a")), "held, and listed");
        assert!(licences.forget_others(Some(&newest), &none, |_| false), "neither held nor listed");
        assert_eq!((licences.expires_at(&key("/a")), licences.expires_at(&key("/c"))), (None, Some(30)));
    }

    #[test]
    fn a_licence_is_remembered_while_a_volume_that_its_bundle_was_seen_on_is_away() {
        let [first, second] = [1, 2].map(|number| VolumeId::new([number; 16]));
        let mut licences = Licences::default();
        licences.take_in(&manifest(&[("/a", Some(10)), ("/b", Some(20))]));
        assert!(licences.note_volume(&key("/a"), first) && !licences.note_volume(&key("/a"), first));
        assert!(licences.note_volume(&key("/a"), second) && !licences.note_volume(&key("/c"), second));
        let text = serde_json::to_string(&licences).unwrap();
        assert_eq!(serde_json::from_str::<Licences>(&text).unwrap(), licences);
        let (both, one) = (HashSet::from([first, second]), HashSet::from([second]));
        assert!(licences.has_expired_on(10, &one) && !licences.has_expired_on(10, &HashSet::new()));
        assert!(licences.forget_others(None, &one, |_| false), "it was seen nowhere");
        assert_eq!((licences.expires_at(&key("/a")), licences.expires_at(&key("/b"))), (Some(10), None));
        assert!(!licences.has_expired_on(20, &HashSet::from([VolumeId::new([3; 16])])));
        assert!(licences.forget_others(None, &both, |_| false), "neither volume has it any more");
        assert_eq!(licences, Licences::default());
    }
}

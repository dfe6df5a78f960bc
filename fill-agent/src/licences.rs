//! When what is held expires, as far as any manifest has said: one that was dropped from the list by now still expires.

use std::collections::{BTreeMap, HashSet};

use control_client::content::{BundleKey, BundlePath, Generation};
use control_client::fill_manifest::FillManifest;
use serde::{Deserialize, Serialize};

/// Expiries, in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Licences {
    expiries: BTreeMap<BundleKey, u64>,
}

#[derive(Serialize, Deserialize)]
struct Licence {
    path: BundlePath,
    generation: Generation,
    expires_at: u64,
}

impl Licences {
    /// When that bundle expires, where a manifest said so.
    pub fn expires_at(&self, key: &BundleKey) -> Option<u64> {
        self.expiries.get(key).copied()
    }

    /// Whether any has expired at `now`.
    pub fn has_expired(&self, now: u64) -> bool {
        self.expiries.values().any(|expires_at| *expires_at <= now)
    }

    /// Takes in what a manifest says: it overrides what earlier ones did. Whether anything has changed.
    pub fn take_in(&mut self, manifest: &FillManifest) -> bool {
        let mut has_changed = false;
        for entry in &manifest.entries {
            let key = BundleKey { path: entry.path.clone(), generation: entry.generation };
            let before = match entry.expires_at {
                Some(expires_at) => self.expiries.insert(key, expires_at),
                None => self.expiries.remove(&key),
            };
            has_changed |= before != entry.expires_at;
        }
        has_changed
    }

    /// Forgets those of bundles that are neither held nor listed. Only for somebody who knows of everything that is held: a
    /// bundle whose volume is away comes back with it, and its licence has ended all the same. Whether anything has changed.
    pub fn forget_others(
        &mut self,
        manifest: Option<&FillManifest>,
        is_held: impl Fn(&BundleKey) -> bool,
    ) -> bool {
        let entries = manifest.into_iter().flat_map(|manifest| &manifest.entries);
        let listed: HashSet<(&BundlePath, Generation)> =
            entries.map(|entry| (&entry.path, entry.generation)).collect();
        let before = self.expiries.len();
        self.expiries.retain(|key, _| listed.contains(&(&key.path, key.generation)) || is_held(key));
        self.expiries.len() != before
    }
}

impl Serialize for Licences {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.expiries.iter().map(|(key, expires_at)| Licence {
            path: key.path.clone(),
            generation: key.generation,
            expires_at: *expires_at,
        }))
    }
}

impl<'de> Deserialize<'de> for Licences {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let licences = Vec::<Licence>::deserialize(deserializer)?;
        let expiries = licences.into_iter().map(|licence| {
            (BundleKey { path: licence.path, generation: licence.generation }, licence.expires_at)
        });
        Ok(Self { expiries: expiries.collect() })
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
        assert!(!licences.forget_others(Some(&newest), |held| *held == key("/a")), "held, and listed");
        assert!(licences.forget_others(Some(&newest), |_| false), "neither held nor listed");
        assert_eq!((licences.expires_at(&key("/a")), licences.expires_at(&key("/c"))), (None, Some(30)));
    }
}

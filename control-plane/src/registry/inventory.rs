use std::collections::BTreeMap;

use control_client::content::BundleKey;
use control_client::fleet::ApplianceName;
use control_client::report::{HeldBundle, InventoryReport};

use super::RegistryError;
use super::appliances::{held_bundle, held_key};
use crate::database::{Change, DatabaseError};
use crate::limits;

/// What became of an inventory that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InventoryOutcome {
    /// None was told.
    NotTold,
    /// It was taken: this is its revision.
    Taken(u64),
    /// It is a change of a revision that is not the known one: all of it is asked for.
    WrongBase,
}

/// What turns one inventory into another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What comes in, or has another length.
    pub put: Vec<HeldBundle>,
    /// What goes.
    pub removed: Vec<BundleKey>,
}

impl Difference {
    /// From what is known to what is told.
    pub fn between(known: &[HeldBundle], told: &[HeldBundle]) -> Self {
        let mut missing: BTreeMap<BundleKey, u64> =
            known.iter().map(|bundle| (held_key(bundle), bundle.bytes)).collect();
        let mut put = BTreeMap::new();
        for bundle in told {
            let key = held_key(bundle);
            if missing.remove(&key) != Some(bundle.bytes) {
                // Of one that is told twice, the last word counts.
                put.insert(key, bundle.clone());
            }
        }
        Self { put: put.into_values().collect(), removed: missing.into_keys().collect() }
    }
}

/// Applies what an appliance tells of its inventory to what is known: `known` is the revision.
pub(super) async fn apply(
    change: &mut Change<'_>,
    appliance: &ApplianceName,
    known: Option<u64>,
    report: Option<&InventoryReport>,
) -> Result<InventoryOutcome, RegistryError> {
    let Some(report) = report else { return Ok(InventoryOutcome::NotTold) };
    let (difference, revision) = match report {
        InventoryReport::Full { revision, bundles } => {
            check_count(bundles.len())?;
            (Difference::between(&read(change, appliance).await?, bundles), *revision)
        }
        InventoryReport::Delta { from, revision, added, removed } => {
            check_count(added.len().max(removed.len()))?;
            if known != Some(*from) {
                return Ok(InventoryOutcome::WrongBase);
            }
            let mut put: BTreeMap<BundleKey, HeldBundle> = BTreeMap::new();
            put.extend(added.iter().map(|bundle| (held_key(bundle), bundle.clone())));
            (Difference { put: put.into_values().collect(), removed: removed.clone() }, *revision)
        }
    };
    write(change, appliance, difference).await?;
    Ok(InventoryOutcome::Taken(revision))
}

fn check_count(bundles: usize) -> Result<(), RegistryError> {
    if bundles > limits::INVENTORY_BUNDLES_MAX {
        let most = limits::INVENTORY_BUNDLES_MAX;
        return Err(RegistryError::Refused(format!(
            "the inventory has {bundles} bundles; {most} are possible"
        )));
    }
    Ok(())
}

async fn read(change: &mut Change<'_>, appliance: &ApplianceName) -> Result<Vec<HeldBundle>, DatabaseError> {
    let sql = "SELECT path, generation, bytes FROM holdings WHERE appliance = $1";
    change.rows(sql, vec![appliance.as_str().into()]).await?.iter().map(held_bundle).collect()
}

/// What goes, goes first: a change may take a bundle out and bring it back in.
async fn write(
    change: &mut Change<'_>,
    appliance: &ApplianceName,
    difference: Difference,
) -> Result<(), DatabaseError> {
    for key in difference.removed {
        let sql = "DELETE FROM holdings WHERE appliance = $1 AND path = $2 AND generation = $3";
        let arguments =
            vec![appliance.as_str().into(), key.path.as_str().into(), key.generation.number().into()];
        change.execute(sql, arguments).await?;
    }
    let rows = difference
        .put
        .iter()
        .map(|bundle| {
            vec![
                appliance.as_str().into(),
                bundle.path.as_str().into(),
                bundle.generation.number().into(),
                bundle.bytes.into(),
            ]
        })
        .collect();
    let sql = "INSERT INTO holdings (appliance, path, generation, bytes) VALUES {rows} \
               ON CONFLICT (appliance, path, generation) DO UPDATE SET bytes = excluded.bytes";
    change.execute_many(sql, 4, rows).await
}

#[cfg(test)]
mod tests {
    use control_client::content::{BundlePath, Generation};

    use super::*;

    fn held(path: &str, bytes: u64) -> HeldBundle {
        HeldBundle { path: BundlePath::parse(path).unwrap(), generation: Generation::new(1), bytes }
    }

    #[test]
    fn only_what_differs_is_written() {
        let known = [held("/a", 1), held("/b", 2), held("/c", 3)];
        let difference = Difference::between(&known, &[held("/b", 2), held("/c", 4), held("/d", 5)]);
        assert_eq!(difference.put, [held("/c", 4), held("/d", 5)]);
        assert_eq!(difference.removed, [held_key(&held("/a", 1))]);
        assert_eq!(Difference::between(&known, &known), Difference::default());
    }

    #[test]
    fn a_bundle_that_is_told_twice_is_held_once() {
        let difference = Difference::between(&[], &[held("/a", 1), held("/a", 2)]);
        assert_eq!(difference.put, [held("/a", 2)]);
    }
}

use std::time::Duration;

use control_client::content::{BundlePath, Generation};
use control_client::fleet::{RegionName, SiteName, TitleName};
use control_client::report::{HeldBundle, Report};

use super::*;
use crate::catalogue::{self, CataloguedBundle, Title};
use crate::fleet::SiteFacts;
use crate::hysteresis::Standing;
use crate::limits::BUNDLE_NUMBERS_MAX;
use crate::steering::Question;

async fn publish(database: &Database, path: &str) -> BundleKey {
    let name = TitleName::parse("film").unwrap();
    let key = BundleKey { path: BundlePath::parse(path).unwrap(), generation: Generation::new(1) };
    let title = Title {
        name: name.clone(),
        regions: vec![],
        published_at: 1,
        release_at: None,
        expires_at: None,
        pinned: false,
        similar_to: None,
        tags: vec![],
        seasons: vec![],
        directories: vec![],
    };
    let descriptor = control_client::digest::sha256(path.as_bytes());
    let bundle =
        CataloguedBundle { key: key.clone(), title: name, bytes: 1, objects: 1, descriptor, published_at: 1 };
    let mut change = database.change().await.unwrap();
    change.count("catalogue").await.unwrap();
    catalogue::put_title(&mut change, &title).await.unwrap();
    catalogue::put_bundle(&mut change, &bundle, path.to_owned()).await.unwrap();
    change.commit().await.unwrap();
    key
}

fn report(appliance: &ApplianceName, bundles: &[&BundleKey]) -> Report {
    let held = |key: &&BundleKey| HeldBundle { path: key.path.clone(), generation: key.generation, bytes: 1 };
    Report {
        version: Default::default(),
        appliance: appliance.clone(),
        instance: "one".to_owned(),
        sequence: 1,
        at: 1,
        health: None,
        load: None,
        inventory: Some(InventoryReport::Full { revision: 3, bundles: bundles.iter().map(held).collect() }),
        demand: vec![],
        runs: vec![],
        manifest_sequence: 0,
        manifest_refused: None,
        directives: vec![],
        dropped: Default::default(),
    }
}

#[tokio::test]
async fn when_numbers_run_out_a_new_fleet_knows_all_that_the_old_one_knew() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("state.db").display());
    let database = Database::open(&url).await.unwrap();
    let (site, name) = (SiteName::parse("edge").unwrap(), ApplianceName::parse("oca-1").unwrap());
    let region = RegionName::parse("north").unwrap();
    let facts = SiteFacts { name: site.clone(), region, upstream: None, prefixes: vec![] };
    registry::add_site(&database, facts).await.unwrap();
    registry::add_appliance(&database, &name, &site).await.unwrap();
    let first = publish(&database, "/film/a").await;
    registry::accept(&database, &name, &report(&name, &[&first]), 1).await.unwrap();
    let mirror = Mirror::new(vec![]);
    mirror.refresh(&database).await.unwrap();
    let standing = Some(Standing::Serving);
    mirror.fleet().update(&name, MemberUpdate { standing, utilisation: None });
    mirror.seen.lock().await.next_number = BUNDLE_NUMBERS_MAX;
    let second = publish(&database, "/film/b").await;
    let before = mirror.fleet();
    mirror.refresh(&database).await.unwrap();
    let fleet = mirror.fleet();
    assert!(!Arc::ptr_eq(&before, &fleet));
    let (first, second) = (fleet.number_of(&first).unwrap(), fleet.number_of(&second).unwrap());
    assert_eq!(first + second, 1, "numbered from 0 again");
    let (_, member) = fleet.appliance(&name).unwrap();
    assert!(member.standing.is_serving() && member.held.contains(first) && !member.held.contains(second));
    assert_eq!(fleet.inventory_revision(&name), Some(3));
}

#[tokio::test]
async fn answers_hold_as_long_as_the_configuration_says_in_a_new_fleet_too() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("state.db").display());
    let database = Database::open(&url).await.unwrap();
    publish(&database, "/film/a").await;
    let config = ControlPlaneConfig { ttl_beyond: Duration::from_secs(7), ..ControlPlaneConfig::default() };
    let mirror = Mirror::of(&config);
    let holds = |fleet: &Fleet| {
        let path = BundlePath::parse("/film/a").unwrap();
        fleet.steer(&Question { client: [192, 0, 2, 1].into(), path: &path, explain: false }).ttl_seconds
    };
    mirror.refresh(&database).await.unwrap();
    let before = mirror.fleet();
    assert_eq!(holds(&before), 7);
    mirror.seen.lock().await.next_number = BUNDLE_NUMBERS_MAX;
    publish(&database, "/film/b").await;
    mirror.refresh(&database).await.unwrap();
    assert!(!Arc::ptr_eq(&before, &mirror.fleet()));
    assert_eq!(holds(&mirror.fleet()), 7);
}

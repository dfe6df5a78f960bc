//! What leaves the catalogue and the fleet, and what moves, the same on both databases.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "support/fleet.rs"]
mod support;

use control_client::fleet::RegionName;
use control_client::load::Load;
use control_client::report::{InventoryReport, Order};
use control_client::units::BitRate;
use control_client::wire::DocumentVersion;
use control_plane::catalogue::{self, Catalogue};
use control_plane::database::{Database, number};
use control_plane::hysteresis::{Hysteresis, Standing};
use control_plane::mirror::Mirror;
use control_plane::planning::{Facts, RegionDemand};
use control_plane::publish::publish;
use control_plane::registry::{self, ApplianceChange, RegistryError};
use control_plane::standings::Standings;
use control_plane::steering::Utilisation;

use support::*;

/// Sites `edge` (north) and `far` (south); `oca-1` at `edge` has enrolled and reported, and holds `/film/high`.
async fn fleet(database: &Database) {
    registry::add_site(database, site_facts("edge", "north", None, &["192.0.2.0/24"])).await.unwrap();
    registry::add_site(database, site_facts("far", "south", None, &[])).await.unwrap();
    let name = appliance("oca-1");
    registry::add_appliance(database, &name, &site("edge")).await.unwrap();
    registry::enrol(database, &name, &enrolment("http://192.0.2.7", "", 1 << 30), NOW).await.unwrap();
    let files = tree(&[("high/1.m4s", "first"), ("low/1.m4s", "one")]);
    publish(database, files.path(), &path("/film"), publication("film", Some(1)), NOW * 1_000_000)
        .await
        .unwrap();
    let mut told = report("oca-1", "one", 1);
    told.inventory = Some(InventoryReport::Full { revision: 3, bundles: vec![held("/film/high", 1, 1)] });
    told.demand = vec![demand(TODAY, "/film/high", 1, 100, 0)];
    registry::accept(database, &name, &told, NOW).await.unwrap();
    registry::order(database, &name, Order::FillNow, NOW).await.unwrap();
}

async fn rows(database: &Database, table: &str) -> u64 {
    let row = database.read_one(&format!("SELECT COUNT(*) FROM {table}"), vec![]).await.unwrap();
    number(&row.unwrap(), 0).unwrap()
}

on_every_database! {
    async fn a_title_that_is_removed_leaves_nothing_in_the_catalogue_and_frees_its_paths(test: &TestDatabase) {
        let database = &test.database;
        fleet(database).await;
        let files = tree(&[("high/1.m4s", "another")]);
        publish(database, files.path(), &path("/film"), publication("film", Some(2)), 1).await.unwrap();
        let mut regional = publication("other", Some(1));
        regional.regions = vec![RegionName::parse("north").unwrap()];
        publish(database, files.path(), &path("/other"), regional, 1).await.unwrap();
        let mirror = Mirror::new(vec![]);
        mirror.refresh(database).await.unwrap();
        assert_eq!(catalogue::remove_title(database, &title("film")).await.unwrap(), Some(2));
        assert_eq!(catalogue::remove_title(database, &title("film")).await.unwrap(), None);
        assert!(mirror.refresh(database).await.unwrap().catalogue, "control planes that run see it");
        assert_eq!(mirror.fleet().number_of(&key("/film/high", 1)), None);
        let left = Catalogue::read(database).await.unwrap();
        assert_eq!((left.titles.len(), left.bundles.len()), (1, 1));
        assert_eq!((rows(database, "descriptors").await, rows(database, "title_regions").await), (1, 1));
        assert_eq!(catalogue::remove_title(database, &title("other")).await.unwrap(), Some(1));
        for table in ["titles", "title_regions", "title_directories", "bundles", "descriptors"] {
            assert_eq!(rows(database, table).await, 0, "{table}");
        }
        publish(database, files.path(), &path("/film"), publication("successor", Some(1)), 1).await.unwrap();
    }

    async fn an_appliance_that_is_removed_leaves_only_what_its_viewers_asked_for(test: &TestDatabase) {
        let database = &test.database;
        fleet(database).await;
        let name = appliance("oca-1");
        let digest = registry::token_digest(database, &name).await.unwrap().unwrap();
        let mirror = Mirror::new(vec![]);
        mirror.refresh(database).await.unwrap();
        assert!(mirror.fleet().appliance(&name).is_some());
        registry::remove_appliance(database, &name).await.unwrap();
        assert!(matches!(registry::remove_appliance(database, &name).await, Err(RegistryError::UnknownAppliance(_))));
        assert_eq!(registry::appliance_of_token(database, &digest).await.unwrap(), None);
        for table in ["appliances", "holdings", "runs", "directives", "reported_days", "manifests"] {
            assert_eq!(rows(database, table).await, 0, "{table}");
        }
        assert_eq!((rows(database, "demand").await, rows(database, "site_demand").await), (1, 1));
        assert_eq!(mirror.refresh(database).await.unwrap().appliances, Some(vec![]));
        assert!(mirror.fleet().appliance(&name).is_none(), "nobody is steered there any more");
        let late = registry::accept(database, &name, &report("oca-1", "one", 2), NOW).await;
        assert!(matches!(late, Err(RegistryError::UnknownAppliance(_))));
        registry::add_appliance(database, &name, &site("far")).await.unwrap();
        mirror.refresh(database).await.unwrap();
        assert_eq!(mirror.fleet().inventory_revision(&name), None, "one of the same name begins anew");
    }

    async fn an_appliance_that_moves_keeps_what_it_holds_and_serves_its_new_region(test: &TestDatabase) {
        let database = &test.database;
        fleet(database).await;
        let (name, far) = (appliance("oca-1"), Some(site("far")));
        let mirror = Mirror::new(vec![]);
        mirror.refresh(database).await.unwrap();
        let moved = ApplianceChange { site: far.clone(), ..ApplianceChange::default() };
        registry::change_appliance(database, &name, &moved).await.unwrap();
        assert!(mirror.refresh(database).await.unwrap().appliances.is_some(), "control planes that run see it");
        let (at, member) = mirror.fleet().appliance(&name).unwrap();
        assert_eq!((Some(at), member.held.len()), (far, 1));
        assert!(mirror.fleet().appliances_of(&site("edge")).is_empty());
        let facts = Facts::read(database).await.unwrap();
        assert_eq!(facts.appliances_of(&site("far")).len(), 1);
        let north = RegionDemand::read(database, &facts, &"north".parse().unwrap(), NOW).await.unwrap();
        assert_eq!(north.served[&site("edge")], 100, "what was asked for there stays there");
        let nowhere = ApplianceChange { site: Some(site("nowhere")), ..ApplianceChange::default() };
        let refused = registry::change_appliance(database, &name, &nowhere).await;
        assert!(matches!(refused, Err(RegistryError::UnknownSite(_))), "{refused:?}");
        let stranger = registry::change_appliance(database, &appliance("oca-9"), &moved).await;
        assert!(matches!(stranger, Err(RegistryError::UnknownAppliance(_))));
    }

    async fn egress_counts_against_the_links_that_the_operator_told_of(test: &TestDatabase) {
        let database = &test.database;
        fleet(database).await;
        let name = appliance("oca-1");
        let policy = Hysteresis { misses: 1, recoveries: 1 };
        let load = Load {
            version: DocumentVersion,
            interval_millis: 1_000,
            egress_bits_per_second: 19_000_000_000,
            requests_per_second: 0,
            connections: 1,
            reads_per_second: 0,
            read_latency_p50_micros: 0,
            read_latency_p99_micros: 0,
        };
        let mut told = report("oca-1", "one", 2);
        told.health = Some(health(control_client::health::Readiness::Serving, control_client::health::Verdict::Healthy));
        told.load = Some(load);
        registry::accept(database, &name, &told, NOW).await.unwrap();
        let utilisation = async || {
            let appliances = registry::appliances(database).await.unwrap();
            let turns = Standings::new(policy).follow(&appliances, NOW);
            assert_eq!(turns[0].1.to, Standing::Unknown);
            turns[0].1.utilisation
        };
        assert_eq!(utilisation().await, Utilisation::percent(0), "only connections count");
        let link = BitRate::new(20_000_000_000);
        let wanted = ApplianceChange { link_bits_per_second: Some(link.bits_per_second()), ..ApplianceChange::default() };
        registry::change_appliance(database, &name, &wanted).await.unwrap();
        assert_eq!(registry::appliance(database, &name).await.unwrap().unwrap().link, Some(link));
        assert_eq!(utilisation().await, Utilisation::percent(95));
        let unknown = ApplianceChange { link_bits_per_second: Some(0), ..ApplianceChange::default() };
        registry::change_appliance(database, &name, &unknown).await.unwrap();
        assert_eq!(registry::appliance(database, &name).await.unwrap().unwrap().link, None);
    }

    async fn orders_and_enrolments_of_one_appliance_do_not_stand_in_each_others_way(test: &TestDatabase) {
        let database = &test.database;
        fleet(database).await;
        let name = appliance("oca-1");
        let orders = async {
            for _ in 0..40 {
                registry::order(database, &name, Order::FillNow, NOW).await.unwrap();
            }
        };
        let enrolments = async {
            for capacity in 1..=40 {
                registry::enrol(database, &name, &enrolment("http://192.0.2.7", "", capacity << 20), NOW).await.unwrap();
            }
        };
        tokio::join!(orders, enrolments);
        assert_eq!(rows(database, "directives").await, 41);
    }
}

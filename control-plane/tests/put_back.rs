//! Databases and state folders that were put back from a copy, and numbers that grow beyond what they should, the same on both
//! databases.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "support/fleet.rs"]
mod support;

use std::sync::Arc;

use control_client::content::Generation;
use control_client::fill_manifest::{FillClass, FillEntry, SignedManifest};
use control_client::report::{InventoryReport, Order};
use control_plane::catalogue;
use control_plane::database::{Database, number};
use control_plane::keys::StateFolder;
use control_plane::limits;
use control_plane::mirror::Mirror;
use control_plane::planning::{self, Facts, Issued, RegionDemand};
use control_plane::publish::{Publication, publish};
use control_plane::registry::{self, Novelty};
use control_plane::steering::Question;

use support::*;

async fn fleet(database: &Database) {
    registry::add_site(database, site_facts("edge", "north", None, &["192.0.2.0/24"])).await.unwrap();
    registry::add_appliance(database, &appliance("oca-1"), &site("edge")).await.unwrap();
    let files = tree(&[("high/1.m4s", "first"), ("low/1.m4s", "one")]);
    publish(database, files.path(), &path("/film"), publication("film", Some(1)), NOW * 1_000_000)
        .await
        .unwrap();
}

fn entry() -> FillEntry {
    FillEntry {
        path: path("/film/high"),
        generation: Generation::new(1),
        title: title("film"),
        bytes: 5,
        objects: 1,
        score: 1,
        descriptor: control_client::digest::sha256(b"descriptor"),
        class: FillClass::Ranked,
        expires_at: None,
    }
}

async fn sums(database: &Database) -> Vec<u64> {
    let sql = "SELECT requests, bytes, absent, (SELECT bytes FROM site_demand) FROM demand WHERE path = '/film/high'";
    let row = database.read_one(sql, vec![]).await.unwrap().unwrap();
    (0..4).map(|column| number(&row, column).unwrap()).collect()
}

on_every_database! {
    async fn a_manifest_is_above_what_the_appliance_has_even_where_the_database_was_put_back(test: &TestDatabase) {
        let database = &test.database;
        fleet(database).await;
        let folder = tempfile::tempdir().unwrap();
        let signer = Arc::new(StateFolder::open(folder.path()).unwrap().signer_or_first().unwrap());
        let name = appliance("oca-1");
        let issue = async |now| planning::issue(database, &signer, &name, vec![entry()], now).await.unwrap();
        assert_eq!(issue(NOW).await, Issued::New(NOW));
        assert_eq!(issue(NOW + 1).await, Issued::Unchanged(NOW));
        // What this database knows nothing of any more: a later manifest, by a clock that was ahead.
        let later = NOW + 90_000;
        let mut told = report("oca-1", "one", 1);
        told.manifest_sequence = later;
        registry::accept(database, &name, &told, NOW).await.unwrap();
        assert_eq!(issue(NOW + 60).await, Issued::New(later + 1), "the same list, with a sequence that it takes");
        assert_eq!(issue(NOW + 61).await, Issued::Unchanged(later + 1));
        let (_, document) = planning::newest(database, &name).await.unwrap().unwrap();
        let signed: SignedManifest = serde_json::from_str(&document).unwrap();
        signed.open(&[signer.key.trusted_key(&signer.id)], &name, later).unwrap();
        // A sequence that no manifest can have hurts nobody else.
        told.sequence = 2;
        told.manifest_sequence = u64::MAX;
        registry::accept(database, &name, &told, NOW).await.unwrap();
        assert_eq!(issue(NOW + 62).await, Issued::Unchanged(later + 1));
    }

    async fn an_appliance_that_is_removed_while_its_manifest_is_made_gets_none(test: &TestDatabase) {
        let database = &test.database;
        fleet(database).await;
        let folder = tempfile::tempdir().unwrap();
        let signer = Arc::new(StateFolder::open(folder.path()).unwrap().signer_or_first().unwrap());
        registry::remove_appliance(database, &appliance("oca-1")).await.unwrap();
        let issued = planning::issue(database, &signer, &appliance("oca-1"), vec![entry()], NOW).await.unwrap();
        assert_eq!(issued, Issued::Gone);
    }

    async fn no_order_has_the_number_of_one_that_was_given_before(test: &TestDatabase) {
        let database = &test.database;
        fleet(database).await;
        let name = appliance("oca-1");
        let first = registry::order(database, &name, Order::FillNow, NOW).await.unwrap();
        let second = registry::order(database, &name, Order::FillNow, NOW).await.unwrap();
        assert_eq!((first.id, second.id), (NOW, NOW + 1));
        // As after the copy of before both was put back.
        let mut change = database.change().await.unwrap();
        change.execute("UPDATE counters SET value = 0 WHERE name = 'directive'", vec![]).await.unwrap();
        change.commit().await.unwrap();
        let later = registry::order(database, &name, Order::Drain, NOW + 60).await.unwrap();
        assert!(later.id > second.id);
    }

    async fn a_drain_is_never_refused_and_the_last_one_counts(test: &TestDatabase) {
        let database = &test.database;
        fleet(database).await;
        let name = appliance("oca-1");
        for _ in 0..limits::DIRECTIVES_WAITING_MAX {
            registry::order(database, &name, Order::FillNow, NOW).await.unwrap();
        }
        registry::order(database, &name, Order::Drain, NOW).await.unwrap();
        registry::order(database, &name, Order::Undrain, NOW).await.unwrap();
        let last = registry::order(database, &name, Order::Drain, NOW).await.unwrap();
        assert!(registry::appliance(database, &name).await.unwrap().unwrap().withdrawn);
        let waiting = registry::accept(database, &name, &report("oca-1", "one", 1), NOW).await.unwrap().directives;
        assert_eq!(waiting.len() as u64, limits::DIRECTIVES_WAITING_MAX + 1);
        assert_eq!(waiting.last(), Some(&last));
    }

    async fn reports_of_a_state_folder_that_was_put_back_are_counted(test: &TestDatabase) {
        let database = &test.database;
        fleet(database).await;
        let name = appliance("oca-1");
        let mut told = report("oca-1", "one", 500);
        told.demand = vec![demand(TODAY, "/film/high", 1, 10, 0)];
        registry::accept(database, &name, &told, NOW).await.unwrap();
        // A folder of a week ago, which goes on where it was.
        for (sequence, at) in [(100, NOW + 3_600), (101, NOW + 3_660)] {
            (told.sequence, told.at) = (sequence, at);
            told.inventory = Some(InventoryReport::Full { revision: sequence, bundles: vec![held("/film/high", 1, 1)] });
            let accepted = registry::accept(database, &name, &told, at).await.unwrap();
            let expected = if sequence == 100 { Novelty::RolledBack } else { Novelty::New };
            assert_eq!((accepted.novelty, accepted.inventory_revision), (expected, Some(sequence)));
        }
        // What was on its way meanwhile is late, and not counted again.
        (told.sequence, told.at) = (99, NOW - 600);
        assert_eq!(registry::accept(database, &name, &told, NOW).await.unwrap().novelty, Novelty::Late);
        assert_eq!(sums(database).await, [3, 30, 0, 30]);
    }

    async fn sums_of_demand_stay_within_what_databases_hold(test: &TestDatabase) {
        let database = &test.database;
        fleet(database).await;
        let most = limits::DEMAND_SUM_MAX;
        let mut told = report("oca-1", "one", 1);
        told.demand = vec![demand(TODAY, "/film/high", u64::MAX, u64::MAX, u64::MAX)];
        registry::accept(database, &appliance("oca-1"), &told, NOW).await.unwrap();
        let mut change = database.change().await.unwrap();
        let near = format!("UPDATE demand SET requests = {0}, bytes = {0}, absent = {0}", most - 1);
        change.execute(&near, vec![]).await.unwrap();
        change.execute(&format!("UPDATE site_demand SET bytes = {}", most - 1), vec![]).await.unwrap();
        change.commit().await.unwrap();
        for sequence in 2..=3 {
            told.sequence = sequence;
            registry::accept(database, &appliance("oca-1"), &told, NOW).await.unwrap();
            assert_eq!(sums(database).await, [most; 4]);
        }
        let facts = Facts::read(database).await.unwrap();
        RegionDemand::read(database, &facts, &"north".parse().unwrap(), NOW).await.unwrap();
        assert!(most.checked_mul(u64::from(limits::DEMAND_DAYS_KEPT)).is_some_and(|sum| i64::try_from(sum).is_ok()));
    }

    async fn what_an_appliance_held_before_it_was_published_is_steered_to(test: &TestDatabase) {
        let database = &test.database;
        fleet(database).await;
        let name = appliance("oca-1");
        let mut told = report("oca-1", "one", 1);
        let early = ["/early/a", "/early/b"];
        told.inventory =
            Some(InventoryReport::Full { revision: 1, bundles: early.map(|at| held(at, 1, 1)).to_vec() });
        registry::accept(database, &name, &told, NOW).await.unwrap();
        // A control plane that starts after the inventory was told, and one that heard it.
        let (started, heard) = (Mirror::new(vec![]), Mirror::new(vec![]));
        for mirror in [&started, &heard] {
            mirror.refresh(database).await.unwrap();
        }
        heard.apply_inventory(database, &name, told.inventory.as_ref().unwrap(), Some(1)).await.unwrap();
        for (number, at) in early.into_iter().enumerate() {
            let files = tree(&[("1.m4s", at)]);
            let publication = publication(&format!("early-{number}"), Some(1));
            publish(database, files.path(), &path(at), publication, 1).await.unwrap();
            for mirror in [&started, &heard] {
                mirror.refresh(database).await.unwrap();
                mirror.follow_inventories(database).await.unwrap();
                let (_, member) = mirror.fleet().appliance(&name).unwrap();
                assert_eq!(member.held.len(), number as u64 + 1);
            }
        }
        // Taken out of the catalogue and put back, it has another number.
        catalogue::remove_title(database, &title("early-0")).await.unwrap();
        started.refresh(database).await.unwrap();
        publish(database, tree(&[("1.m4s", early[0])]).path(), &path(early[0]), publication("early-0", Some(1)), 1)
            .await
            .unwrap();
        started.refresh(database).await.unwrap();
        started.follow_inventories(database).await.unwrap();
        let fleet = started.fleet();
        let number = fleet.number_of(&key(early[0], 1)).unwrap();
        assert!(fleet.appliance(&name).unwrap().1.held.contains(number));
    }

    async fn what_is_not_released_yet_or_no_longer_licensed_is_steered_to_nobody(test: &TestDatabase) {
        let database = &test.database;
        fleet(database).await;
        let now = control_plane::plane::now();
        let files = tree(&[("1.m4s", "one")]);
        let title = async |name: &str, release_at, expires_at| {
            let told = Publication { release_at, expires_at, ..publication(name, Some(1)) };
            publish(database, files.path(), &path(&format!("/{name}")), told, 1).await.unwrap();
        };
        title("later", Some(now + 86_400), None).await;
        title("over", None, Some(now - 1)).await;
        title("open", Some(now - 1), Some(now + 86_400)).await;
        let mirror = Mirror::new(vec!["https://origin.example.net".to_owned()]);
        mirror.refresh(database).await.unwrap();
        let candidates = |name: &str| {
            let (client, path) = ("192.0.2.9".parse().unwrap(), path(&format!("/{name}")));
            mirror.fleet().steer(&Question { client, path: &path, explain: false }).candidates.len()
        };
        assert_eq!((candidates("later"), candidates("over"), candidates("open")), (0, 0, 1));
        title("later", Some(now - 1), None).await;
        mirror.refresh(database).await.unwrap();
        assert_eq!(candidates("later"), 1, "it was released sooner");
    }

    async fn an_appliance_that_is_away_for_long_keeps_no_title_to_itself(test: &TestDatabase) {
        let database = &test.database;
        fleet(database).await;
        for name in ["oca-1", "oca-2"] {
            if name == "oca-2" {
                registry::add_appliance(database, &appliance(name), &site("edge")).await.unwrap();
            }
            registry::enrol(database, &appliance(name), &enrolment("http://192.0.2.7", "", 1 << 30), NOW).await.unwrap();
        }
        let later = NOW + 2 * planning::ABSENT_SECONDS;
        registry::accept(database, &appliance("oca-2"), &report("oca-2", "one", 1), later).await.unwrap();
        let facts = Facts::read(database).await.unwrap();
        let demand = RegionDemand::read(database, &facts, &"north".parse().unwrap(), later).await.unwrap();
        let ranked = planning::rank_region(&facts.catalogue, &"north".parse().unwrap(), &demand, later);
        let appliances = facts.appliances_of(&site("edge"));
        let planned = |absent_before| {
            planning::plan_site(&facts.catalogue, &ranked, &site("edge"), &appliances, 1.0, absent_before).appliances
        };
        assert_eq!(planned(later - planning::ABSENT_SECONDS), [appliance("oca-2")]);
        assert_eq!(planned(0), [appliance("oca-1"), appliance("oca-2")], "nobody is absent yet");
    }

    async fn days_are_of_the_region_where_the_appliance_stood(test: &TestDatabase) {
        let database = &test.database;
        fleet(database).await;
        registry::add_site(database, site_facts("far", "south", None, &[])).await.unwrap();
        let name = appliance("oca-1");
        registry::accept(database, &name, &report("oca-1", "one", 1), NOW).await.unwrap();
        let moved = registry::ApplianceChange { site: Some(site("far")), ..Default::default() };
        registry::change_appliance(database, &name, &moved).await.unwrap();
        let facts = Facts::read(database).await.unwrap();
        let days = async |region: &str| {
            RegionDemand::read(database, &facts, &region.parse().unwrap(), NOW).await.unwrap().reported.len()
        };
        assert_eq!((days("north").await, days("south").await), (1, 0));
    }

    async fn what_is_new_in_an_old_title_is_ranked_as_new(test: &TestDatabase) {
        let database = &test.database;
        registry::add_site(database, site_facts("edge", "north", None, &[])).await.unwrap();
        let month = 30 * 86_400;
        let files = tree(&[("1/a.m4s", "first")]);
        let published = async |at: u64| {
            publish(database, files.path(), &path("/series"), publication("series", None), at * 1_000_000).await.unwrap()
        };
        published(NOW - month).await;
        std::fs::create_dir(files.path().join("2")).unwrap();
        std::fs::write(files.path().join("2/a.m4s"), "other").unwrap();
        published(NOW).await;
        // A new edition of an old path is no new path.
        std::fs::write(files.path().join("1/a.m4s"), "third").unwrap();
        published(NOW).await;
        let facts = Facts::read(database).await.unwrap();
        let moments: Vec<_> =
            facts.catalogue.current_places().map(|(_, one)| (one.key.path.as_str(), one.published_at)).collect();
        assert_eq!(moments, [("/series/1", NOW - month), ("/series/2", NOW)]);
        let demand = RegionDemand::read(database, &facts, &"north".parse().unwrap(), NOW).await.unwrap();
        let ranked = planning::rank_region(&facts.catalogue, &"north".parse().unwrap(), &demand, NOW);
        let first = &facts.catalogue.bundles[ranked.bundles[ranked.ranking.ranked[0].item]];
        assert_eq!(first.key.path, path("/series/2"));
        assert!(ranked.ranking.ranked[0].per_byte > 2.0 * ranked.ranking.ranked[1].per_byte);
    }

    async fn another_copy_of_the_same_files_changes_nothing(test: &TestDatabase) {
        let database = &test.database;
        let files = tree(&[("a/1", "1"), ("b/1", "1")]);
        let first = publish(database, files.path(), &path("/t"), publication("t", None), 5_000_000).await.unwrap();
        let file = std::fs::File::options().write(true).open(files.path().join("a/1")).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000)).unwrap();
        let again = publish(database, files.path(), &path("/t"), publication("t", None), 9_000_000).await.unwrap();
        assert_eq!((again.unchanged, again.bundles), (2, first.bundles));
    }
}

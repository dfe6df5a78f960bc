//! Catalogue, registry, reports and manifests, the same on both databases.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "support/fleet.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use control_client::content::{Generation, ObjectName};
use control_client::descriptor::Descriptor;
use control_client::fill_manifest::{FillClass, FillEntry, ManifestRefused, SignedManifest};
use control_client::report::{DirectiveResult, InventoryReport, Order};
use control_client::signature::TrustedKey;
use control_plane::catalogue::{self, Catalogue};
use control_plane::database::{Database, number, text};
use control_plane::keys::StateFolder;
use control_plane::limits;
use control_plane::mirror::Mirror;
use control_plane::planning::{self, Facts, Issued, RegionDemand};
use control_plane::publish::{PublishError, publish};
use control_plane::registry::{self, InventoryOutcome, Novelty, RegistryError};
use control_plane::steering::Question;

use support::*;

/// Two sites in one region with an appliance each, and the title `film` with two bundles of generation 1.
async fn small_fleet(database: &Database) {
    registry::add_site(database, site_facts("core", "north", None, &[])).await.unwrap();
    registry::add_site(database, site_facts("edge", "north", Some("core"), &["192.0.2.0/24"])).await.unwrap();
    for (name, at) in [("oca-1", "edge"), ("oca-2", "core")] {
        registry::add_appliance(database, &appliance(name), &site(at)).await.unwrap();
        let enrolment = enrolment(&format!("http://{name}.example.net"), "", 1 << 30);
        registry::enrol(database, &appliance(name), &enrolment, NOW).await.unwrap();
    }
    let files = tree(&[("high/1.m4s", "first"), ("high/2.m4s", "second"), ("low/1.m4s", "one")]);
    publish(database, files.path(), &path("/film"), publication("film", Some(1)), NOW * 1_000_000)
        .await
        .unwrap();
}

async fn demand_of(database: &Database, at: &str) -> Vec<(u64, u64, u64, u64)> {
    let sql = "SELECT day, requests, bytes, absent FROM demand WHERE path = $1 ORDER BY day";
    let rows = database.read(sql, vec![at.into()]).await.unwrap();
    rows.iter()
        .map(|row| {
            (
                number(row, 0).unwrap(),
                number(row, 1).unwrap(),
                number(row, 2).unwrap(),
                number(row, 3).unwrap(),
            )
        })
        .collect()
}

on_every_database! {
    async fn a_directory_becomes_a_title_with_a_bundle_for_each_directory_that_has_files(test: &TestDatabase) {
        let files = tree(&[("master.m3u8", "#EXTM3U"), ("high/1.m4s", "abc"), ("high/0.m4s", ""), ("empty/deep/x.txt", "x")]);
        let published =
            publish(&test.database, files.path(), &path("/t"), publication("t", Some(7)), 1).await.unwrap();
        let told: Vec<_> = published.bundles.iter().map(|one| (one.key.clone(), one.objects, one.bytes)).collect();
        assert_eq!(told, [(key("/t", 7), 1, 7), (key("/t/empty/deep", 7), 1, 1), (key("/t/high", 7), 2, 3)]);
        let catalogue = Catalogue::read(&test.database).await.unwrap();
        assert_eq!(catalogue.titles, [published.title]);
        assert_eq!(catalogue.bundles, published.bundles);
        let high = &catalogue.bundles[2];
        let content = catalogue::descriptor(&test.database, &high.descriptor).await.unwrap().unwrap();
        let descriptor = Descriptor::parse(content.as_bytes(), &high.descriptor, &high.key).unwrap();
        assert_eq!(descriptor.objects[1].media_type, "video/iso.segment");
        // The example of FIPS 180.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(descriptor.objects[1].sha256.to_string(), abc);
    }

    async fn publishing_again_changes_only_what_has_changed(test: &TestDatabase) {
        let database = &test.database;
        let files = tree(&[("a/1", "1"), ("b/1", "1"), ("c/1", "1")]);
        publish(database, files.path(), &path("/t"), publication("t", Some(1)), 1).await.unwrap();
        let again = publish(database, files.path(), &path("/t"), publication("t", None), 5_000_000).await.unwrap();
        assert_eq!((again.unchanged, again.withdrawn.len()), (3, 0));
        std::fs::write(files.path().join("b/1"), "2").unwrap();
        std::fs::remove_dir_all(files.path().join("c")).unwrap();
        let mut changed = publication("t", None);
        changed.pinned = true;
        let third = publish(database, files.path(), &path("/t"), changed, 9_000_000).await.unwrap();
        assert_eq!(third.bundles.iter().map(|one| one.key.clone()).collect::<Vec<_>>(), [key("/t/a", 1), key("/t/b", 9_000_000)]);
        assert_eq!(third.withdrawn.iter().map(|one| one.key.clone()).collect::<Vec<_>>(), [key("/t/c", 1)]);
        let catalogue = Catalogue::read(database).await.unwrap();
        assert!(catalogue.titles[0].pinned);
        assert_eq!(catalogue.titles[0].published_at, 0, "the first publication counts");
        let current: Vec<_> = catalogue.current_places().map(|(_, one)| one.key.clone()).collect();
        assert_eq!(current, [key("/t/a", 1), key("/t/b", 9_000_000)]);
        assert_eq!(catalogue.bundles.len(), 3, "the older edition is remembered while appliances may have it");
    }

    async fn only_the_last_generations_are_remembered(test: &TestDatabase) {
        let files = tree(&[("1", "0")]);
        for generation in 1..=6 {
            std::fs::write(files.path().join("1"), generation.to_string()).unwrap();
            publish(&test.database, files.path(), &path("/t"), publication("t", Some(generation)), 1).await.unwrap();
        }
        let bundles = Catalogue::read(&test.database).await.unwrap().bundles;
        assert_eq!(bundles.iter().map(|one| one.key.generation.number()).collect::<Vec<_>>(), [6, 5, 4]);
        let rows = test.database.read("SELECT COUNT(*) FROM descriptors", vec![]).await.unwrap();
        assert_eq!(number(&rows[0], 0).unwrap(), limits::GENERATIONS_KEPT as u64);
    }

    async fn what_cannot_be_published_changes_nothing(test: &TestDatabase) {
        let database = &test.database;
        let files = tree(&[("1", "1")]);
        publish(database, files.path(), &path("/t"), publication("t", Some(5)), 1).await.unwrap();
        let before = Catalogue::read(database).await.unwrap();
        let other = publish(database, files.path(), &path("/t"), publication("other", None), 1).await;
        assert!(matches!(other, Err(PublishError::Taken { owner, .. }) if owner == title("t")));
        std::fs::write(files.path().join("1"), "2").unwrap();
        let same = publish(database, files.path(), &path("/t"), publication("t", Some(5)), 1).await;
        assert!(matches!(same, Err(PublishError::Generation { newest, .. }) if newest == Generation::new(5)));
        let empty = tree(&[]);
        assert!(matches!(publish(database, empty.path(), &path("/e"), publication("e", None), 1).await, Err(PublishError::Nothing)));
        let mut backwards = publication("b", None);
        (backwards.release_at, backwards.expires_at) = (Some(20), Some(10));
        assert!(matches!(publish(database, files.path(), &path("/b"), backwards, 1).await, Err(PublishError::Times)));
        let mut itself = publication("i", None);
        itself.similar_to = Some(title("i"));
        assert!(matches!(publish(database, files.path(), &path("/i"), itself, 1).await, Err(PublishError::SimilarToItself)));
        assert_eq!(Catalogue::read(database).await.unwrap(), before);
    }

    async fn media_manifests_are_kept_as_published_and_forgotten_with_their_generation(test: &TestDatabase) {
        let database = &test.database;
        let master = |url: &str| format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{url}\n");
        let long = format!("<MPD>{}</MPD>", " ".repeat(limits::MPD_BYTES_MAX as usize));
        let files = tree(&[
            ("master.m3u8", master("a/media.m3u8").as_str()),
            ("manifest.mpd", "<MPD></MPD>"),
            ("long.mpd", long.as_str()),
            ("broken.mpd", "no XML"),
            ("a/media.m3u8", "#EXTM3U\n#EXTINF:4,\n1.m4s\n"),
        ]);
        let first = publish(database, files.path(), &path("/t"), publication("t", Some(1)), 1).await.unwrap();
        let unsteered: Vec<&str> = first.unsteered.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(unsteered, ["/t/broken.mpd", "/t/long.mpd"]);
        let of = async |generation, at: &str, name: &str| {
            let name = ObjectName::parse(name).unwrap();
            catalogue::media_manifest(database, &key(at, generation), &name).await.unwrap()
        };
        assert_eq!(of(1, "/t", "master.m3u8").await, Some(master("a/media.m3u8")));
        assert_eq!(of(1, "/t", "manifest.mpd").await.as_deref(), Some("<MPD></MPD>"));
        assert_eq!(of(1, "/t", "broken.mpd").await, None);
        assert_eq!(of(1, "/t/a", "media.m3u8").await, None, "a playlist of segments is none");

        // A catalogue that was made before they were kept gets them when the title is published again.
        let mut change = database.change().await.unwrap();
        change.execute("DELETE FROM media_manifests", vec![]).await.unwrap();
        change.commit().await.unwrap();
        publish(database, files.path(), &path("/t"), publication("t", None), 2).await.unwrap();
        assert_eq!(of(1, "/t", "master.m3u8").await, Some(master("a/media.m3u8")));

        for generation in 2..=1 + limits::GENERATIONS_KEPT as u64 {
            std::fs::write(files.path().join("master.m3u8"), master(&format!("{generation}.m3u8"))).unwrap();
            std::fs::write(files.path().join("a/media.m3u8"), generation.to_string()).unwrap();
            publish(database, files.path(), &path("/t"), publication("t", Some(generation)), 2).await.unwrap();
        }
        assert_eq!(of(1, "/t", "master.m3u8").await, None, "it went with its generation");
        assert_eq!(of(2, "/t", "master.m3u8").await, Some(master("2.m3u8")));
    }

    async fn links_are_not_followed_when_publishing(test: &TestDatabase) {
        let secret = tree(&[("secret", "s")]);
        let files = tree(&[("1", "1")]);
        std::os::unix::fs::symlink(secret.path().join("secret"), files.path().join("2")).unwrap();
        std::os::unix::fs::symlink(secret.path(), files.path().join("folder")).unwrap();
        let published = publish(&test.database, files.path(), &path("/t"), publication("t", None), 1).await.unwrap();
        assert_eq!(published.bundles.len(), 1);
        assert_eq!(published.bundles[0].objects, 1);
        assert_eq!(published.skipped.len(), 2);
    }

    async fn sites_that_cannot_be_are_refused(test: &TestDatabase) {
        let database = &test.database;
        registry::add_site(database, site_facts("a", "r", None, &["192.0.2.0/24", "2001:db8::/32"])).await.unwrap();
        let twice = registry::add_site(database, site_facts("a", "r", None, &[])).await;
        assert!(matches!(twice, Err(RegistryError::SiteTaken(_))));
        let no_upstream = registry::add_site(database, site_facts("b", "r", Some("nowhere"), &[])).await;
        assert!(matches!(no_upstream, Err(RegistryError::Topology(_))));
        let conflict = registry::add_site(database, site_facts("b", "r", Some("a"), &["192.0.2.77/24"])).await;
        assert!(matches!(conflict, Err(RegistryError::Topology(_))));
        registry::add_site(database, site_facts("b", "r", Some("a"), &["192.0.2.128/25"])).await.unwrap();
        registry::add_prefix(database, &site("b"), "198.51.100.9/24".parse().unwrap()).await.unwrap();
        registry::add_prefix(database, &site("b"), "198.51.100.0/24".parse().unwrap()).await.unwrap();
        let taken = registry::add_prefix(database, &site("a"), "198.51.100.0/24".parse().unwrap()).await;
        assert!(matches!(taken, Err(RegistryError::Topology(_))));
        registry::remove_prefix(database, "198.51.100.0/24".parse().unwrap()).await.unwrap();
        let gone = registry::remove_prefix(database, "198.51.100.0/24".parse().unwrap()).await;
        assert!(matches!(gone, Err(RegistryError::UnknownPrefix(_))));
        let facts = registry::site_facts(database).await.unwrap();
        assert_eq!(facts, [
            site_facts("a", "r", None, &["192.0.2.0/24", "2001:db8::/32"]),
            site_facts("b", "r", Some("a"), &["192.0.2.128/25"]),
        ]);
    }

    async fn only_the_digest_of_a_token_is_kept(test: &TestDatabase) {
        let database = &test.database;
        registry::add_site(database, site_facts("a", "r", None, &[])).await.unwrap();
        let unknown = registry::add_appliance(database, &appliance("oca-1"), &site("nowhere")).await;
        assert!(matches!(unknown, Err(RegistryError::UnknownSite(_))));
        let token = registry::add_appliance(database, &appliance("oca-1"), &site("a")).await.unwrap();
        let again = registry::add_appliance(database, &appliance("oca-1"), &site("a")).await;
        assert!(matches!(again, Err(RegistryError::ApplianceTaken(_))));
        let digest = registry::token_digest(database, &appliance("oca-1")).await.unwrap().unwrap();
        assert_eq!(digest, token.sha256());
        let kept = database.read("SELECT token_sha256 FROM appliances", vec![]).await.unwrap();
        assert_ne!(text(&kept[0], 0).unwrap(), token.as_str());
        let new = registry::renew_token(database, &appliance("oca-1")).await.unwrap();
        let digest = registry::token_digest(database, &appliance("oca-1")).await.unwrap().unwrap();
        assert_eq!(digest, new.sha256());
        assert_ne!(new, token);
        assert_eq!(registry::appliance_of_token(database, &new.sha256()).await.unwrap(), Some(appliance("oca-1")));
        assert_eq!(registry::appliance_of_token(database, &token.sha256()).await.unwrap(), None);
    }

    async fn each_number_counts_once(test: &TestDatabase) {
        let database = &test.database;
        small_fleet(database).await;
        let mut told = report("oca-1", "one", 1);
        told.demand = vec![demand(TODAY, "/film/high", 10, 1000, 1), demand(TODAY - 1, "/film/high", 1, 7, 0)];
        for expected in [Novelty::New, Novelty::Repeated, Novelty::Repeated] {
            let accepted = registry::accept(database, &appliance("oca-1"), &told, NOW).await.unwrap();
            assert_eq!(accepted.novelty, expected);
        }
        assert_eq!(demand_of(database, "/film/high").await, [
            (u64::from(TODAY) - 1, 1, 7, 0),
            (u64::from(TODAY), 10, 1000, 1),
        ]);
        told.sequence = 2;
        registry::accept(database, &appliance("oca-1"), &told, NOW).await.unwrap();
        told.appliance = appliance("oca-2");
        registry::accept(database, &appliance("oca-2"), &told, NOW).await.unwrap();
        assert_eq!(demand_of(database, "/film/high").await[1], (u64::from(TODAY), 30, 3000, 3));
    }

    async fn a_report_with_a_number_that_is_too_low_is_acknowledged_and_changes_nothing(test: &TestDatabase) {
        let database = &test.database;
        small_fleet(database).await;
        let mut newest = report("oca-1", "one", 9);
        newest.inventory = Some(InventoryReport::Full { revision: 4, bundles: vec![held("/film/high", 1, 11)] });
        newest.manifest_sequence = 8;
        registry::accept(database, &appliance("oca-1"), &newest, NOW).await.unwrap();
        let mut late = report("oca-1", "one", 3);
        late.demand = vec![demand(TODAY, "/film/high", 10, 1000, 0)];
        late.inventory = Some(InventoryReport::Full { revision: 1, bundles: vec![] });
        let accepted = registry::accept(database, &appliance("oca-1"), &late, NOW + 1).await.unwrap();
        assert_eq!((accepted.novelty, accepted.inventory), (Novelty::Late, InventoryOutcome::NotTold));
        assert_eq!(accepted.inventory_revision, Some(4));
        assert_eq!(demand_of(database, "/film/high").await, []);
        assert_eq!(registry::holdings(database, &appliance("oca-1")).await.unwrap(), [held("/film/high", 1, 11)]);
        let one = registry::appliance(database, &appliance("oca-1")).await.unwrap().unwrap();
        assert_eq!((one.report_sequence, one.manifest_sequence), (9, 8));
    }

    async fn another_state_folder_counts_anew_and_tells_all_of_its_inventory(test: &TestDatabase) {
        let database = &test.database;
        small_fleet(database).await;
        let mut first = report("oca-1", "one", 500);
        first.inventory = Some(InventoryReport::Full { revision: 4, bundles: vec![held("/film/high", 1, 11)] });
        registry::accept(database, &appliance("oca-1"), &first, NOW).await.unwrap();
        let mut other = report("oca-1", "two", 1);
        other.demand = vec![demand(TODAY, "/film/high", 1, 10, 0)];
        other.inventory = Some(InventoryReport::Delta { from: 4, revision: 5, added: vec![], removed: vec![] });
        let accepted = registry::accept(database, &appliance("oca-1"), &other, NOW).await.unwrap();
        assert_eq!((accepted.novelty, accepted.inventory), (Novelty::NewInstance, InventoryOutcome::WrongBase));
        assert_eq!(accepted.inventory_revision, None);
        assert_eq!(demand_of(database, "/film/high").await.len(), 1);
    }

    async fn a_change_of_the_inventory_needs_the_right_base(test: &TestDatabase) {
        let database = &test.database;
        small_fleet(database).await;
        let name = appliance("oca-1");
        let mut told = report("oca-1", "one", 1);
        told.inventory = Some(InventoryReport::Delta { from: 1, revision: 2, added: vec![held("/film/low", 1, 9)], removed: vec![] });
        let accepted = registry::accept(database, &name, &told, NOW).await.unwrap();
        assert_eq!((accepted.inventory, accepted.inventory_revision), (InventoryOutcome::WrongBase, None));
        told.sequence = 2;
        told.inventory =
            Some(InventoryReport::Full { revision: 2, bundles: vec![held("/film/low", 1, 9), held("/film/high", 1, 11)] });
        registry::accept(database, &name, &told, NOW).await.unwrap();
        told.sequence = 3;
        told.inventory = Some(InventoryReport::Delta {
            from: 2,
            revision: 3,
            added: vec![held("/film/low", 2, 10), held("/film/high", 1, 12)],
            removed: vec![key("/film/low", 1), key("/never/was", 1)],
        });
        let accepted = registry::accept(database, &name, &told, NOW).await.unwrap();
        assert_eq!((accepted.inventory, accepted.inventory_revision), (InventoryOutcome::Taken(3), Some(3)));
        let now_held = [held("/film/high", 1, 12), held("/film/low", 2, 10)];
        assert_eq!(registry::holdings(database, &name).await.unwrap(), now_held);
        // Once more, as after a lost answer: its base is not the known one any more, so all of it is asked
        // for, and nothing is lost.
        let accepted = registry::accept(database, &name, &told, NOW).await.unwrap();
        assert_eq!(accepted.inventory_revision, None);
        assert_eq!(registry::holdings(database, &name).await.unwrap(), now_held);
    }

    async fn two_reports_at_once_count_once_each(test: &TestDatabase) {
        let database = &test.database;
        small_fleet(database).await;
        let reports = |name: &'static str| {
            (1..=4_u64).flat_map(move |sequence| {
                let mut told = report(name, "one", sequence);
                told.demand = vec![demand(TODAY, "/film/low", 1, 10, 0), demand(TODAY, "/film/high", 1, 10, 0)];
                // Each of them twice.
                [told.clone(), told]
            })
        };
        let accepting = reports("oca-1").chain(reports("oca-2")).map(|told| async move {
            let name = told.appliance.clone();
            registry::accept(database, &name, &told, NOW).await.unwrap().novelty
        });
        let novelties = futures_util::future::join_all(accepting).await;
        let new = novelties.iter().filter(|novelty| **novelty == Novelty::New).count() as u64;
        // Numbers that were overtaken are late, and not counted; whatever the order, what is new counts once.
        assert!((2..=8).contains(&new), "{novelties:?}");
        assert_eq!(demand_of(database, "/film/low").await, [(u64::from(TODAY), new, new * 10, 0)]);
        assert_eq!(demand_of(database, "/film/high").await, [(u64::from(TODAY), new, new * 10, 0)]);
    }

    async fn many_reports_at_once_for_the_same_directories_are_all_counted(test: &TestDatabase) {
        let database = &test.database;
        small_fleet(database).await;
        let names: Vec<String> = (0..700).map(|number| format!("d{number}")).collect();
        let files: Vec<_> = names.iter().map(|name| format!("{name}/1")).collect();
        let files: Vec<_> = files.iter().map(|name| (name.as_str(), "1")).collect();
        publish(database, tree(&files).path(), &path("/many"), publication("many", Some(1)), 1).await.unwrap();
        let appliances: Vec<String> = (0..12).map(|number| format!("many-{number}")).collect();
        for name in &appliances {
            registry::add_appliance(database, &appliance(name), &site("edge")).await.unwrap();
        }
        // Each begins somewhere else, so that statements have different rows in common.
        let reporting = appliances.iter().enumerate().map(|(place, name)| {
            let paths = (0..600).map(|number| &names[(place * 57 + number) % names.len()]);
            let mut told = report(name, "one", 1);
            told.demand = paths.map(|name| demand(TODAY, &format!("/many/{name}"), 1, 10, 0)).collect();
            let merged = told.demand.drain(..).flat_map(|day| day.paths).collect();
            told.demand = vec![control_client::report::DayDemand { day: TODAY, paths: merged }];
            async move { registry::accept(database, &told.appliance.clone(), &told, NOW).await.unwrap() }
        });
        futures_util::future::join_all(reporting).await;
        let sql = "SELECT CAST(SUM(bytes) AS BIGINT), COUNT(*) FROM demand";
        let row = database.read_one(sql, vec![]).await.unwrap().unwrap();
        assert_eq!((number(&row, 0).unwrap(), number(&row, 1).unwrap()), (12 * 600 * 10, 700));
    }

    async fn a_report_that_is_refused_leaves_nothing_behind(test: &TestDatabase) {
        let database = &test.database;
        small_fleet(database).await;
        let name = appliance("oca-1");
        let mut told = report("oca-1", "one", 1);
        told.demand = vec![demand(TODAY, "/film/high", 1, 10, 0)];
        told.inventory = Some(InventoryReport::Full {
            revision: 1,
            bundles: vec![held("/film/high", 1, 1); limits::INVENTORY_BUNDLES_MAX + 1],
        });
        let refused = registry::accept(database, &name, &told, NOW).await;
        assert!(matches!(refused, Err(RegistryError::Refused(_))));
        assert_eq!(demand_of(database, "/film/high").await, []);
        let one = registry::appliance(database, &name).await.unwrap().unwrap();
        assert_eq!((one.report_sequence, one.reported_at), (0, None));
        told.inventory = None;
        let accepted = registry::accept(database, &name, &told, NOW).await.unwrap();
        assert_eq!(accepted.novelty, Novelty::New);
        for wrong in [report("oca-2", "one", 2), report("oca-1", "", 2), report("oca-1", "a\0b", 2), report("oca-1", "one", 0)] {
            assert!(matches!(registry::accept(database, &name, &wrong, NOW).await, Err(RegistryError::Refused(_))));
        }
        let stranger = registry::accept(database, &appliance("oca-9"), &report("oca-9", "one", 1), NOW).await;
        assert!(matches!(stranger, Err(RegistryError::UnknownAppliance(_))));
    }

    async fn demand_for_directories_that_no_title_has_is_passed_over(test: &TestDatabase) {
        let database = &test.database;
        small_fleet(database).await;
        let mut told = report("oca-1", "one", 1);
        told.demand = vec![demand(TODAY, "/wp-admin", 9, 9, 9), demand(TODAY, "/film/low", 1, u64::MAX, u64::MAX)];
        registry::accept(database, &appliance("oca-1"), &told, NOW).await.unwrap();
        assert_eq!(demand_of(database, "/wp-admin").await, []);
        let most = limits::DEMAND_MAX;
        assert_eq!(demand_of(database, "/film/low").await, [(u64::from(TODAY), 1, most, most)]);
    }

    async fn large_reports_are_taken_whole(test: &TestDatabase) {
        let database = &test.database;
        small_fleet(database).await;
        let mut told = report("oca-1", "one", 1);
        let bundles: Vec<_> = (0..1_700).map(|number| held(&format!("/film/{number}"), 1, number + 1)).collect();
        told.inventory = Some(InventoryReport::Full { revision: 1, bundles: bundles.clone() });
        told.demand = (0..1_300).map(|number| demand(TODAY, &format!("/film/{number}"), 1, 1, 0)).collect::<Vec<_>>();
        let merged = control_client::report::DayDemand {
            day: TODAY,
            paths: told.demand.drain(..).flat_map(|day| day.paths).chain(demand(TODAY, "/film/high", 2, 20, 0).paths).collect(),
        };
        told.demand = vec![merged];
        registry::accept(database, &appliance("oca-1"), &told, NOW).await.unwrap();
        assert_eq!(registry::holdings(database, &appliance("oca-1")).await.unwrap().len(), bundles.len());
        assert_eq!(demand_of(database, "/film/high").await, [(u64::from(TODAY), 2, 20, 0)]);
        told.sequence = 2;
        told.demand = vec![];
        told.inventory = Some(InventoryReport::Full { revision: 2, bundles: bundles[..3].to_vec() });
        registry::accept(database, &appliance("oca-1"), &told, NOW).await.unwrap();
        assert_eq!(registry::holdings(database, &appliance("oca-1")).await.unwrap().len(), 3);
    }

    async fn runs_are_kept_once_and_not_for_ever(test: &TestDatabase) {
        let database = &test.database;
        small_fleet(database).await;
        let run = |number| fill_run(number, String::new());
        for sequence in 1..=3_u64 {
            let mut told = report("oca-1", "one", sequence);
            told.runs = (1..=60).map(|number| run(sequence * 40 + number)).collect();
            registry::accept(database, &appliance("oca-1"), &told, NOW).await.unwrap();
        }
        let kept = registry::runs(database, &appliance("oca-1")).await.unwrap();
        assert_eq!(kept.len(), limits::RUNS_KEPT);
        assert_eq!(kept[0], run(180));
        assert_eq!(kept[99], run(81));
    }

    async fn a_directive_is_given_until_its_result_comes(test: &TestDatabase) {
        let database = &test.database;
        small_fleet(database).await;
        let name = appliance("oca-1");
        let drain = registry::order(database, &name, Order::Drain, NOW).await.unwrap();
        let purge = Order::Purge { path: path("/film"), prefix: true };
        let purge = registry::order(database, &name, purge, NOW).await.unwrap();
        assert!(registry::appliance(database, &name).await.unwrap().unwrap().withdrawn);
        let first = registry::accept(database, &name, &report("oca-1", "one", 1), NOW).await.unwrap();
        assert_eq!(first.directives, [drain.clone(), purge.clone()]);
        // Another appliance's word on it counts for nothing.
        let mut other = report("oca-2", "one", 1);
        other.directives = vec![DirectiveResult { id: drain.id, failure: None }];
        registry::accept(database, &appliance("oca-2"), &other, NOW).await.unwrap();
        let mut told = report("oca-1", "one", 2);
        told.directives = vec![DirectiveResult { id: drain.id, failure: None }, DirectiveResult { id: 999, failure: None }];
        let second = registry::accept(database, &name, &told, NOW).await.unwrap();
        assert_eq!(second.directives, std::slice::from_ref(&purge));
        told.sequence = 3;
        told.directives = vec![DirectiveResult { id: purge.id, failure: Some("the disk is full".to_owned()) }];
        assert_eq!(registry::accept(database, &name, &told, NOW + 5).await.unwrap().directives, []);
        let history = registry::directives(database, &name).await.unwrap();
        assert_eq!(history[0].failure.as_deref(), Some("the disk is full"));
        assert_eq!(history[0].done_at, Some(NOW + 5));
        let undrain = registry::order(database, &name, Order::Undrain, NOW).await.unwrap();
        assert!(undrain.id > purge.id);
        assert!(!registry::appliance(database, &name).await.unwrap().unwrap().withdrawn);
    }

    async fn orders_that_nobody_fetches_are_bounded(test: &TestDatabase) {
        let database = &test.database;
        small_fleet(database).await;
        for _ in 0..limits::DIRECTIVES_WAITING_MAX {
            registry::order(database, &appliance("oca-1"), Order::FillNow, NOW).await.unwrap();
        }
        let refused = registry::order(database, &appliance("oca-1"), Order::FillNow, NOW).await;
        assert!(matches!(refused, Err(RegistryError::TooManyDirectives)));
        let stranger = registry::order(database, &appliance("oca-9"), Order::FillNow, NOW).await;
        assert!(matches!(stranger, Err(RegistryError::UnknownAppliance(_))));
    }

    async fn a_manifest_is_made_only_where_something_differs(test: &TestDatabase) {
        let database = &test.database;
        small_fleet(database).await;
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let signer = Arc::new(state.signer_or_first().unwrap());
        let name = appliance("oca-1");
        let plan = async |now| {
            let facts = Facts::read(database).await.unwrap();
            let demand = RegionDemand::read(database, &facts, &facts.regions()[0], now).await.unwrap();
            let ranked = planning::rank_region(&facts.catalogue, &facts.regions()[0], &demand, now);
            let plan = planning::plan_site(&facts.catalogue, &ranked, &site("edge"), &facts.appliances_of(&site("edge")), 0.5, 0);
            plan.entries(&facts.catalogue, &ranked, plan.place_of(&name).unwrap())
        };
        let entries = plan(NOW).await;
        assert_eq!(entries.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>().len(), 2);
        assert_eq!(planning::issue(database, &signer, &name, entries.clone(), NOW).await.unwrap(), Issued::New(NOW));
        let again = planning::issue(database, &signer, &name, entries.clone(), NOW + 60).await.unwrap();
        assert_eq!(again, Issued::Unchanged(NOW));
        // A clock that is set back does not set the sequence back.
        let fewer = planning::issue(database, &signer, &name, entries[..1].to_vec(), NOW - 9_000).await.unwrap();
        assert_eq!(fewer, Issued::New(NOW + 1));
        let (sequence, document) = planning::newest(database, &name).await.unwrap().unwrap();
        assert_eq!(sequence, NOW + 1);
        let size = planning::newest_size(database, &name).await.unwrap();
        assert_eq!(size, Some((NOW + 1, document.len() as u64)));
        let signed: SignedManifest = serde_json::from_str(&document).unwrap();
        let trusted: Vec<TrustedKey> = vec![signer.key.trusted_key(&signer.id)];
        let manifest = signed.open(&trusted, &name, NOW).unwrap();
        assert_eq!(manifest.entries, entries[..1]);
        assert!(matches!(signed.open(&trusted, &appliance("oca-2"), 0), Err(ManifestRefused::Audience { .. })));
        let issued = async |list: &[FillEntry], at| {
            planning::issue(database, &signer, &name, list.to_vec(), at).await.unwrap()
        };
        // Lists are cut by capacity, or by what a night may bring: a better order counts at once, and noise does not.
        let scored = |scores: [u64; 2]| -> Vec<FillEntry> {
            let scored = entries.iter().zip(scores).map(|(entry, score)| FillEntry { bytes: 10, score, ..entry.clone() });
            scored.collect()
        };
        assert_eq!(issued(&scored([100, 900]), NOW + 10).await, Issued::New(NOW + 10));
        let mut turned = scored([100, 900]);
        turned.reverse();
        assert_eq!(issued(&turned, NOW + 11).await, Issued::Unchanged(NOW + 10), "the same scores");
        assert_eq!(issued(&scored([900, 100]), NOW + 12).await, Issued::New(NOW + 12), "with the next round of planning");
        assert_eq!(issued(&scored([800, 100]), NOW + 3600).await, Issued::Unchanged(NOW + 12), "the same order");
        assert_eq!(issued(&scored([5000, 5001]), NOW + 3600).await, Issued::Unchanged(NOW + 12), "by noise");
        assert_eq!(issued(&scored([5000, 5001]), NOW + 22_000).await, Issued::New(NOW + 22_000));
        assert_eq!(issued(&entries[..1], NOW + 22_001).await, Issued::New(NOW + 22_001));
        // After the key was changed, the same list is signed anew.
        state.new_key().unwrap();
        state.retire(&signer.id).unwrap();
        let next = Arc::new(state.signer().unwrap());
        let rotated = planning::issue(database, &next, &name, entries[..1].to_vec(), NOW).await.unwrap();
        assert_eq!(rotated, Issued::New(NOW + 22_002));
    }

    async fn a_better_order_of_very_many_waits_as_its_document_is_large(test: &TestDatabase) {
        let database = &test.database;
        small_fleet(database).await;
        let folder = tempfile::tempdir().unwrap();
        let signer = Arc::new(StateFolder::open(folder.path()).unwrap().signer_or_first().unwrap());
        let name = appliance("oca-1");
        let list = |score: fn(u64) -> u64| -> Vec<FillEntry> {
            let entry = |number| FillEntry {
                path: path(&format!("/film/{number}")),
                generation: Generation::new(1),
                title: title("film"),
                bytes: 1_000_000,
                objects: 10,
                score: score(number),
                descriptor: control_client::digest::sha256(b"descriptor"),
                class: FillClass::Ranked,
                expires_at: None,
            };
            (0..10_000).map(entry).collect()
        };
        let (rising, falling) = (list(|number| number), list(|number| 10_000 - number));
        let issued = async |list: &[FillEntry], at| {
            planning::issue(database, &signer, &name, list.to_vec(), at).await.unwrap()
        };
        assert_eq!(issued(&rising, NOW).await, Issued::New(NOW));
        assert_eq!(issued(&falling, NOW + 600).await, Issued::Unchanged(NOW));
        assert_eq!(issued(&falling, NOW + 3 * 3600).await, Issued::New(NOW + 3 * 3600));
    }

    async fn what_viewers_asked_for_in_a_region_ranks_its_list(test: &TestDatabase) {
        let database = &test.database;
        small_fleet(database).await;
        registry::add_site(database, site_facts("far", "south", None, &[])).await.unwrap();
        let mut expiring = publication("gone", Some(1));
        expiring.expires_at = Some(NOW - 1);
        let files = tree(&[("1", "1")]);
        publish(database, files.path(), &path("/gone"), expiring, 0).await.unwrap();
        let mut southern = publication("southern", Some(1));
        southern.regions = vec!["south".parse().unwrap()];
        southern.pinned = true;
        publish(database, files.path(), &path("/southern"), southern, 0).await.unwrap();
        for (sequence, day) in (1_u64..).zip(TODAY - 4..=TODAY) {
            let mut told = report("oca-1", "one", sequence);
            // Misses count too: each as an object of average size.
            told.demand = vec![demand(day, "/film/low", 1, 3, 0), demand(day, "/film/high", 900, 0, 900)];
            registry::accept(database, &appliance("oca-1"), &told, NOW).await.unwrap();
        }
        let facts = Facts::read(database).await.unwrap();
        let ranked = async |region: &str| {
            let region = region.parse().unwrap();
            let demand = RegionDemand::read(database, &facts, &region, NOW).await.unwrap();
            let ranked = planning::rank_region(&facts.catalogue, &region, &demand, NOW);
            let bundle = |item: usize| &facts.catalogue.bundles[ranked.bundles[item]];
            let places: Vec<_> =
                ranked.ranking.ranked.iter().map(|one| (bundle(one.item).key.path.as_str(), one.class)).collect();
            let left_out: Vec<_> = ranked.ranking.left_out.iter().map(|(item, _)| bundle(*item).key.path.as_str()).collect();
            format!("{places:?} {left_out:?}")
        };
        let class = |path: &'static str, class: FillClass| (path, class);
        let north = [class("/film/high", FillClass::Ranked), class("/film/low", FillClass::Ranked)];
        assert_eq!(ranked("north").await, format!("{north:?} {:?}", ["/gone"]));
        let south = ranked("south").await;
        assert!(south.starts_with(&format!("[{:?}", class("/southern", FillClass::Pinned))), "{south}");
        let demand = RegionDemand::read(database, &facts, &"north".parse().unwrap(), NOW).await.unwrap();
        assert_eq!(demand.served, BTreeMap::from([(site("core"), 0), (site("edge"), 15)]));
        assert_eq!(demand.reported.len(), 5);
        assert!(demand.reported.iter().all(|day| day.share == 0.5), "one of two appliances reported");
    }

    async fn the_fleet_in_memory_follows_what_other_processes_change(test: &TestDatabase) {
        let other = Database::open(&test.url).await.unwrap();
        let mirror = Mirror::new(vec![]);
        mirror.refresh(&test.database).await.unwrap();
        small_fleet(&other).await;
        let refreshed = mirror.refresh(&test.database).await.unwrap();
        assert!(refreshed.catalogue);
        assert_eq!(refreshed.appliances.map(|all| all.len()), Some(2));
        assert_eq!(mirror.refresh(&test.database).await.unwrap().appliances, None, "nothing has changed since");
        let fleet = mirror.fleet();
        assert_eq!(fleet.site_of("192.0.2.9".parse().unwrap()).unwrap().0, site("edge"));
        let mut told = report("oca-1", "one", 1);
        told.inventory = Some(InventoryReport::Full { revision: 6, bundles: vec![held("/film/high", 1, 11)] });
        registry::accept(&other, &appliance("oca-1"), &told, NOW).await.unwrap();
        assert_eq!(fleet.inventory_revision(&appliance("oca-1")), None);
        mirror.follow_inventories(&test.database).await.unwrap();
        assert_eq!(fleet.inventory_revision(&appliance("oca-1")), Some(6));
        let question = Question { client: "192.0.2.9".parse().unwrap(), path: &path("/film/high"), explain: true };
        let answer = fleet.steer(&question);
        assert!(answer.explanation.iter().any(|one| one.why.contains("nothing was heard of it")), "{answer:?}");
        // A control plane that starts now knows the same.
        let restarted = Mirror::new(vec![]);
        restarted.refresh(&test.database).await.unwrap();
        assert_eq!(restarted.fleet().inventory_revision(&appliance("oca-1")), Some(6));
        assert_eq!(restarted.fleet().size().held_bundles, 1);
        // Withdrawn from the catalogue: nobody is sent there for it any more.
        let files = tree(&[("low/1.m4s", "one")]);
        publish(&other, files.path(), &path("/film"), publication("film", None), NOW * 1_000_000).await.unwrap();
        mirror.refresh(&test.database).await.unwrap();
        assert_eq!(fleet.number_of(&key("/film/high", 1)), None);
        other.close().await;
    }

    async fn two_programs_write_to_one_database_at_the_same_time(test: &TestDatabase) {
        small_fleet(&test.database).await;
        let other = Database::open(&test.url).await.unwrap();
        let write = async |database: &Database, name: &'static str| {
            for sequence in 1..=25 {
                let mut told = report(name, "one", sequence);
                told.demand = vec![demand(TODAY, "/film/low", 1, 1, 0)];
                registry::accept(database, &appliance(name), &told, NOW).await.unwrap();
            }
        };
        tokio::join!(write(&test.database, "oca-1"), write(&other, "oca-2"));
        assert_eq!(demand_of(&test.database, "/film/low").await, [(u64::from(TODAY), 50, 50, 0)]);
        other.close().await;
    }

    async fn opening_a_database_again_finds_everything_as_it_was(test: &TestDatabase) {
        small_fleet(&test.database).await;
        let before = Facts::read(&test.database).await.unwrap();
        let again = Database::open(&test.url).await.unwrap();
        let after = Facts::read(&again).await.unwrap();
        assert_eq!((before.catalogue, before.sites, before.appliances), (after.catalogue, after.sites, after.appliances));
        again.close().await;
    }
}

#[tokio::test]
async fn a_url_of_no_database_is_refused_with_what_to_write() {
    let refused = Database::open("mysql://somewhere").await.unwrap_err().to_string();
    assert!(refused.contains("sqlite:///path/of/state.db"), "{refused}");
    let refused = Database::open("sqlite:///nonexistent/folder/state.db").await.unwrap_err().to_string();
    assert!(refused.contains("does its folder or server exist"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn programs_that_make_a_new_database_at_the_same_time_all_find_it_whole() {
    for _ in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("state.db").display());
        let opening = (0..4).map(|_| {
            let url = url.clone();
            tokio::spawn(async move { Database::open(&url).await.unwrap() })
        });
        for opened in futures_util::future::join_all(opening).await {
            let database = opened.unwrap();
            assert_eq!(catalogue::counts(&database).await.unwrap(), (0, 0));
            database.close().await;
        }
    }
}

//! What operators change of sites and titles, the same on both databases.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "support/fleet.rs"]
mod support;

use control_client::content::BundlePath;
use control_plane::catalogue::{self, Catalogue, TitleChange, change_title};
use control_plane::fleet::Fleet;
use control_plane::limits::TITLE_DIRECTORIES_KEPT;
use control_plane::publish::{PublishError, publish};
use control_plane::registry::{self, RegistryError, SiteChange};

use support::*;

on_every_database! {
    async fn two_operators_at_once_make_no_sites_that_cannot_be(test: &TestDatabase) {
        let database = &test.database;
        for name in ["a", "b"] {
            registry::add_site(database, site_facts(name, "north", None, &[])).await.unwrap();
        }
        let (a, b) = (site("a"), site("b"));
        let upstream = |name: &str| SiteChange { region: None, upstream: Some(Some(site(name))) };
        let (below_b, below_a) = (upstream("b"), upstream("a"));
        let (one, other) = tokio::join!(
            registry::change_site(database, &a, &below_b),
            registry::change_site(database, &b, &below_a)
        );
        let refused: Vec<_> = [one, other].into_iter().filter_map(Result::err).collect();
        assert!(matches!(refused[..], [RegistryError::Topology(_)]), "{refused:?}");
        let network = "198.51.100.0/24".parse().unwrap();
        let same = "198.51.100.77/24".parse().unwrap();
        let (one, other) =
            tokio::join!(registry::add_prefix(database, &a, network), registry::add_prefix(database, &b, same));
        let refused: Vec<_> = [one, other].into_iter().filter_map(Result::err).collect();
        assert!(matches!(refused[..], [RegistryError::Topology(_)]), "{refused:?}");
        Fleet::new(vec![]).set_sites(registry::site_facts(database).await.unwrap()).unwrap();
    }

    async fn a_network_that_is_given_twice_is_one(test: &TestDatabase) {
        let networks = ["192.0.2.1/24", "192.0.2.2/24"];
        registry::add_site(&test.database, site_facts("a", "north", None, &networks)).await.unwrap();
        let facts = registry::site_facts(&test.database).await.unwrap();
        assert_eq!(facts, [site_facts("a", "north", None, &["192.0.2.0/24"])]);
    }

    async fn a_site_is_taken_away_when_nobody_needs_it_any_more(test: &TestDatabase) {
        let database = &test.database;
        registry::add_site(database, site_facts("core", "north", None, &["192.0.2.0/24"])).await.unwrap();
        registry::add_site(database, site_facts("edge", "north", Some("core"), &[])).await.unwrap();
        registry::add_appliance(database, &appliance("oca-1"), &site("core")).await.unwrap();
        let told = report("oca-1", "one", 1);
        registry::accept(database, &appliance("oca-1"), &told, NOW).await.unwrap();
        for needed in ["appliance oca-1", "site edge"] {
            let refused = registry::remove_site(database, &site("core")).await.unwrap_err();
            assert!(matches!(&refused, RegistryError::SiteInUse { by, .. } if by == needed), "{refused}");
            if needed.starts_with("appliance") {
                registry::remove_appliance(database, &appliance("oca-1")).await.unwrap();
            }
        }
        let alone = SiteChange { region: None, upstream: Some(None) };
        registry::change_site(database, &site("edge"), &alone).await.unwrap();
        registry::remove_site(database, &site("core")).await.unwrap();
        assert_eq!(registry::site_facts(database).await.unwrap(), [site_facts("edge", "north", None, &[])]);
        // Its network is free.
        registry::add_prefix(database, &site("edge"), "192.0.2.0/24".parse().unwrap()).await.unwrap();
        assert!(registry::remove_site(database, &site("core")).await.is_err());
    }

    async fn a_title_is_changed_without_its_files(test: &TestDatabase) {
        let database = &test.database;
        let files = tree(&[("high/1.m4s", "first")]);
        let mut said = publication("film", Some(1));
        said.regions = vec![site_facts("a", "north", None, &[]).region];
        said.tags = vec!["drama".to_owned()];
        said.release_at = Some(NOW);
        publish(database, files.path(), &path("/film"), said, NOW * 1_000_000).await.unwrap();
        drop(files);
        let before = Catalogue::read(database).await.unwrap();

        let wanted = TitleChange { expires_at: Some(Some(NOW + 1)), pinned: Some(true), ..TitleChange::default() };
        let film = change_title(database, &title("film"), &wanted).await.unwrap().unwrap();
        assert_eq!((film.release_at, film.expires_at, film.pinned), (Some(NOW), Some(NOW + 1), true));
        let catalogue = Catalogue::read(database).await.unwrap();
        assert_eq!(catalogue.titles, std::slice::from_ref(&film));
        assert_eq!(catalogue.bundles, before.bundles);
        assert_eq!((&film.regions, &film.tags), (&before.titles[0].regions, &before.titles[0].tags));

        let impossible = TitleChange { expires_at: Some(Some(NOW)), ..TitleChange::default() };
        let refused = change_title(database, &title("film"), &impossible).await.unwrap_err();
        assert!(matches!(refused, PublishError::Times), "{refused}");
        let everywhere = TitleChange { regions: Some(vec![]), ..TitleChange::default() };
        assert_eq!(change_title(database, &title("film"), &everywhere).await.unwrap().unwrap().regions, []);
        assert_eq!(Catalogue::read(database).await.unwrap().titles[0].expires_at, Some(NOW + 1));
        assert_eq!(change_title(database, &title("other"), &everywhere).await.unwrap(), None);
    }

    async fn the_last_directories_that_a_title_was_published_as_are_remembered(test: &TestDatabase) {
        let database = &test.database;
        let files = tree(&[("high/1.m4s", "first")]);
        // All at one moment: it is not a clock that says what was last.
        let published = async |at: &BundlePath| {
            publish(database, files.path(), at, publication("film", None), 1).await.unwrap().title.directories
        };
        let kept = async || Catalogue::read(database).await.unwrap().titles[0].directories.clone();
        let at: Vec<BundlePath> =
            (0..TITLE_DIRECTORIES_KEPT + 2).map(|number| path(&format!("/{number:02}/film"))).collect();
        for directory in [&at[1], &at[0], &at[0]] {
            published(directory).await;
        }
        assert_eq!(kept().await, at[..2], "by path, and each once");

        // A catalogue that was made before they were kept gets them when the title is published again.
        let mut change = database.change().await.unwrap();
        change.execute("DELETE FROM title_directories", vec![]).await.unwrap();
        change.commit().await.unwrap();
        assert_eq!(kept().await, []);
        assert_eq!(published(&at[0]).await, at[..1]);

        let (last, all_but_last) = at.split_last().unwrap();
        for directory in all_but_last {
            published(directory).await;
        }
        assert_eq!(kept().await, all_but_last[1..], "the first of them is forgotten");
        published(&at[1]).await;
        assert_eq!(published(last).await, [&at[1..2], &at[3..]].concat(), "what was published again is new");
        assert_eq!(kept().await, [&at[1..2], &at[3..]].concat());
        assert_eq!(catalogue::remove_title(database, &title("film")).await.unwrap(), Some(1));
        assert_eq!(published(&at[5]).await, at[5..6], "one of the same name begins anew");
    }

    async fn a_generation_that_not_every_reader_keeps_exact_is_refused(test: &TestDatabase) {
        let files = tree(&[("1.m4s", "first")]);
        let most = control_client::limits::INTEGER_MAX;
        for generation in [most + 1, u64::MAX] {
            let said = publication("film", Some(generation));
            let refused = publish(&test.database, files.path(), &path("/film"), said, NOW).await.unwrap_err();
            assert!(matches!(refused, PublishError::GenerationTooHigh), "{refused}");
        }
        let said = publication("film", Some(most));
        publish(&test.database, files.path(), &path("/film"), said, NOW).await.unwrap();
    }
}

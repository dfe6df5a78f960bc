//! What the tests of this crate share. Each test has a database of its own: a file, or a database of the server in
//! `OCA_TEST_POSTGRES_URL`.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use control_client::content::{BundleKey, BundlePath, Generation};
use control_client::demand::PathDemand;
use control_client::fill::{FillRun, RunOutcome};
use control_client::fleet::{ApplianceName, RegionName, SiteName, TitleName};
use control_client::health::{Headroom, HealthReport, Readiness, Verdict};
use control_client::report::{DayDemand, Dropped, Enrolment, HeldBundle, Report};
use control_client::wire::DocumentVersion;
use control_plane::database::Database;
use control_plane::fleet::SiteFacts;
use control_plane::publish::Publication;
use sqlx::{AnyConnection, Connection as _, Executor as _};
use tempfile::TempDir;

/// A moment in 2026, and its day.
pub(crate) const NOW: u64 = 1_795_219_200;
pub(crate) const TODAY: u32 = (NOW / 86_400) as u32;

/// A database that is thrown away.
pub(crate) struct TestDatabase {
    pub(crate) url: String,
    pub(crate) database: Database,
    _folder: TempDir,
}

impl TestDatabase {
    /// A file.
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("state.db").display());
        Self { database: Database::open(&url).await.unwrap(), url, _folder: folder }
    }

    /// A database of the server that the environment names; none where it names none, which is said.
    pub(crate) async fn postgres() -> Option<Self> {
        let Ok(server) = std::env::var("OCA_TEST_POSTGRES_URL") else {
            // Not with eprintln, which the harness keeps to itself where a test passes.
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: {test}: OCA_TEST_POSTGRES_URL is not set (.ci/with-postgres sets it)"
            );
            return None;
        };
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("oca_test_{}_{number}", std::process::id());
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&server).await.unwrap();
        for statement in [format!("DROP DATABASE IF EXISTS {name}"), format!("CREATE DATABASE {name}")] {
            connection.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
        }
        connection.close().await.unwrap();
        let mut url = reqwest::Url::parse(&server).unwrap();
        url.set_path(&name);
        let url = url.to_string();
        let folder = tempfile::tempdir().unwrap();
        Some(Self { database: Database::open(&url).await.unwrap(), url, _folder: folder })
    }
}

/// One test for each database.
#[macro_export]
macro_rules! on_every_database {
    ($(async fn $name:ident($database:ident: &TestDatabase) $body:block)+) => {$(
        mod $name {
            use super::*;

            async fn check($database: &TestDatabase) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                check(&TestDatabase::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgresql() {
                if let Some(database) = TestDatabase::postgres().await {
                    check(&database).await;
                    database.database.close().await;
                }
            }
        }
    )+};
}

pub(crate) fn appliance(name: &str) -> ApplianceName {
    ApplianceName::parse(name).unwrap()
}

pub(crate) fn site(name: &str) -> SiteName {
    SiteName::parse(name).unwrap()
}

pub(crate) fn title(name: &str) -> TitleName {
    TitleName::parse(name).unwrap()
}

pub(crate) fn path(text: &str) -> BundlePath {
    BundlePath::parse(text).unwrap()
}

pub(crate) fn key(text: &str, generation: u64) -> BundleKey {
    BundleKey { path: path(text), generation: Generation::new(generation) }
}

pub(crate) fn held(text: &str, generation: u64, bytes: u64) -> HeldBundle {
    HeldBundle { path: path(text), generation: Generation::new(generation), bytes }
}

pub(crate) fn site_facts(name: &str, region: &str, upstream: Option<&str>, prefixes: &[&str]) -> SiteFacts {
    SiteFacts {
        name: site(name),
        region: RegionName::parse(region).unwrap(),
        upstream: upstream.map(site),
        prefixes: prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect(),
    }
}

pub(crate) fn enrolment(serve_url: &str, admin_url: &str, capacity_bytes: u64) -> Enrolment {
    Enrolment {
        version: DocumentVersion,
        release: "0.1.0".to_owned(),
        serve_urls: vec![serve_url.to_owned()],
        admin_url: admin_url.to_owned(),
        capacity_bytes,
    }
}

pub(crate) fn publication(name: &str, generation: Option<u64>) -> Publication {
    Publication {
        title: title(name),
        regions: vec![],
        release_at: None,
        expires_at: None,
        pinned: false,
        similar_to: None,
        tags: vec![],
        seasons: vec![],
        generation: generation.map(Generation::new),
    }
}

pub(crate) fn report(name: &str, instance: &str, sequence: u64) -> Report {
    Report {
        version: DocumentVersion,
        appliance: appliance(name),
        instance: instance.to_owned(),
        sequence,
        at: NOW,
        health: None,
        load: None,
        inventory: None,
        demand: vec![],
        runs: vec![],
        manifest_sequence: 0,
        manifest_refused: None,
        directives: vec![],
        dropped: Dropped::default(),
    }
}

/// A run that had nothing to do.
pub(crate) fn fill_run(number: u64, detail: String) -> FillRun {
    FillRun {
        run: format!("run-{number}"),
        started_at: number,
        ended_at: number,
        outcome: RunOutcome::Completed,
        detail,
        manifest_sequence: 1,
        planned_bundles: 0,
        planned_bytes: 0,
        published_bundles: 0,
        published_bytes: 0,
        retired_bundles: 0,
        retired_bytes: 0,
        failures: vec![],
        more_failures: 0,
        sources: vec![],
    }
}

pub(crate) fn demand(day: u32, path: &str, requests: u64, bytes: u64, absent: u64) -> DayDemand {
    DayDemand { day, paths: vec![PathDemand { path: self::path(path), requests, bytes, absent }] }
}

pub(crate) fn health(readiness: Readiness, verdict: Verdict) -> HealthReport {
    HealthReport {
        version: DocumentVersion,
        appliance: None,
        readiness,
        verdict,
        reasons: vec![],
        headroom: Headroom { connections_free: 100, ..Headroom::default() },
        volumes: vec![],
        uptime_seconds: 60,
    }
}

/// Writes files with these contents below a folder.
pub(crate) fn tree(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }
    folder
}

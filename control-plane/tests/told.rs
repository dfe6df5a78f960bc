//! What appliances may tell is taken: a document that is refused is never another, and its sender would be heard no more.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[expect(dead_code, reason = "each test file uses some of it")]
#[path = "support/contract.rs"]
mod contract;
#[expect(dead_code, reason = "each test file uses some of it")]
#[path = "support/running.rs"]
mod running;
#[path = "support/fleet.rs"]
mod support;

use control_client::control_plane_client::{ControlPlaneClient, ControlPlaneTimeouts};
use control_client::report::{DirectiveResult, Order};
use control_client::token::Token;
use control_plane::database::Database;
use control_plane::{limits, registry};
use reqwest::Method;

use running::Running;
use support::*;

async fn fleet(database: &Database) {
    registry::add_site(database, site_facts("edge", "north", None, &[])).await.unwrap();
    registry::add_appliance(database, &appliance("oca-1"), &site("edge")).await.unwrap();
}

on_every_database! {
    async fn all_that_an_appliance_can_be_configured_with_is_taken(test: &TestDatabase) {
        fleet(&test.database).await;
        let most = control_client::limits::SERVE_URLS_MAX;
        let mut told = enrolment("", "http://oca_1.example.net:8080", 1);
        let label = "a".repeat(control_client::limits::URL_BYTES_MAX - "https://00".len());
        told.serve_urls = (0..most).map(|number| format!("https://{number:02}{label}")).collect();
        registry::enrol(&test.database, &appliance("oca-1"), &told, NOW).await.unwrap();
        let kept = registry::appliance(&test.database, &appliance("oca-1")).await.unwrap().unwrap();
        assert_eq!(kept.serve_urls, told.serve_urls);
        told.serve_urls.push("http://192.0.2.7".to_owned());
        assert!(registry::enrol(&test.database, &appliance("oca-1"), &told, NOW).await.is_err());
    }

    async fn results_beyond_those_that_are_kept_are_asked_for_again(test: &TestDatabase) {
        let database = &test.database;
        fleet(database).await;
        let name = appliance("oca-1");
        let ordered = registry::order(database, &name, Order::FillNow, NOW).await.unwrap();
        let result = |id| DirectiveResult { id, failure: None };
        let mut told = report("oca-1", "one", 1);
        told.directives = (0..limits::DIRECTIVES_KEPT as u64).map(|number| result(ordered.id + 1 + number)).collect();
        told.directives.push(result(ordered.id));
        let answer = registry::accept(database, &name, &told, NOW).await.unwrap();
        assert_eq!(answer.directives, std::slice::from_ref(&ordered));
        told.sequence = 2;
        told.directives = vec![result(ordered.id)];
        assert_eq!(registry::accept(database, &name, &told, NOW).await.unwrap().directives, []);
    }

    async fn a_run_that_is_larger_than_any_can_be_does_not_keep_its_report_back(test: &TestDatabase) {
        let database = &test.database;
        fleet(database).await;
        let name = appliance("oca-1");
        let mut told = report("oca-1", "one", 1);
        told.runs = vec![fill_run(1, "x".repeat(limits::RUN_BYTES_MAX)), fill_run(2, String::new())];
        registry::accept(database, &name, &told, NOW).await.unwrap();
        assert_eq!(registry::runs(database, &name).await.unwrap(), [fill_run(2, String::new())]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_as_large_as_an_agent_sends_is_taken() {
    let mut running = Running::start().await;
    let [token] = running.fleet(["oca-1"]).await;
    let mut content = serde_json::to_vec(&report("oca-1", "one", 1)).unwrap();
    content.resize(usize::try_from(control_client::limits::REPORT_BYTES_MAX).unwrap(), b' ');
    let path = "/v1/appliances/oca-1/reports";
    assert_eq!(running.ask(Method::POST, path, Some(&token), content).await.status, 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_for_which_no_manifest_was_made_yet_is_told_so() {
    let mut running = Running::start().await;
    // It has not enrolled, so that nothing is planned for it.
    let [token] = running.fleet(["oca-1"]).await;
    let answer = running.get("/v1/appliances/oca-1/manifest", Some(&token)).await;
    assert_eq!(answer.failure(), (404, control_client::fill_manifest::NO_MANIFEST.to_owned()));
    let url = format!("http://{}", running.address);
    let token = Token::parse(&token).unwrap();
    let client = ControlPlaneClient::new(&url, appliance("oca-1"), &token, ControlPlaneTimeouts::default());
    assert_eq!(client.unwrap().manifest(None).await.unwrap(), None);
    running.stop().await;
}

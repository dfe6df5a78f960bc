//! A control plane that serves, over real sockets, and what it is asked with.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use control_client::config::{ControlPlaneConfig, OriginConfig};
use control_client::health::{HealthReport, Readiness, Verdict};
use control_client::report::{Report, ReportAnswer};
use control_client::steering::SteeringAnswer;
use control_plane::keys::StateFolder;
use control_plane::plane::ControlPlane;
use control_plane::publish::publish;
use control_plane::registry;
use control_plane::server::ServerLimits;
use control_plane::service::Service;
use reqwest::Method;
use serde::Serialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::contract::Contract;
use crate::support::*;

/// Longer than anything here takes, on a machine that has other things to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Running {
    pub(crate) service: Option<Service>,
    pub(crate) address: SocketAddr,
    pub(crate) client: reqwest::Client,
    pub(crate) contract: Contract,
    pub(crate) operator: String,
    pub(crate) folder: TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) content: Vec<u8>,
}

impl Answer {
    pub(crate) fn document<T: serde::de::DeserializeOwned>(&self) -> T {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.content));
        serde_json::from_slice(&self.content).unwrap()
    }

    pub(crate) fn failure(&self) -> (u16, String) {
        let value: Value = serde_json::from_slice(&self.content).unwrap();
        (self.status, value["error"].as_str().unwrap().to_owned())
    }
}

pub(crate) fn config(folder: &TempDir) -> ControlPlaneConfig {
    ControlPlaneConfig {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        database: format!("sqlite://{}", folder.path().join("state.db").display()),
        state: folder.path().join("state"),
        poll_interval: Duration::from_millis(50),
        poll_timeout: Duration::from_millis(500),
        escalation: Duration::from_secs(30),
        origins: vec![OriginConfig {
            name: "origin".to_owned(),
            url: "https://origin.example.net".to_owned(),
        }],
        // Another one, so that it is seen which is meant.
        client_origins: vec!["https://cdn.example.net".to_owned()],
        // Another time than the default, so that it is seen who is obeyed.
        ttl_own_site: Duration::from_secs(200),
        ..ControlPlaneConfig::default()
    }
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::start_with(ServerLimits::default()).await
    }

    pub(crate) async fn start_with(bounds: ServerLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let service = Service::start(config(&folder), bounds).await.unwrap();
        let address = service.addresses[0];
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let document = client.get(format!("http://{address}/openapi.json")).send().await.unwrap();
        let contract = Contract::new(serde_json::from_slice(&document.bytes().await.unwrap()).unwrap());
        let token = StateFolder::open(&folder.path().join("state")).unwrap().operator_token_path();
        let operator = std::fs::read_to_string(token).unwrap().trim().to_owned();
        Self { service: Some(service), address, client, contract, operator, folder }
    }

    pub(crate) fn plane(&self) -> &ControlPlane {
        &self.service.as_ref().unwrap().plane
    }

    pub(crate) async fn stop(&mut self) {
        self.service.take().unwrap().stop().await;
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        content: Vec<u8>,
    ) -> Answer {
        let mut request =
            self.client.request(method.clone(), format!("http://{}{path}", self.address)).body(content);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let content = response.bytes().await.unwrap().to_vec();
        let kind = headers.get("content-type").map_or("", |kind| kind.to_str().unwrap());
        self.contract.check(method.as_str(), path, status, kind, &content);
        Answer { status, headers, content }
    }

    pub(crate) async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        self.ask(Method::GET, path, token, vec![]).await
    }

    pub(crate) async fn put(&self, path: &str, token: &str, document: &impl Serialize) -> Answer {
        self.ask(Method::PUT, path, Some(token), serde_json::to_vec(document).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, document: &impl Serialize) -> Answer {
        self.ask(Method::POST, path, Some(token), serde_json::to_vec(document).unwrap()).await
    }

    pub(crate) async fn report(&self, token: &str, report: &Report) -> ReportAnswer {
        let path = format!("/v1/appliances/{}/reports", report.appliance);
        self.post(&path, token, report).await.document()
    }

    pub(crate) async fn steer(&self, client: &str, path: &str) -> SteeringAnswer {
        self.get(&format!("/v1/steer?client={client}&path={path}&explain=1"), Some(&self.operator))
            .await
            .document()
    }

    /// Sites `edge` (192.0.2.0/24) and `core` above it, the title `/film`, and an appliance of each name at `edge`.
    pub(crate) async fn fleet<const N: usize>(&self, names: [&str; N]) -> [String; N] {
        let database = &self.plane().database;
        registry::add_site(database, site_facts("core", "north", None, &[])).await.unwrap();
        registry::add_site(database, site_facts("edge", "north", Some("core"), &["192.0.2.0/24"]))
            .await
            .unwrap();
        let files = tree(&[("high/1.m4s", "first"), ("low/1.m4s", "one")]);
        publish(database, files.path(), &path("/film"), publication("film", Some(1)), NOW * 1_000_000)
            .await
            .unwrap();
        let mut tokens = Vec::new();
        for name in names {
            let token = registry::add_appliance(database, &appliance(name), &site("edge")).await.unwrap();
            tokens.push(token.as_str().to_owned());
        }
        tokens.try_into().unwrap()
    }
}

/// Looks again until it is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An appliance's admin API that says what it is told to.
pub(crate) struct FakeAppliance {
    pub(crate) url: String,
    pub(crate) says: Arc<Mutex<Option<HealthReport>>>,
}

impl FakeAppliance {
    pub(crate) async fn start() -> Self {
        let says = Arc::new(Mutex::new(Some(health(Readiness::Serving, Verdict::Healthy))));
        let told = Arc::clone(&says);
        let answer = move || {
            let told = told.lock().unwrap().clone();
            async move {
                match told {
                    None => (StatusCode::INTERNAL_SERVER_ERROR, "nonsense".to_owned()),
                    Some(health) => {
                        let is_well = health.verdict == Verdict::Healthy;
                        let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                        (status, serde_json::to_string(&health).unwrap())
                    }
                }
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/health", get(answer))).await });
        Self { url, says }
    }

    pub(crate) fn say(&self, health: Option<HealthReport>) {
        *self.says.lock().unwrap() = health;
    }
}

//! An appliance as the control plane sees it: what it reports, over a connection that is kept.

use std::cell::RefCell;
use std::error::Error;
use std::net::SocketAddr;

use control_client::content::{BundleKey, BundlePath, Generation};
use control_client::demand::PathDemand;
use control_client::fleet::ApplianceName;
use control_client::health::{Headroom, HealthReport, Readiness, Verdict};
use control_client::load::Load;
use control_client::report::{DayDemand, Dropped, HeldBundle, InventoryReport, Report, ReportAnswer};
use control_client::wire::DocumentVersion;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;

use super::setup::{day, enrolment, now, path};
use crate::random::Random;

/// Directories that were asked for since the last report.
const DEMANDED: usize = 40;

/// One appliance.
#[derive(Clone)]
pub(super) struct Client {
    name: ApplianceName,
    token: String,
    state: RefCell<State>,
}

#[derive(Clone)]
struct State {
    sequence: u64,
    revision: u64,
    /// The first of the bundles that it holds; they follow each other.
    first: u32,
    held: u32,
    random: u64,
}

/// What a report tells of the inventory.
#[derive(Clone, Copy)]
pub(super) enum Inventory {
    /// All of it: so many bundles.
    All(u32),
    /// One came, one went.
    Change,
    /// Nothing.
    Same,
}

/// A connection to the control plane.
pub(super) struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> Result<Self, Box<dyn Error>> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        Ok(Self(sender))
    }

    async fn send(
        &mut self,
        method: Method,
        target: &str,
        token: &str,
        content: Vec<u8>,
    ) -> Result<Bytes, Box<dyn Error>> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, "control-plane")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(content)))?;
        self.0.ready().await?;
        let response = self.0.send_request(request).await?;
        let status = response.status();
        let content = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            return Err(format!("{target}: {status}: {}", String::from_utf8_lossy(&content)).into());
        }
        Ok(content)
    }
}

impl Client {
    pub(super) fn new(name: ApplianceName, token: String, number: u32, bundles: u32) -> Self {
        let first = number.wrapping_mul(7) % bundles;
        let state = State { sequence: 0, revision: 0, first, held: 0, random: u64::from(number) };
        Self { name, token, state: RefCell::new(state) }
    }

    /// Reports, and checks the answer.
    pub(super) async fn report(
        &self,
        connection: &mut Connection,
        bundles: u32,
        inventory: Inventory,
    ) -> Result<(), Box<dyn Error>> {
        let report = self.make(bundles, inventory)?;
        let target = format!("/v1/appliances/{}/reports", self.name);
        let content =
            connection.send(Method::POST, &target, &self.token, serde_json::to_vec(&report)?).await?;
        let answer: ReportAnswer = serde_json::from_slice(&content)?;
        if answer.sequence != report.sequence
            || answer.inventory_revision != Some(self.state.borrow().revision)
        {
            return Err(format!("report {} of {} was answered {answer:?}", report.sequence, self.name).into());
        }
        Ok(())
    }

    /// Says who it is, as it does whenever its agent starts.
    pub(super) async fn enrol(&self, connection: &mut Connection) -> Result<(), Box<dyn Error>> {
        let target = format!("/v1/appliances/{}", self.name);
        let content = serde_json::to_vec(&enrolment(&self.name))?;
        connection.send(Method::PUT, &target, &self.token, content).await.map(drop)
    }

    fn make(&self, bundles: u32, inventory: Inventory) -> Result<Report, Box<dyn Error>> {
        let mut state = self.state.borrow_mut();
        state.sequence += 1;
        let mut random = Random::new(state.random);
        state.random = random.next();
        let inventory = state.tell(bundles, inventory)?;
        let paths = (0..DEMANDED)
            .map(|_| {
                let requests = 1 + random.below(500);
                let path = path(random.below(u64::from(bundles)) as u32)?;
                Ok(PathDemand { path, requests, bytes: requests * 2_000_000, absent: 0 })
            })
            .collect::<Result<_, Box<dyn Error>>>()?;
        Ok(Report {
            version: DocumentVersion,
            appliance: self.name.clone(),
            instance: "bench".to_owned(),
            sequence: state.sequence,
            at: now(),
            health: Some(health(&self.name, &mut random)),
            load: Some(load(&mut random)),
            inventory,
            demand: vec![DayDemand { day: day(), paths }],
            dropped: Dropped::default(),
            runs: vec![],
            manifest_sequence: 0,
            manifest_refused: None,
            directives: vec![],
        })
    }
}

impl State {
    fn tell(
        &mut self,
        bundles: u32,
        inventory: Inventory,
    ) -> Result<Option<InventoryReport>, Box<dyn Error>> {
        let from = self.revision;
        Ok(match inventory {
            Inventory::Same => None,
            Inventory::All(held) => {
                self.revision += 1;
                self.held = held.min(bundles);
                let held = (0..self.held).map(|number| held_bundle((self.first + number) % bundles));
                Some(InventoryReport::Full {
                    revision: self.revision,
                    bundles: held.collect::<Result<_, _>>()?,
                })
            }
            Inventory::Change => {
                self.revision += 1;
                let gone = held_bundle(self.first)?;
                let added = held_bundle((self.first + self.held) % bundles)?;
                self.first = (self.first + 1) % bundles;
                Some(InventoryReport::Delta {
                    from,
                    revision: self.revision,
                    added: vec![added],
                    removed: vec![BundleKey { path: gone.path, generation: gone.generation }],
                })
            }
        })
    }
}

fn held_bundle(number: u32) -> Result<HeldBundle, Box<dyn Error>> {
    let path: BundlePath = path(number)?;
    Ok(HeldBundle { path, generation: Generation::new(1), bytes: 500_000_000 })
}

fn health(name: &ApplianceName, random: &mut Random) -> HealthReport {
    HealthReport {
        version: DocumentVersion,
        appliance: Some(name.to_string()),
        readiness: Readiness::Serving,
        verdict: Verdict::Healthy,
        reasons: vec![],
        headroom: Headroom { connections_free: 4_000 + random.below(12_000), ..Headroom::default() },
        volumes: vec![],
        uptime_seconds: 86_400,
    }
}

fn load(random: &mut Random) -> Load {
    Load {
        version: DocumentVersion,
        interval_millis: 5_000,
        egress_bits_per_second: random.below(40_000_000_000),
        requests_per_second: random.below(5_000),
        connections: random.below(12_000),
        reads_per_second: random.below(2_000),
        read_latency_p50_micros: 200,
        read_latency_p99_micros: 3_000,
    }
}

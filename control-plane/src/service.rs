//! `control-plane serve`: the process's life, from the configuration to the last answer.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control_client::config::ControlPlaneConfig;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api;
use crate::database::{Database, DatabaseError};
use crate::keys::{KeyError, StateFolder};
use crate::limits;
use crate::plane::{ControlPlane, PlanError, now};
use crate::poll::Poller;
use crate::server::{self, ServerLimits};

/// A control plane that serves.
pub struct Service {
    /// What it works with.
    pub plane: Arc<ControlPlane>,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// Why it cannot serve.
#[derive(Debug)]
pub enum ServiceError {
    /// The database.
    Database(DatabaseError),
    /// A key or token.
    Key(KeyError),
    /// An address.
    Listen(std::io::Error),
    /// The client that polls.
    Poller(reqwest::Error),
    /// The first look at the fleet.
    Plan(PlanError),
}

impl fmt::Display for ServiceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(error) => error.fmt(formatter),
            Self::Key(error) => error.fmt(formatter),
            Self::Listen(error) => error.fmt(formatter),
            Self::Poller(error) => write!(formatter, "health cannot be polled: {error}"),
            Self::Plan(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for ServiceError {}

impl Service {
    /// Opens everything, plans once, and begins to serve, to poll and to plan.
    pub async fn start(config: ControlPlaneConfig, bounds: ServerLimits) -> Result<Self, ServiceError> {
        let state = StateFolder::open(&config.state).map_err(ServiceError::Key)?;
        let database = Database::open(&config.database).await.map_err(ServiceError::Database)?;
        let mut listeners = Vec::new();
        for address in &config.listen {
            listeners.push(server::listen(*address).await.map_err(ServiceError::Listen)?);
        }
        let addresses = listeners
            .iter()
            .map(tokio::net::TcpListener::local_addr)
            .collect::<Result<Vec<_>, _>>()
            .map_err(ServiceError::Listen)?;
        let poller = Poller::new(config.poll_timeout).map_err(ServiceError::Poller)?;
        let plane = ControlPlane::new(config, database, state).await.map_err(ServiceError::Plan)?;
        let (stop, stopped) = watch::channel(false);
        let (router, _) = api::router(Arc::clone(&plane), poller.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(server::serve(listeners, router, Arc::clone(&plane), bounds, stopped.clone()));
        tasks.spawn(until(stopped.clone(), poll(Arc::clone(&plane), poller)));
        tasks.spawn(until(stopped.clone(), refresh(Arc::clone(&plane))));
        tasks.spawn(until(stopped.clone(), follow(Arc::clone(&plane))));
        tasks.spawn(until(stopped, plan(Arc::clone(&plane))));
        Ok(Self { plane, addresses, stop, tasks })
    }

    /// Stops: requests that are being worked on are answered, everything else ends.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
        self.plane.database.close().await;
    }
}

async fn until(mut stop: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = server::stopped(&mut stop) => {}
    }
}

async fn poll(plane: Arc<ControlPlane>, poller: Poller) {
    let mut rounds = tokio::time::interval(plane.config.poll_interval);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        plane.poll_all(&poller).await;
    }
}

async fn refresh(plane: Arc<ControlPlane>) {
    loop {
        tokio::time::sleep(limits::REFRESH_INTERVAL).await;
        if let Err(error) = plane.refresh().await {
            tracing::warn!(%error, "what has changed in the database cannot be read");
            plane.metrics.refreshes_failed.inc();
        }
    }
}

async fn follow(plane: Arc<ControlPlane>) {
    loop {
        tokio::time::sleep(limits::FOLLOW_INTERVAL).await;
        if let Err(error) = plane.follow_inventories().await {
            tracing::warn!(%error, "inventories cannot be read");
            plane.metrics.refreshes_failed.inc();
        }
        if let Err(error) = plane.follow_reports().await {
            tracing::warn!(%error, "what other control planes were told cannot be read");
            plane.metrics.refreshes_failed.inc();
        }
    }
}

/// Plans at the start, at the configured interval, and a moment after something has changed.
async fn plan(plane: Arc<ControlPlane>) {
    loop {
        let began = Instant::now();
        let planned = plane.plan(now()).await;
        let took = began.elapsed();
        let pause = match planned {
            Ok(_) => plane.config.manifest_interval,
            Err(error) => {
                tracing::error!(%error, "manifests cannot be made: the last ones stay in force");
                plane.metrics.plans_failed.inc();
                PLAN_RETRY.min(plane.config.manifest_interval)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = plane.plan_is_due() => {
                tokio::time::sleep(limits::PLAN_DELAY.max(took * limits::PLAN_REST)).await;
            }
        }
    }
}

/// After a round that failed.
const PLAN_RETRY: Duration = Duration::from_secs(30);

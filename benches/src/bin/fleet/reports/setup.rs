//! A control plane with a fleet that has enrolled, on threads of its own.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use control_client::config::ControlPlaneConfig;
use control_client::content::{BundleKey, BundlePath, Generation};
use control_client::digest::sha256;
use control_client::fleet::{ApplianceName, RegionName, SiteName, TitleName};
use control_client::report::Enrolment;
use control_client::wire::DocumentVersion;
use control_plane::catalogue::{self, CataloguedBundle, Title};
use control_plane::database::Database;
use control_plane::fleet::SiteFacts;
use control_plane::keys::StateFolder;
use control_plane::plane::ControlPlane;
use control_plane::poll::Poller;
use control_plane::popularity::DAY_SECONDS;
use control_plane::registry;
use control_plane::server::{self, ServerLimits};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::client::Client;
use crate::Scale;

/// Bundles of one title.
const PER_TITLE: u32 = 8;

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) clients: Vec<Client>,
    stop: watch::Sender<bool>,
    runtime: Runtime,
}

impl Server {
    /// Opens the database, enters catalogue and fleet, and serves.
    pub(super) fn start(scale: &Scale, bundles: u32, folder: &Path) -> Result<Self, Box<dyn Error>> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("control-plane")
            .enable_all()
            .build()?;
        let (stop, stopped) = watch::channel(false);
        let (address, clients) = runtime.block_on(async {
            let database = Database::open(&format!("sqlite://{}/state.db", folder.display())).await?;
            enter_catalogue(&database, bundles).await?;
            let clients = enter_fleet(&database, scale, bundles).await?;
            let config = ControlPlaneConfig::default();
            let poller = Poller::new(config.poll_timeout)?;
            let state = StateFolder::open(&folder.join("state"))?;
            let plane = ControlPlane::new(config, database, state).await?;
            let (router, _) = control_plane::api::router(Arc::clone(&plane), poller);
            let listener = server::listen(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
            let address = listener.local_addr()?;
            tokio::spawn(server::serve(vec![listener], router, plane, ServerLimits::default(), stopped));
            Ok::<_, Box<dyn Error>>((address, clients))
        })?;
        Ok(Self { address, clients, stop, runtime })
    }

    /// Ends it: what it has written stays.
    pub(super) fn stop(self) {
        // Nobody listens where the server has ended already.
        let _ = self.stop.send(true);
        self.runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

async fn enter_catalogue(database: &Database, bundles: u32) -> Result<(), Box<dyn Error>> {
    let mut change = database.change().await?;
    for number in 0..bundles {
        let title = TitleName::parse(&format!("title-{}", number / PER_TITLE))?;
        if number.is_multiple_of(PER_TITLE) {
            catalogue::put_title(&mut change, &plain_title(title.clone())).await?;
        }
        let bundle = CataloguedBundle {
            key: BundleKey { path: path(number)?, generation: Generation::new(1) },
            title,
            bytes: 500_000_000,
            objects: 500,
            descriptor: sha256(&number.to_le_bytes()),
            published_at: 0,
        };
        catalogue::put_bundle(&mut change, &bundle, "{}".to_owned()).await?;
    }
    change.count("catalogue").await?;
    Ok(change.commit().await?)
}

fn plain_title(name: TitleName) -> Title {
    Title {
        name,
        regions: vec![],
        published_at: now(),
        release_at: None,
        expires_at: None,
        pinned: false,
        tags: vec![],
        seasons: vec![],
        similar_to: None,
        directories: vec![],
    }
}

async fn enter_fleet(
    database: &Database,
    scale: &Scale,
    bundles: u32,
) -> Result<Vec<Client>, Box<dyn Error>> {
    let mut clients = Vec::new();
    for site in 0..scale.sites + scale.sites.div_ceil(10) {
        let name = SiteName::parse(&format!("site-{site}"))?;
        let region = RegionName::parse(&format!("region-{}", site % 10))?;
        let facts = SiteFacts { name: name.clone(), region, upstream: None, prefixes: vec![] };
        registry::add_site(database, facts).await?;
        for number in 0..scale.appliances_per_site {
            let appliance = ApplianceName::parse(&format!("oca-{site}-{number}"))?;
            let token = registry::add_appliance(database, &appliance, &name).await?;
            registry::enrol(database, &appliance, &enrolment(&appliance), now()).await?;
            let place = clients.len() as u32;
            clients.push(Client::new(appliance, token.as_str().to_owned(), place, bundles));
        }
    }
    Ok(clients)
}

/// What an appliance says of itself.
pub(super) fn enrolment(appliance: &ApplianceName) -> Enrolment {
    Enrolment {
        version: DocumentVersion,
        release: "0.1.0".to_owned(),
        serve_urls: vec![format!("https://{appliance}.example.net")],
        admin_url: String::new(),
        capacity_bytes: 20_000_000_000_000,
    }
}

/// The path of a bundle of the catalogue.
pub(super) fn path(number: u32) -> Result<BundlePath, control_client::content::NameError> {
    BundlePath::parse(&format!("/titles/{}/{}", number / PER_TITLE, number % PER_TITLE))
}

/// The present, in seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Today, counted from 1970-01-01 in UTC.
pub(super) fn day() -> u32 {
    (now() / DAY_SECONDS) as u32
}

//! The control plane as a process of its own over a folder, and what an operator has it know. `service` is the role itself.

mod service;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use control_client::content::{BundleKey, BundlePath};
use control_client::fill_manifest::FillManifest;
use control_client::fleet::{ApplianceName, RegionName, SiteName, TitleName};
use control_client::report::{Order, Report};
use control_plane::api::{ApplianceList, ApplianceView};
use control_plane::catalogue::Catalogue;
use control_plane::database::{Database, counter};
use control_plane::fleet::SiteFacts;
use control_plane::keys::StateFolder;
use control_plane::planning;
use control_plane::publish::{Publication, publish};
use control_plane::registry::{self, OrderedDirective};
use control_plane::title_purge;
use reqwest::{Client, StatusCode};

use crate::appliance::quoted;
use crate::catalogue::Title;
use crate::failure::{Failure, Step};
use crate::member::Invitation;
use crate::origin::remove_if_there;
use crate::process::RoleProcess;

pub use service::run;

/// For one question.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A running control plane, or one that is just away, and its operator.
pub struct ControlPlaneProcess {
    folder: PathBuf,
    program: PathBuf,
    origin: String,
    /// Where it listens; port 0 before it has been started.
    listen: SocketAddr,
    process: Option<RoleProcess>,
    database: Database,
    client: Client,
}

impl ControlPlaneProcess {
    /// Prepares one in a new folder; it does not run yet. `origin` is the base URL of where content comes from.
    pub async fn prepare(folder: &Path, program: &Path, origin: &str) -> Result<Self, Failure> {
        fs::create_dir(folder).step("making the control plane's folder")?;
        let database = Database::open(&database_url(folder)).await.step("making the database")?;
        // Before anybody is invited, who has to be told of the key: the control plane itself makes it when it first plans.
        StateFolder::open(&folder.join("state"))
            .and_then(|state| state.signer_or_first())
            .step("making the key")?;
        let client = Client::builder().no_proxy().timeout(TIMEOUT).build().step("making an operator")?;
        Ok(Self {
            folder: folder.to_owned(),
            program: program.to_owned(),
            origin: origin.to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            process: None,
            database,
            client,
        })
    }

    /// Starts it over what it knows, and waits until it answers; where it has run before, at the same address.
    pub async fn start(&mut self) -> Result<(), Failure> {
        let (config, address_file) = (self.folder.join("config.toml"), self.folder.join("address"));
        fs::write(&config, self.config()).step("writing the control plane's configuration")?;
        remove_if_there(&address_file)?;
        let mut command = Command::new(&self.program);
        command.args(["role", "control-plane", "--config"]).arg(config);
        command.arg("--address-file").arg(&address_file).stdin(Stdio::null());
        let mut process = RoleProcess::start("the control plane", command)?;
        self.listen = process
            .wait_until_ready(async || fs::read_to_string(&address_file).ok()?.trim().parse().ok())
            .await?;
        self.process = Some(process);
        Ok(())
    }

    /// Times are those of a fleet that is watched closely: a demo must not last long.
    fn config(&self) -> String {
        format!(
            "[control_plane]
listen = [\"{listen}\"]
database = {database:?}
state = {state}
poll_interval = \"500 ms\"
poll_timeout = \"1 s\"
misses = 2
recoveries = 1
escalation = \"20 s\"
origins = [{{ name = \"origin\", url = {origin:?} }}]
client_origins = [{origin:?}]
report_interval = \"1 s\"
manifest_interval = \"5 s\"
ttl_beyond = \"10 s\"
[log]
level = \"warn\"
",
            listen = self.listen,
            database = database_url(&self.folder),
            state = quoted(&self.state_folder()),
            origin = self.origin,
        )
    }

    fn state_folder(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Makes a site of these prefixes known.
    pub async fn add_site(&self, site: &str, region: &str, prefixes: &[&str]) -> Result<(), Failure> {
        self.add_site_below(None, site, region, prefixes).await
    }

    /// Makes a site known whose clients turn to `upstream` next.
    pub async fn add_site_below(
        &self,
        upstream: Option<&str>,
        site: &str,
        region: &str,
        prefixes: &[&str],
    ) -> Result<(), Failure> {
        let facts = SiteFacts {
            name: SiteName::parse(site).step(site)?,
            region: RegionName::parse(region).step(region)?,
            upstream: upstream.map(|upstream| SiteName::parse(upstream).step(upstream)).transpose()?,
            prefixes: prefixes.iter().map(|prefix| prefix.parse().step(prefix)).collect::<Result<_, _>>()?,
        };
        registry::add_site(&self.database, facts).await.step("adding the site")
    }

    /// Makes an appliance of a site known, and gives what it has to be told.
    pub async fn invite(&self, appliance: &str, site: &str) -> Result<Invitation, Failure> {
        let (name, site) =
            (ApplianceName::parse(appliance).step(appliance)?, SiteName::parse(site).step(site)?);
        let token =
            registry::add_appliance(&self.database, &name, &site).await.step("adding the appliance")?;
        let state = StateFolder::open(&self.state_folder()).step("the control plane's keys")?;
        let keys = state.keys().step("the control plane's keys")?;
        let trusted: Vec<String> = keys
            .iter()
            .map(|key| key.trusted_key().step("the control plane's keys").map(|key| trusted_key(&key)))
            .collect::<Result<_, _>>()?;
        let (url, token) = (self.url(), token.as_str().to_owned());
        Ok(Invitation { url, token, trusted_keys: format!("[{}]", trusted.join(", ")) })
    }

    /// Publishes a title whose files lie in the origin's tree; its bundles.
    pub async fn publish(
        &self,
        title: &Title,
        tree: &Path,
        is_pinned: bool,
    ) -> Result<Vec<BundleKey>, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).step("the clock")?;
        self.publish_at(title, tree, is_pinned, now).await
    }

    /// The same as if it had been done at another moment, counted from 1970.
    pub async fn publish_at(
        &self,
        title: &Title,
        tree: &Path,
        is_pinned: bool,
        now: Duration,
    ) -> Result<Vec<BundleKey>, Failure> {
        let publication = Publication {
            title: TitleName::parse(&title.name).step(&title.name)?,
            regions: Vec::new(),
            release_at: None,
            expires_at: None,
            pinned: is_pinned,
            similar_to: None,
            tags: Vec::new(),
            seasons: Vec::new(),
            generation: None,
        };
        let path = BundlePath::parse(&title.path).step(&title.path)?;
        let published =
            publish(&self.database, &title.directory(tree), &path, publication, now.as_micros() as u64)
                .await
                .step(&title.name)?;
        match published.skipped.first() {
            Some((path, why)) => Err(Failure::new(format!("publishing {}: {why}", path.display()))),
            None => Ok(published.bundles.into_iter().map(|bundle| bundle.key).collect()),
        }
    }

    /// Takes a report as if it had come from an appliance: what it tells of days before it was started.
    pub async fn take_report(&self, report: &Report) -> Result<(), Failure> {
        let taken = registry::accept(&self.database, &report.appliance, report, report.at).await;
        taken.map(|_| ()).step("taking a report")
    }

    /// Orders something of an appliance.
    pub async fn order(&self, appliance: &str, order: &Order) -> Result<(), Failure> {
        let url = format!("{}/v1/appliances/{appliance}/directives", self.url());
        let body = serde_json::to_vec(order).step("the order")?;
        let request = self.client.post(url).bearer_auth(self.operator_token()?).body(body);
        let response = request.header("content-type", "application/json").send().await.step("ordering")?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(Failure::new(format!("ordering {order:?} of {appliance}: {status}"))),
        }
    }

    /// Orders that nothing of a title is served any more, of these appliances.
    pub async fn purge_title(&self, title: &str, appliances: &[&str]) -> Result<(), Failure> {
        let catalogue = Catalogue::read(&self.database).await.step("reading the catalogue")?;
        let orders = title_purge::orders(&catalogue, &TitleName::parse(title).step(title)?);
        for appliance in appliances {
            for order in &orders {
                self.order(appliance, order).await?;
            }
        }
        Ok(())
    }

    /// What was ordered of an appliance, and what became of it, the newest first.
    pub async fn directives(&self, appliance: &str) -> Result<Vec<OrderedDirective>, Failure> {
        let name = ApplianceName::parse(appliance).step(appliance)?;
        registry::directives(&self.database, &name).await.step("asking for directives")
    }

    /// What it knows of the appliances.
    pub async fn appliances(&self) -> Result<Vec<ApplianceView>, Failure> {
        let request = self.client.get(format!("{}/v1/appliances", self.url()));
        let response =
            request.bearer_auth(self.operator_token()?).send().await.step("asking for appliances")?;
        let status = response.status();
        let text = response.text().await.step("asking for appliances")?;
        if status != StatusCode::OK {
            return Err(Failure::new(format!("asking for appliances: {status}: {text}")));
        }
        let list: ApplianceList = serde_json::from_str(&text).step("asking for appliances")?;
        Ok(list.appliances)
    }

    /// When its last round of planning began that has ended, in seconds since 1970.
    pub async fn planned_at(&self) -> Result<u64, Failure> {
        counter(&self.database, "planned_at").await.step("asking when was planned")
    }

    /// The newest manifest of an appliance, whether it has fetched it or not.
    pub async fn newest_manifest(&self, appliance: &str) -> Result<Option<FillManifest>, Failure> {
        let name = ApplianceName::parse(appliance).step(appliance)?;
        planning::newest_list(&self.database, &name).await.step("asking for a manifest")
    }

    /// What its operator shows.
    pub fn operator_token(&self) -> Result<String, Failure> {
        let state = StateFolder::open(&self.state_folder()).step("the operator's token")?;
        let token = fs::read_to_string(state.operator_token_path()).step("the operator's token")?;
        Ok(token.trim().to_owned())
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.process.as_mut().map_or(Ok(None), RoleProcess::ended)
    }

    /// Ends it at once.
    pub fn kill(&mut self) -> Result<(), Failure> {
        self.process.take().map_or(Ok(()), |process| process.kill().map(|_| ()))
    }

    /// Tells it to stop, and waits for it.
    pub async fn stop(&mut self) -> Result<Option<ExitStatus>, Failure> {
        match self.process.take() {
            Some(process) => process.stop().await.map(Some),
            None => Ok(None),
        }
    }
}

fn database_url(folder: &Path) -> String {
    format!("sqlite://{}", folder.join("state.db").display())
}

/// A key as the configuration lists it.
fn trusted_key(key: &control_client::signature::TrustedKey) -> String {
    let digits: String = key.public_key.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{{ id = {:?}, public_key = \"{digits}\" }}", key.id)
}

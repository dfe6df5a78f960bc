use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::listeners;
use super::problem::Problems;
use crate::limits;
use crate::units::{display_duration, duration};

/// `[control_plane]`: the reference control plane, which as a rule runs on another machine than the appliances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControlPlaneConfig {
    /// Addresses of its HTTP API.
    #[serde(with = "listeners")]
    pub listen: Vec<SocketAddr>,
    /// The database, `sqlite:///…` or `postgres://…`.
    pub database: String,
    /// The folder of signing keys and the operator's token.
    pub state: PathBuf,
    /// Between two looks at one appliance's health.
    #[serde(with = "duration")]
    pub poll_interval: Duration,
    /// For one look.
    #[serde(with = "duration")]
    pub poll_timeout: Duration,
    /// Looks in a row without a healthy answer, after which clients are steered elsewhere.
    pub misses: u32,
    /// Healthy answers in a row, after which clients are steered there again.
    pub recoveries: u32,
    /// How long appliances wait for a peer of their site before they fetch from afar.
    #[serde(with = "duration")]
    pub escalation: Duration,
    /// Where appliances fill from in the first place, in the order in which to try them. Clients are not sent there.
    pub origins: Vec<OriginConfig>,
    /// Base URLs to which clients are sent where no appliance has what they want.
    pub client_origins: Vec<String>,
    /// What appliances are told to wait between two reports.
    #[serde(with = "duration")]
    pub report_interval: Duration,
    /// Between two rankings, each of which makes new manifests where something has changed.
    #[serde(with = "duration")]
    pub manifest_interval: Duration,
    /// How long an answer to a client holds that names an appliance of the client's own site first.
    #[serde(with = "duration")]
    pub ttl_own_site: Duration,
    /// How long one holds that names an appliance of the next tier first.
    #[serde(with = "duration")]
    pub ttl_next_tier: Duration,
    /// How long any other holds.
    #[serde(with = "duration")]
    pub ttl_beyond: Duration,
}

/// One origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginConfig {
    /// Its name in reports.
    pub name: String,
    /// Its base URL, to which the bundle's path and the object's name are appended.
    pub url: String,
}

impl Default for ControlPlaneConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 9400))],
            database: "sqlite:///var/lib/oca-control-plane/state.db".to_owned(),
            state: PathBuf::from("/var/lib/oca-control-plane"),
            poll_interval: Duration::from_secs(5),
            poll_timeout: Duration::from_secs(2),
            misses: 3,
            recoveries: 2,
            escalation: Duration::from_secs(600),
            origins: Vec::new(),
            client_origins: Vec::new(),
            report_interval: Duration::from_secs(60),
            manifest_interval: Duration::from_secs(3600),
            ttl_own_site: Duration::from_secs(300),
            ttl_next_tier: Duration::from_secs(60),
            ttl_beyond: Duration::from_secs(30),
        }
    }
}

impl ControlPlaneConfig {
    /// How long answers to clients hold, in seconds: of the client's own site, of the next tier, and all others.
    pub fn ttl_seconds(&self) -> [u32; 3] {
        [self.ttl_own_site, self.ttl_next_tier, self.ttl_beyond]
            .map(|ttl| u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX))
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        problems.check_count("control_plane.listen", self.listen.len(), 1..=limits::LISTENERS_MAX);
        self.check_database(problems);
        problems.check_path("control_plane.state", &self.state);
        problems.check_duration("control_plane.poll_interval", self.poll_interval, &limits::POLL_TIME);
        problems.check_duration("control_plane.poll_timeout", self.poll_timeout, &limits::POLL_TIME);
        problems.check_range("control_plane.misses", self.misses, &limits::POLL_COUNT, "the default is 3");
        problems.check_range(
            "control_plane.recoveries",
            self.recoveries,
            &limits::POLL_COUNT,
            "the default is 2",
        );
        if self.escalation > limits::ESCALATION_MAX {
            problems.add(
                "control_plane.escalation",
                format!(
                    "{} is longer than {}",
                    display_duration(self.escalation),
                    display_duration(limits::ESCALATION_MAX)
                ),
                "shorten it: no night is so long",
            );
        }
        self.check_origins(problems);
        self.check_client_origins(problems);
        problems.check_duration(
            "control_plane.report_interval",
            self.report_interval,
            &limits::REPORT_INTERVAL,
        );
        problems.check_duration(
            "control_plane.manifest_interval",
            self.manifest_interval,
            &limits::MANIFEST_INTERVAL,
        );
        for (key, ttl) in [
            ("control_plane.ttl_own_site", self.ttl_own_site),
            ("control_plane.ttl_next_tier", self.ttl_next_tier),
            ("control_plane.ttl_beyond", self.ttl_beyond),
        ] {
            problems.check_whole_seconds(key, ttl, &limits::STEERING_TTL);
        }
    }

    fn check_database(&self, problems: &mut Problems) {
        let rest = DATABASES.iter().find_map(|scheme| self.database.strip_prefix(scheme));
        if rest.is_none_or(str::is_empty) {
            problems.add(
                "control_plane.database",
                format!("{:?} names no database", self.shown_database()),
                "write sqlite:///PATH, or postgres://USER@HOST/NAME",
            );
        }
    }

    fn check_origins(&self, problems: &mut Problems) {
        problems.check_count("control_plane.origins", self.origins.len(), 0..=limits::ORIGINS_MAX);
        for (index, origin) in self.origins.iter().enumerate() {
            let name = format!("control_plane.origins[{index}].name");
            problems.check_name(&name, &origin.name, limits::SOURCE_NAME_BYTES_MAX);
            problems.check_url(&format!("control_plane.origins[{index}].url"), &origin.url);
            if self.origins[..index].iter().any(|earlier| earlier.name == origin.name) {
                problems.add(
                    &name,
                    format!("{:?} is the name of two origins", origin.name),
                    "give each a name of its own: reports tell them apart by it",
                );
            }
        }
    }

    fn check_client_origins(&self, problems: &mut Problems) {
        let origins = &self.client_origins;
        problems.check_count("control_plane.client_origins", origins.len(), 0..=limits::ORIGINS_MAX);
        for (index, url) in origins.iter().enumerate() {
            problems.check_url(&format!("control_plane.client_origins[{index}]"), url);
        }
    }

    /// `database` without the password that it may hold.
    pub(super) fn shown_database(&self) -> String {
        let Some((scheme, rest)) = self.database.split_once("://") else { return self.database.clone() };
        let authority_bytes = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, after) = rest.split_at(authority_bytes);
        match authority.rsplit_once('@') {
            Some((user, host)) => {
                let user = user.split(':').next().unwrap_or_default();
                let after = after.split('?').next().unwrap_or_default();
                format!("{scheme}://{user}@{host}{after}")
            }
            None => format!("{scheme}://{authority}{}", after.split('?').next().unwrap_or_default()),
        }
    }
}

const DATABASES: [&str; 3] = ["sqlite://", "postgres://", "postgresql://"];

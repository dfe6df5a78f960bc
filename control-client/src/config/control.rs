use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::optional;
use super::problem::Problems;
use crate::fleet::ApplianceName;
use crate::signature::TrustedKey;
use crate::units::duration;
use crate::{limits, web_url};

/// `[control]`: who this appliance is, and whom it asks and tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControlConfig {
    /// The control plane's base URL; `None`, written `""`: none, the last manifest stays in force.
    #[serde(with = "optional")]
    pub url: Option<String>,
    /// The name under which the control plane knows this appliance; `None`, written `""`: it has none.
    #[serde(with = "optional")]
    pub appliance: Option<ApplianceName>,
    /// The file with the token that the appliance shows the control plane: one line.
    pub token_file: PathBuf,
    /// The keys whose manifests are obeyed.
    pub trusted_keys: Vec<TrustedKey>,
    /// Between two reports, unless the control plane asks for another interval.
    #[serde(with = "duration")]
    pub report_interval: Duration,
    /// The URLs under which clients and peers reach this appliance, without a path.
    pub serve_urls: Vec<String>,
    /// The URL of the read-only admin API, which the control plane polls; `None`, written `""`: it does not.
    #[serde(with = "optional")]
    pub admin_url: Option<String>,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            url: None,
            appliance: None,
            token_file: PathBuf::from("/etc/oca/token"),
            trusted_keys: Vec::new(),
            report_interval: Duration::from_secs(60),
            serve_urls: Vec::new(),
            admin_url: None,
        }
    }
}

impl ControlConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        if let Some(url) = &self.url {
            problems.check_url("control.url", url);
            if self.appliance.is_none() {
                problems.add(
                    "control.appliance",
                    "control.url names a control plane, but this appliance has no name".to_owned(),
                    "write the name under which the control plane knows it, for example \"oca-1\"",
                );
            }
        }
        problems.check_path("control.token_file", &self.token_file);
        self.check_keys(problems);
        problems.check_duration("control.report_interval", self.report_interval, &limits::REPORT_INTERVAL);
        problems.check_count("control.serve_urls", self.serve_urls.len(), 0..=limits::SERVE_URLS_MAX);
        for (index, url) in self.serve_urls.iter().enumerate() {
            check_without_path(problems, &format!("control.serve_urls[{index}]"), url);
        }
        if let Some(url) = &self.admin_url {
            check_without_path(problems, "control.admin_url", url);
        }
    }

    fn check_keys(&self, problems: &mut Problems) {
        problems.check_count("control.trusted_keys", self.trusted_keys.len(), 0..=limits::TRUSTED_KEYS_MAX);
        for (index, key) in self.trusted_keys.iter().enumerate() {
            let name = format!("control.trusted_keys[{index}].id");
            problems.check_name(&name, &key.id, limits::KEY_ID_BYTES_MAX);
            if self.trusted_keys[..index].iter().any(|earlier| earlier.id == key.id) {
                problems.add(
                    &name,
                    format!("{:?} is the id of two keys", key.id),
                    "give each key the id that the control plane gives it",
                );
            }
        }
    }
}

fn check_without_path(problems: &mut Problems, key: &str, url: &str) {
    problems.check_url(key, url);
    if web_url::check(url).is_ok() && web_url::has_path(url) {
        problems.add(
            key,
            format!("{url:?} has a path"),
            "write only the scheme, the host and, where needed, the port: paths are appended",
        );
    }
}

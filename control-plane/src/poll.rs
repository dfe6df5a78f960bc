//! Looks at every appliance's health: `GET /health` of its read-only admin API.

use std::time::Duration;

use control_client::fleet::ApplianceName;
use control_client::health::HealthReport;
use reqwest::{Client, StatusCode, redirect};

use crate::hysteresis::Observation;
use crate::limits;

/// Asks appliances how they are.
#[derive(Clone, Debug)]
pub struct Poller {
    client: Client,
}

impl Poller {
    /// One exchange takes at most `timeout`, from connecting to the last byte. Connections are kept between
    /// polls; redirects are not followed, and no proxy is asked.
    pub fn new(timeout: Duration) -> Result<Self, reqwest::Error> {
        let builder = || {
            Client::builder()
                .http1_only()
                .no_proxy()
                .redirect(redirect::Policy::none())
                .timeout(timeout)
                .connect_timeout(timeout)
                .pool_max_idle_per_host(1)
                .user_agent(concat!("oca-control-plane/", env!("CARGO_PKG_VERSION")))
        };
        let client = builder().build().or_else(|error| {
            // A machine that has none of the usual authorities can still poll over HTTP, as appliances are by
            // default.
            tracing::warn!(%error, "appliances whose admin_url is https cannot be polled");
            builder().tls_certs_only([]).build()
        })?;
        Ok(Self { client })
    }

    /// One look at the appliance of that name. What another one says there is no word on it.
    pub async fn look(&self, name: &ApplianceName, admin_url: &str) -> (Observation, Option<HealthReport>) {
        match self.health(admin_url).await {
            Ok(HealthReport { appliance: Some(other), .. }) if other != name.as_str() => {
                let why = format!("{admin_url} answers as {other:?}: correct control.admin_url of {name}");
                (Observation::Missed(why), None)
            }
            Ok(health) => (Observation::of(&health), Some(health)),
            Err(why) => (Observation::Missed(why), None),
        }
    }

    async fn health(&self, admin_url: &str) -> Result<HealthReport, String> {
        let url = format!("{}/health", admin_url.trim_end_matches('/'));
        let mut answer = self.client.get(&url).send().await.map_err(|error| sentence(&url, &error))?;
        let status = answer.status();
        // 503 is how an unhealthy appliance says so.
        if status != StatusCode::OK && status != StatusCode::SERVICE_UNAVAILABLE {
            return Err(format!("{url} answered with status {status}"));
        }
        let mut content = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| sentence(&url, &error))? {
            if content.len() + chunk.len() > limits::HEALTH_BYTES_MAX {
                return Err(format!("{url} answered with more than {} bytes", limits::HEALTH_BYTES_MAX));
            }
            content.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&content)
            .map_err(|error| format!("{url} did not answer with a health report: {error}"))
    }
}

fn sentence(url: &str, error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("{url} did not answer in time");
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    format!("{url} cannot be asked: {cause}")
}

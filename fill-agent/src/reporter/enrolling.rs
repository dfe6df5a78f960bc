//! Who this appliance is, told where that has changed since the last time, and now and then in any case.

use std::collections::BTreeMap;
use std::time::Instant;

use control_client::control_plane_client::ControlPlaneError;
use control_client::health::HealthReport;
use control_client::inventory::Inventory;
use control_client::report::Enrolment;
use control_client::wire::DocumentVersion;

use super::Reporter;
use crate::daemon::is_up;
use crate::limits::{CAPACITY_CHANGE_PART, ENROL_INTERVAL};

/// What the control plane was told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Enrolled {
    /// The capacity, and when it was told.
    told: Option<(u64, Instant)>,
}

impl Enrolled {
    fn is_about(self, capacity_bytes: u64, now: Instant) -> bool {
        self.told.is_some_and(|(known, at)| {
            let is_close = known.abs_diff(capacity_bytes) <= known / CAPACITY_CHANGE_PART;
            is_close && now.saturating_duration_since(at) < ENROL_INTERVAL
        })
    }
}

impl Reporter {
    /// Enrols, where that has changed. While the daemon is away or has not found all that it holds, nobody knows how much there
    /// is: what the control plane was told last stands.
    pub(super) async fn enrol(
        &mut self,
        health: Option<&HealthReport>,
        inventory: Option<&Inventory>,
    ) -> Result<(), ControlPlaneError> {
        let (Some(health), Some(inventory)) = (health, inventory) else { return Ok(()) };
        if !is_up(health) {
            return Ok(());
        }
        let mut held = BTreeMap::<u8, u64>::new();
        for bundle in &inventory.bundles {
            let on_volume = held.entry(bundle.volume).or_default();
            *on_volume = on_volume.saturating_add(bundle.bytes);
        }
        let capacity_bytes = self.agent.volumes.capacity_bytes(&held).await;
        let now = Instant::now();
        if self.enrolled.is_about(capacity_bytes, now) {
            return Ok(());
        }
        let control = &self.agent.config.control;
        let enrolment = Enrolment {
            version: DocumentVersion,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            serve_urls: control.serve_urls.clone(),
            admin_url: control.admin_url.clone().unwrap_or_default(),
            capacity_bytes,
        };
        self.control_plane.enrol(&enrolment).await?;
        if self.enrolled.told.is_none_or(|(known, _)| known != capacity_bytes) {
            tracing::info!(capacity_bytes, "the control plane knows this appliance");
        }
        self.enrolled = Enrolled { told: Some((capacity_bytes, now)) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_plane_that_was_put_back_is_told_again_within_the_hour() {
        let then = Instant::now();
        let enrolled = Enrolled { told: Some((1_000_000, then)) };
        assert!(!Enrolled::default().is_about(1_000_000, then));
        assert!(enrolled.is_about(1_000_001, then + ENROL_INTERVAL / 2));
        assert!(!enrolled.is_about(2_000_000, then + ENROL_INTERVAL / 2), "it has changed");
        assert!(!enrolled.is_about(1_000_000, then + ENROL_INTERVAL));
    }
}

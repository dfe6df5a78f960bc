//! Whether the appliance would rather not have more to do: what CMSD's `du` tells players, so that they move elsewhere.

use control_client::health::{HealthReport, Verdict};

/// Nearly full is with fewer connections free than this part of all.
const CONNECTIONS_PART: u64 = 16;

/// Decides by what health says: not well, drained or told to stop (all of which turn the verdict), or nearly full.
pub fn is_in_duress(report: &HealthReport, connections_max: u64) -> bool {
    report.verdict != Verdict::Healthy
        || report.headroom.connections_free < connections_max / CONNECTIONS_PART
}

#[cfg(test)]
mod tests {
    use control_client::health::{Headroom, Readiness};
    use control_client::wire::DocumentVersion;

    use super::*;

    #[test]
    fn who_is_not_well_or_nearly_full_is_in_duress() {
        for (verdict, connections_free, expected) in [
            (Verdict::Healthy, 16_000, false),
            (Verdict::Healthy, 1000, false),
            (Verdict::Healthy, 999, true),
            (Verdict::Unhealthy, 16_000, true),
        ] {
            let report = HealthReport {
                version: DocumentVersion,
                appliance: None,
                readiness: Readiness::Serving,
                verdict,
                reasons: Vec::new(),
                headroom: Headroom { connections_free, ..Headroom::default() },
                volumes: Vec::new(),
                uptime_seconds: 0,
            };
            assert_eq!(is_in_duress(&report, 16_000), expected, "{verdict} {connections_free}");
        }
    }
}

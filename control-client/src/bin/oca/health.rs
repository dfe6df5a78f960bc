use std::process::ExitCode;

use control_client::admin_client::Call;
use control_client::health::{HealthReport, Verdict, VolumeHealth};
use control_client::units::{ByteCount, rounded_duration};

use crate::arguments::Asking;
use crate::failure::Failure;
use crate::output;
use crate::table::{Align, facts, printable, table};
use crate::target::ask;

/// `oca health`.
pub(crate) fn run(asking: &Asking) -> Result<ExitCode, Failure> {
    let answer = ask(asking, &Call::Health)?;
    let report = answer.health()?;
    if asking.json {
        output::print_bytes(&answer.content)?;
    } else {
        output::print(&show(&report))?;
    }
    Ok(match report.verdict {
        Verdict::Healthy => ExitCode::SUCCESS,
        Verdict::Unhealthy => ExitCode::FAILURE,
    })
}

fn show(report: &HealthReport) -> String {
    let uptime = std::time::Duration::from_secs(report.uptime_seconds);
    let headroom = &report.headroom;
    let size = |bytes| ByteCount::new(bytes).rounded();
    let mut text = facts([
        ("verdict", report.verdict.to_string()),
        ("readiness", report.readiness.to_string()),
        ("appliance", report.appliance.clone().unwrap_or_else(|| "-".to_owned())),
        ("uptime", rounded_duration(uptime)),
    ]);
    for reason in &report.reasons {
        text.push_str(&printable(&format!("  {}: {}", reason.code, reason.text)));
        text.push('\n');
    }
    text.push_str("\nheadroom\n");
    text.push_str(&facts([
        ("  connections", headroom.connections_free.to_string()),
        ("  descriptors", headroom.descriptors_free.to_string()),
        ("  memory", size(headroom.memory_available_bytes)),
        ("  read buffers", size(headroom.read_buffers_free_bytes)),
        ("  footer cache", size(headroom.footer_cache_free_bytes)),
    ]));
    text.push('\n');
    text.push_str(&table(
        [
            ("volume", Align::Right),
            ("state", Align::Left),
            ("bundles", Align::Right),
            ("free", Align::Right),
            ("errors", Align::Right),
            ("path", Align::Left),
            ("reason", Align::Left),
        ],
        report.volumes.iter().map(row),
    ));
    text
}

fn row(volume: &VolumeHealth) -> [String; 7] {
    [
        volume.index.to_string(),
        volume.state.to_string(),
        volume.bundles.to_string(),
        ByteCount::new(volume.free_bytes).rounded(),
        volume.errors.to_string(),
        volume.path.clone(),
        volume.reason.clone().unwrap_or_default(),
    ]
}

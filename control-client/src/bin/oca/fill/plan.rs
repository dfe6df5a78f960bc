use std::process::ExitCode;

use control_client::agent_client::AgentCall;
use control_client::fill::{FillPlanReport, PlannedBundle};
use control_client::units::ByteCount;

use super::ask;
use crate::arguments::AskingAgent;
use crate::failure::Failure;
use crate::output;
use crate::table::{Align, table};

/// `oca fill plan`.
pub(super) fn run(asking: &AskingAgent) -> Result<ExitCode, Failure> {
    let answer = ask(asking, AgentCall::Plan)?;
    let plan: FillPlanReport = answer.document()?;
    if asking.json {
        output::print_bytes(&answer.content)?;
    } else {
        output::print(&show(&plan))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(plan: &FillPlanReport) -> String {
    let mut text = match plan.manifest_sequence {
        0 => "no manifest: nothing to fill until the control plane gives one\n".to_owned(),
        sequence => format!("manifest {sequence}: {} of its bundles are here\n", plan.held),
    };
    for (what, bundles) in [("fetch", &plan.fetches), ("retire", &plan.retires), ("leave out", &plan.skipped)]
    {
        if !bundles.is_empty() {
            text.push('\n');
            text.push_str(&list(what, bundles));
        }
    }
    if plan.more_skipped > 0 {
        text.push_str(&format!("and {} more are left out\n", plan.more_skipped));
    }
    let sum = |bundles: &[PlannedBundle]| {
        let bytes = bundles.iter().fold(0_u64, |sum, bundle| sum.saturating_add(bundle.bytes));
        format!("{} bundles, {}", bundles.len(), ByteCount::new(bytes).rounded())
    };
    text.push_str(&format!("\nto fetch: {}; to retire: {}\n", sum(&plan.fetches), sum(&plan.retires)));
    text
}

fn list(what: &str, bundles: &[PlannedBundle]) -> String {
    table(
        [
            (what, Align::Left),
            ("generation", Align::Right),
            ("size", Align::Right),
            ("volume", Align::Right),
            ("why", Align::Left),
        ],
        bundles.iter().map(|bundle| {
            [
                bundle.path.to_string(),
                bundle.generation.to_string(),
                ByteCount::new(bundle.bytes).rounded(),
                bundle.volume.map_or_else(|| "-".to_owned(), |volume| volume.to_string()),
                bundle.why.clone(),
            ]
        }),
    )
}

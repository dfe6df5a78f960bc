//! What the control plane has the appliance do.

use std::sync::Arc;

use control_client::admin::Purge;
use control_client::report::{Directive, DirectiveResult, Order};
use control_client::wire::DocumentVersion;

use crate::agent::Agent;

/// Carries out one directive. To do it twice does no harm: after a restart it may be given again.
pub(super) async fn carry_out(agent: &Arc<Agent>, directive: &Directive) -> DirectiveResult {
    let client = agent.daemon.client();
    let failure = match &directive.order {
        Order::Drain => client.drain().await.err().map(|error| error.to_string()),
        Order::Undrain => client.undrain().await.err().map(|error| error.to_string()),
        Order::Purge { path, prefix } => {
            let purge = Purge { version: DocumentVersion, path: path.clone(), prefix: *prefix };
            match client.purge(purge).await {
                Ok(purged) if purged.not_reached.is_empty() => None,
                Ok(purged) => Some(format!(
                    "volumes that are not open were not reached, and would serve it again: {}",
                    purged.not_reached.join(", ")
                )),
                Err(error) => Some(error.to_string()),
            }
        }
        Order::FillNow => {
            agent.blocking(Agent::want_run).await;
            None
        }
    };
    match &failure {
        None => tracing::info!(id = directive.id, order = ?directive.order, "a directive was carried out"),
        Some(failure) => {
            tracing::warn!(id = directive.id, order = ?directive.order, failure, "a directive could not be carried out");
        }
    }
    DirectiveResult { id: directive.id, failure }
}

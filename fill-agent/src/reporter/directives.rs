//! What the control plane has the appliance do.

use std::sync::Arc;

use control_client::admin::Purge;
use control_client::report::{Directive, DirectiveResult, Order};
use control_client::wire::DocumentVersion;
use tokio::time::timeout;

use crate::agent::Agent;
use crate::limits::PUBLICATION_WAIT;

/// Carries out one directive. To do it twice does no harm: after a restart it may be given again.
pub(super) async fn carry_out(agent: &Arc<Agent>, directive: &Directive) -> DirectiveResult {
    let client = agent.daemon.client();
    let failure = match &directive.order {
        Order::Drain => client.drain().await.err().map(|error| error.to_string()),
        Order::Undrain => client.undrain().await.err().map(|error| error.to_string()),
        Order::Purge { path, prefix } => {
            purge(agent, Purge { version: DocumentVersion, path: path.clone(), prefix: *prefix }).await
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

/// Has the daemon purge, at once, and again when the fill can bring nothing of it any more; why that was not all.
async fn purge(agent: &Agent, purge: Purge) -> Option<String> {
    let purging = agent.purges.begin(&purge);
    // Asked first: what is published by the time that the daemon has answered may have come after its look.
    let was_publishing = purging.is_publishing();
    let told = tell(agent, &purge).await;
    if !was_publishing {
        return told;
    }
    let is_unpublished = timeout(PUBLICATION_WAIT, purging.until_unpublished()).await.is_ok();
    // What the first answer lacked, this one lacks too, or it is made up for.
    match (tell(agent, &purge).await, is_unpublished) {
        (told, true) => told,
        (None, false) => Some(STILL_PUBLISHING.to_owned()),
        (Some(told), false) => Some(format!("{told}; {STILL_PUBLISHING}")),
    }
}

const STILL_PUBLISHING: &str = "the fill is publishing a part of it still, which may serve; purge again";

/// Has the daemon purge what it has; why that was not all.
async fn tell(agent: &Agent, purge: &Purge) -> Option<String> {
    match agent.daemon.purge(purge.clone()).await {
        Ok(purged) if !purged.not_reached.is_empty() => Some(format!(
            "volumes that are not open, or hold what cannot be read, were not reached, and may serve it again: {}",
            purged.not_reached.join(", ")
        )),
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

use control_client::process::start_log;
use control_plane::server::ServerLimits;
use control_plane::service::Service;
use tokio::signal::unix::{SignalKind, signal};

use crate::Session;
use crate::failure::Failure;

/// Serves until it is told to stop. The addresses that it listens on are written to standard output, one a
/// line, with `--json` as a list.
pub(crate) async fn serve(session: &Session) -> Result<(), Failure> {
    start_log(session.config.log.level);
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::runtime)?;
    let service = Service::start(session.control_plane().clone(), ServerLimits::default()).await?;
    let urls: Vec<String> = service.addresses.iter().map(|address| format!("http://{address}")).collect();
    session.output.write(&urls, Clone::clone)?;
    tracing::info!(addresses = ?service.addresses, "serving");
    // Where systemd does not wait for it, nobody is told.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    service.stop().await;
    Ok(())
}

//! The control plane's role: its service, until it is told to stop.

use std::path::Path;
use std::process::ExitCode;

use control_client::config::{Config, LogLevel, Reader};
use control_client::process::start_log;
use control_plane::server::ServerLimits;
use control_plane::service::Service;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{Failure, Step};
use crate::origin::publish_address;

/// Serves until it is told to stop. The first address that it listens on is written to a file once it does.
pub fn run(config: &Path, address_file: &Path) -> ExitCode {
    start_log(LogLevel::Warn);
    let served = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .step("the runtime")
        .and_then(|runtime| runtime.block_on(serve(config, address_file)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("control plane: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: &Path, address_file: &Path) -> Result<(), Failure> {
    let mut told_to_stop = signal(SignalKind::terminate()).step("the signal")?;
    let config = Config::load_for(config, Reader::ControlPlane).step("the configuration")?;
    let service = Service::start(config.control_plane, ServerLimits::default()).await.step("starting")?;
    let address = service.addresses.first().ok_or_else(|| Failure::new("it listens nowhere"))?;
    publish_address(address_file, &address.to_string())?;
    told_to_stop.recv().await;
    service.stop().await;
    Ok(())
}

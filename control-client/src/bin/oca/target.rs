//! Which daemon or agent is asked: what the command line says, else the socket that the configuration names.

use std::io;
use std::path::{Path, PathBuf};

use tokio::runtime::{Builder, Runtime};

use control_client::admin_client::{AdminAddress, AdminClient, Answer, Call};
use control_client::config::{CONFIG_PATH, Config, ConfigError};

use crate::arguments::{Asking, AskingAgent};
use crate::failure::Failure;

/// Asks once, and gives the answer as it was received.
pub(crate) fn ask(asking: &Asking, call: &Call) -> Result<Answer, Failure> {
    let client = client(asking)?;
    let runtime = runtime()?;
    let answer = runtime.block_on(client.send(call));
    // A host name that is still being looked up must not hold up the end.
    runtime.shutdown_background();
    Ok(answer?)
}

/// The client that the command line asks for.
pub(crate) fn client(asking: &Asking) -> Result<AdminClient, Failure> {
    let mut client = AdminClient::new(address(asking)?);
    if let Some(timeout) = asking.timeout {
        client.read_timeout = timeout;
        client.change_timeout = timeout;
    }
    Ok(client)
}

/// A runtime for one command.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Other(format!("cannot start: {error}; are too many files open?")))
}

fn address(asking: &Asking) -> Result<AdminAddress, Failure> {
    if let Some(address) = &asking.address {
        return Ok(AdminAddress::Tcp(address.clone()));
    }
    if let Some(socket) = &asking.socket {
        return Ok(AdminAddress::Socket(socket.clone()));
    }
    Ok(AdminAddress::Socket(configuration(asking.config.as_deref())?.admin.socket))
}

/// The agent's socket that the command line asks for.
pub(crate) fn agent_socket(asking: &AskingAgent) -> Result<PathBuf, Failure> {
    match &asking.socket {
        Some(socket) => Ok(socket.clone()),
        None => Ok(configuration(asking.config.as_deref())?.fill.socket),
    }
}

/// The configuration that names the sockets; the defaults where none is named and none can be read.
fn configuration(named: Option<&Path>) -> Result<Config, Failure> {
    if let Some(path) = named {
        return Ok(Config::read(path)?);
    }
    Ok(Config::read(Path::new(CONFIG_PATH)).unwrap_or_else(|error| {
        if !is_out_of_reach(&error) {
            eprintln!("oca: {error}\noca: trying the default socket");
        }
        Config::default()
    }))
}

/// Whether this user may not see the file, or there is none: then the default socket is a good guess, and
/// nothing to tell.
fn is_out_of_reach(error: &ConfigError) -> bool {
    match error {
        ConfigError::Unreadable { error, .. } => {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
        }
        _ => false,
    }
}

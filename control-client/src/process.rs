//! How a process of the appliance, or of the control plane, meets the machine that it runs on, behind the feature of this name: its
//! [log](start_log), for the service manager's journal, and its [private socket](PrivateSocket), for those who look after it.

mod log;
mod private_socket;

pub use log::start_log;
pub use private_socket::{Peer, PrivateSocket, PrivateSocketError, SocketName};

//! The admin API: HTTP/1.1 and JSON, for the operator and the control plane.
//!
//! Two doors. Over TCP (`admin.listen`) everybody who can connect may read: health, load, metrics, inventory,
//! demand, status. Over the Unix socket (`admin.socket`) root, the daemon's own user and its group may also change
//! things: adopt, retire, purge, drain, undrain.
//!
//! Reading order: `admin/tcp.rs` and [`control_client::process`] open the doors, `admin/connection.rs` bounds what comes
//! through them, `admin/routes.rs` decides what is asked, `admin/answers.rs`, `admin/inventory.rs` and
//! `admin/demand.rs` answer reads, `admin/changes.rs` makes changes.
//!
//! All of it runs on one thread with a tokio runtime of its own, which no worker ever waits for. What can
//! block (the store's changes, a long inventory) runs on a few more threads, whose number is bounded. If all
//! of this hung, clients would be served as before.

mod answers;
mod changes;
mod connection;
mod demand;
mod inventory;
mod limits;
mod routes;
mod tcp;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use control_client::process::{PrivateSocket, PrivateSocketError};
use control_client::status::ListenerRole;
use tokio::sync::watch;

pub(crate) use self::answers::build;
use self::connection::Door;
use crate::appliance::Appliance;

/// The running admin API.
pub struct Admin {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Admin {
    /// Binds every listener of the configuration, notes them in `appliance`, and starts the thread. The
    /// health thread should have given its first verdict by then.
    pub fn start(appliance: Arc<Appliance>) -> Result<Admin, AdminError> {
        let config = &appliance.config.admin;
        let mut doors = Vec::new();
        for &address in &config.listen {
            let listener = tcp::bind(address).map_err(|error| AdminError::Tcp { address, error })?;
            let bound = listener.local_addr().map_err(|error| AdminError::Tcp { address, error })?;
            appliance.add_listener(ListenerRole::Admin, bound);
            doors.push(Door::Tcp(listener));
        }
        let unix = PrivateSocket::bind(&config.socket, limits::UNIX_BACKLOG).map_err(AdminError::Socket)?;
        appliance.add_listener(ListenerRole::AdminSocket, config.socket.display());
        doors.push(Door::Unix(unix));

        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(limits::BLOCKING_THREADS)
            .thread_name("oca-admin-work")
            .build()
            .map_err(AdminError::Thread)?;
        let (stop, stopped) = watch::channel(false);
        let thread = thread::Builder::new()
            .name("oca-admin".into())
            .spawn(move || {
                runtime.block_on(connection::serve(appliance, doors, stopped));
                // A retire may wait for a slow reader for hours; it is not waited for.
                runtime.shutdown_timeout(limits::STOP_TIMEOUT);
            })
            .map_err(AdminError::Thread)?;
        Ok(Admin { stop, thread })
    }

    /// Closes the doors, lets answers in flight end within a second, and removes the Unix socket.
    pub fn stop(self) {
        let _ = self.stop.send(true);
        if self.thread.join().is_err() {
            tracing::error!("the admin thread had panicked; please report it with the log");
        }
    }
}

/// What the admin API counts of itself.
#[derive(Default)]
pub struct AdminStats {
    answered: [AtomicU64; AnswerClass::COUNT],
    refused_peers: AtomicU64,
    open_connections: AtomicU64,
    waiting_retires: AtomicU64,
}

/// How an admin request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerClass {
    /// 2xx.
    Done,
    /// 4xx.
    ClientError,
    /// 5xx, among them the 503 of an unhealthy `/health`.
    ServerError,
}

impl AnswerClass {
    /// Every class.
    pub const ALL: [AnswerClass; AnswerClass::COUNT] =
        [AnswerClass::Done, AnswerClass::ClientError, AnswerClass::ServerError];
    /// How many there are.
    pub const COUNT: usize = 3;

    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            AnswerClass::Done => "done",
            AnswerClass::ClientError => "client_error",
            AnswerClass::ServerError => "server_error",
        }
    }
}

impl AdminStats {
    /// Requests answered in this way.
    pub fn answered(&self, class: AnswerClass) -> u64 {
        self.answered[class as usize].load(Relaxed)
    }

    /// Peers of the Unix socket who were turned away.
    pub fn refused_peers(&self) -> u64 {
        self.refused_peers.load(Relaxed)
    }

    /// Connections open now.
    pub fn open_connections(&self) -> u64 {
        self.open_connections.load(Relaxed)
    }

    /// Retires that wait for their last reader.
    pub fn waiting_retires(&self) -> u64 {
        self.waiting_retires.load(Relaxed)
    }
}

/// Why there is no admin API; all for the operator.
#[derive(Debug)]
pub enum AdminError {
    /// An address of `admin.listen` cannot be bound.
    Tcp {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// There is no `admin.socket`.
    Socket(PrivateSocketError),
    /// The system gave us no thread or no event queue.
    Thread(io::Error),
}

impl fmt::Display for AdminError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminError::Tcp { address, error } => write!(
                formatter,
                "the admin API cannot listen on {address}: {error}; see with `ss -ltnp` who does, or change \
                admin.listen"
            ),
            AdminError::Socket(PrivateSocketError::NotASocket(path)) => write!(
                formatter,
                "{} exists and is not a socket; move it away, or change admin.socket",
                path.display()
            ),
            AdminError::Socket(PrivateSocketError::InUse(path)) => write!(
                formatter,
                "a running daemon answers at {}; stop it, or give this one another admin.socket and other \
                volumes",
                path.display()
            ),
            AdminError::Socket(PrivateSocketError::Io(path, error)) => write!(
                formatter,
                "the admin socket {} cannot be bound: {error}; create its directory and let the daemon's \
                user write there",
                path.display()
            ),
            AdminError::Thread(error) => {
                write!(
                    formatter,
                    "no thread for the admin API: {error}; raise TasksMax or LimitNOFILE of the unit"
                )
            }
        }
    }
}

impl std::error::Error for AdminError {}

//! The life of the process: read the configuration, open the store, bind, start the workers, announce, wait
//! for signals, stop.
//!
//! Whatever cannot work is found before the first connection is accepted, and said once, with what to do about it.

mod resources;
mod settings;
mod start_error;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cache_store::Store;
use control_client::config::{Config, Reader};
use control_client::process::start_log;
use control_client::status::ListenerRole;

use crate::access_log::{AccessLog, LogSender};
use crate::admin::Admin;
use crate::appliance::Appliance;
use crate::connection_bound::ConnectionBound;
use crate::health::HealthThread;
use crate::limits::USER_TIMEOUT_STALLS;
use crate::listener::{Listener, SocketSettings, bind_for_workers};
use crate::mailbox::{Mailbox, Message, mailbox};
use crate::pull::PullService;
use crate::service::{PlayerService, Service, Timeouts};
use crate::signals::{Signal, Signals};
use crate::stats::{Transport, WorkerStats};
use crate::tier::{SampleSender, Tier};
use crate::tls::kernel::KernelTls;
use crate::tls::{KeyFileError, TicketKeys, Tls};
use crate::watchdog;
use crate::worker::{self, WorkerSettings};
use resources::{fit_descriptor_limit, probe_kernel_tls, start_pulling, start_tier};
use settings::{cache_name, notsent_lowat_bytes, policy, store_options, worker_count};
use start_error::{CONFIGURATION, OS_ERROR, SOFTWARE, StartError, UNAVAILABLE};

/// How long the daemon waits for a signal before it looks whether its workers are alive.
const SIGNAL_WAIT: Duration = Duration::from_secs(1);

/// Beyond the deadline that the workers keep themselves: how long a worker that does not end is waited for.
const WORKER_GRACE: Duration = Duration::from_secs(5);

/// Runs the daemon until it is told to stop. The exit codes are those of `sysexits.h`.
pub fn run(config_path: &Path) -> ExitCode {
    let config = match Config::load_for(config_path, Reader::Daemon) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("oca-daemon: {error}");
            return ExitCode::from(CONFIGURATION);
        }
    };
    start_log(config.log.level);
    match Daemon::start(config, config_path) {
        Ok(daemon) => daemon.live(),
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(error.exit_code)
        }
    }
}

struct Daemon {
    signals: Signals,
    appliance: Arc<Appliance>,
    tls: Option<Tls>,
    kernel_tls: Option<KernelTls>,
    workers: Vec<RunningWorker>,
    admin: Admin,
    health: HealthThread,
    /// Where a rule pulls.
    pulling: Option<PullService>,
}

struct RunningWorker {
    mailbox: Mailbox,
    thread: JoinHandle<()>,
}

impl Daemon {
    fn start(mut config: Config, config_path: &Path) -> Result<Self, StartError> {
        let signals = Signals::block().map_err(|error| StartError::new(OS_ERROR, error))?;
        let tier_files_max = fit_descriptor_limit(&mut config);
        let tls = load_tls(&config)?;
        let kernel_tls = tls.as_ref().and_then(|_| probe_kernel_tls(&config.tls));
        let worker_count = worker_count(config.serve.workers);
        let (access_log, log_senders) =
            AccessLog::start(config.log.access.as_deref(), worker_count, config.log.access_queue)
                .map_err(|error| StartError::new(UNAVAILABLE, error))?;
        let store =
            Store::open(store_options(&config)).map_err(|error| StartError::new(UNAVAILABLE, error))?;
        let volume_count = config.store.volumes.len();
        let stats = (0..worker_count).map(|_| Arc::new(WorkerStats::new(volume_count))).collect();
        let appliance = Appliance::new(config, Some(config_path.to_owned()), store, stats, access_log);
        if let Some(tls) = &tls {
            appliance.set_certificates(tls.certificates.clone());
        }
        let sample_senders = start_tier(&appliance, tier_files_max)?;
        let pulling = start_pulling(&appliance)?;
        let _ = appliance.begin_recovering();
        let health =
            HealthThread::start(appliance.clone()).map_err(|error| StartError::new(OS_ERROR, error))?;
        let admin = Admin::start(appliance.clone()).map_err(|error| StartError::new(UNAVAILABLE, error))?;

        let listeners = bind_all(&appliance, worker_count)?;
        let workers = Vec::new();
        let mut daemon = Self { signals, appliance, tls, kernel_tls, workers, admin, health, pulling };
        let ends = log_senders.into_iter().zip(sample_senders);
        for ((index, listeners), (log, samples)) in listeners.into_iter().enumerate().zip(ends) {
            daemon.start_worker(index, listeners, log, samples)?;
        }
        daemon.announce();
        Ok(daemon)
    }

    fn start_worker(
        &mut self,
        index: usize,
        listeners: Vec<Listener>,
        log: LogSender,
        samples: SampleSender,
    ) -> Result<(), StartError> {
        let config = &self.appliance.config;
        let (mailbox, letters) = mailbox().map_err(|error| StartError::new(OS_ERROR, error))?;
        let service = Service {
            worker: index as u16,
            store: self.appliance.store.clone(),
            residency: self.appliance.tier().and_then(Tier::residency),
            policy: policy(config)?,
            players: PlayerService::new(&config.serve, cache_name(config), self.appliance.duress()),
            timeouts: Timeouts::new(&config.serve, &config.pull),
            stats: self.appliance.workers[index].clone(),
            mailbox: mailbox.clone(),
            tls: self.tls.as_ref().map(|tls| tls.settings.clone()),
            kernel_tls: self.kernel_tls,
            connection_bound: ConnectionBound::new(config.serve.connections, &self.appliance.workers),
            at_capacity: config.serve.at_capacity,
            pull: self.appliance.pulling().map(|pulling| pulling.handle.clone()),
            notsent_lowat_bytes: notsent_lowat_bytes(&config.serve),
        };
        let read_buffer_bytes = config.serve.read_buffers.bytes();
        let volume_count = config.store.volumes.len();
        let settings =
            WorkerSettings { service, letters, listeners, read_buffer_bytes, volume_count, log, samples };
        let thread = worker::spawn(settings).map_err(|error| StartError::new(OS_ERROR, error))?;
        self.appliance.demand.add_worker(mailbox.clone());
        self.workers.push(RunningWorker { mailbox, thread });
        Ok(())
    }

    fn announce(&self) {
        let _ = self.appliance.begin_serving();
        self.appliance.store.start_reconciling();
        for listener in self.appliance.listeners() {
            tracing::info!(role = ?listener.role, address = %listener.address, "listening");
        }
        tracing::info!(workers = self.workers.len(), "serving");
        watchdog::ready();
    }

    /// Waits until the daemon is told to stop, or a worker is gone.
    fn live(self) -> ExitCode {
        loop {
            match self.signals.wait(SIGNAL_WAIT) {
                Some(Signal::Stop) => return self.stop(),
                Some(Signal::Reload) => self.reload(),
                None => {}
            }
            if let Some(tls) = &self.tls {
                say_ticket_keys(tls.tickets.rotate(unix_seconds()));
            }
            if self.workers.iter().any(|worker| worker.thread.is_finished()) {
                tracing::error!(
                    "a worker has ended by itself; leaving, so that the service manager starts us again"
                );
                return ExitCode::from(SOFTWARE);
            }
        }
    }

    fn reload(&self) {
        if self.appliance.config.log.access.is_some() {
            self.appliance.access_log.reopen();
            tracing::info!("the access log is being opened again");
        }
        match self.tls.as_ref().map(|tls| tls.certificates.reload()) {
            Some(Ok(names)) => tracing::info!(names, "certificates were read again"),
            Some(Err(error)) => {
                tracing::error!(%error, "certificates were not reloaded; the old ones stay in use")
            }
            None => {}
        }
    }

    /// Accept queues are emptied, responses in flight finish within the bound, and everything is closed in order.
    fn stop(self) -> ExitCode {
        let timeout = self.appliance.config.serve.shutdown_timeout;
        tracing::info!(timeout_seconds = timeout.as_secs(), "stopping");
        self.appliance.begin_stopping();
        watchdog::stopping(timeout);
        let deadline = Instant::now() + timeout;
        for worker in &self.workers {
            worker.mailbox.send(Message::Stop { deadline });
        }
        let mut all_ended = true;
        for worker in self.workers {
            all_ended &= join_by(worker.thread, deadline + WORKER_GRACE);
        }
        self.admin.stop();
        self.health.stop();
        if let Some(pulling) = self.pulling {
            pulling.stop(deadline + WORKER_GRACE);
        }
        if let Some(tier) = self.appliance.tier() {
            tier.stop();
        }
        self.appliance.store.close();
        self.appliance.access_log.stop();
        if !all_ended {
            tracing::error!("a worker did not end in time; leaving without it");
        }
        tracing::info!("stopped");
        if all_ended { ExitCode::SUCCESS } else { ExitCode::from(OS_ERROR) }
    }
}

fn join_by(thread: JoinHandle<()>, deadline: Instant) -> bool {
    while !thread.is_finished() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    thread.join().is_ok()
}

/// Every listener of the configuration, a list for each worker.
fn bind_all(appliance: &Appliance, worker_count: usize) -> Result<Vec<Vec<Listener>>, StartError> {
    let serve = &appliance.config.serve;
    let settings = SocketSettings {
        notsent_lowat_bytes: notsent_lowat_bytes(serve),
        user_timeout: serve.send_stall_timeout.saturating_mul(USER_TIMEOUT_STALLS),
    };
    let mut of_workers: Vec<Vec<Listener>> = (0..worker_count).map(|_| Vec::new()).collect();
    let mut bind = |addresses: &[SocketAddr], kind, role: ListenerRole| {
        for address in addresses {
            let (bound, listeners) = bind_for_workers(*address, worker_count, kind, settings)
                .map_err(|error| StartError::new(UNAVAILABLE, error))?;
            appliance.add_listener(role, bound);
            for (of_worker, listener) in of_workers.iter_mut().zip(listeners) {
                of_worker.push(listener);
            }
        }
        Ok(())
    };
    bind(&serve.listen, Transport::Cleartext, ListenerRole::Http)?;
    bind(&serve.listen_tls, Transport::Tls, ListenerRole::Https)?;
    Ok(of_workers)
}

/// What TLS listeners need, where there are any.
fn load_tls(config: &Config) -> Result<Option<Tls>, StartError> {
    if config.serve.listen_tls.is_empty() {
        return Ok(None);
    }
    let (tickets, kept) = TicketKeys::load(config.tls.ticket_keys.clone(), unix_seconds());
    say_ticket_keys(kept);
    Tls::load(&config.tls.certificates, tickets)
        .map(Some)
        .map_err(|error| StartError::new(CONFIGURATION, error))
}

/// Service goes on without: clients shake hands in full.
fn say_ticket_keys(kept: Result<(), KeyFileError>) {
    if let Err(error) = kept {
        tracing::warn!("{error}");
    }
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

//! The data plane of the edge cache appliance: segments over HTTP/1.1 from a store of bundles, and the admin API.
//!
//! # Reading order: the life of a request
//!
//! 1. [`worker`]: one thread per core; a completion arrives and is applied to a connection.
//! 2. [`connection`]: the states; `receiving` makes a request of bytes,
//! 3. [`request`]: the grammar and framing of HTTP, pure;
//! 4. `connection/deciding`: asks the next two what to answer,
//! 5. [`serve`]: every decision about a request, pure;
//! 6. [`cache_store`]: which bundle has the object, lock-free, and where in its file;
//! 7. [`response`]: the head, and which ranges of the file follow it;
//! 8. `connection/sending`: [`body`] says what to read next, [`disk_reads`] reads and verifies it for its [`readers`], [`transport`] sends it;
//! 9. for what no bundle holds `connection/pulling`: it is handed to [`pull`], whose threads answer it from what they hold or from
//!    upstream, and sent as it comes;
//! 10. `connection/closing`: the [`outcome`] and the [`demand`] are counted and logged, and the next request is awaited.
//!
//! # What lies under it
//!
//! [`reactor`] is what connections share on a worker: [`ring`] (io_uring), [`receive_buffers`] and
//! [`read_buffers`] in [`mapping`]s, the [`timer_wheel`], the [`wall_clock`], the [`read_queue`] with its lines for buffers, and the [`block_waiters`].
//! [`token`] names what a completion is about; [`acceptor`] and [`listener`] bring connections in, as many as [`connection_bound`] allows;
//! [`mailbox`] brings messages from other threads; [`scheduling`] says who goes first on a core; [`service`] is what never changes. [`tls`] holds the
//! certificates. [`limits`] holds every bound, with its reason.
//!
//! # What stands around it
//!
//! [`daemon`] is the life of the process. [`appliance`] is what its threads share: [`stats`] and [`metrics`],
//! [`readiness`], [`health`] and [`load`], the [`access_log`], the [`admin`] API, the service manager's [`watchdog`],
//! and [`signals`].

pub mod acceptor;
pub mod access_log;
pub mod admin;
pub mod appliance;
pub mod block_waiters;
pub mod body;
pub mod connection;
pub mod connection_bound;
pub mod daemon;
pub mod demand;
pub mod disk_reads;
pub mod health;
pub mod key_hasher;
pub mod limits;
pub mod listener;
pub mod load;
pub mod mailbox;
pub mod mapping;
pub mod media;
pub mod metrics;
pub mod outcome;
pub mod pull;
pub mod reactor;
pub mod read_buffers;
pub mod read_queue;
pub mod readers;
pub mod readiness;
pub mod receive_buffers;
pub mod request;
pub mod response;
pub mod ring;
pub mod scheduling;
pub mod serve;
pub mod service;
pub mod signals;
pub mod socket_options;
pub mod stats;
pub mod tier;
pub mod timer_wheel;
pub mod tls;
pub mod token;
pub mod transport;
pub mod wall_clock;
pub mod watchdog;
pub mod worker;

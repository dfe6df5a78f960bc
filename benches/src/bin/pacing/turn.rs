//! One turn: a player and its neighbours at one daemon, over fresh connections. What begins in its first seconds does not count.

use std::io;
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use benches::client::Client;
use benches::statistics::{median, quantile};
use demo::failure::{Failure, Step};

use super::content::Content;
use super::datagrams::{self, Datagrams};
use super::download;
use super::household::Network;
use super::player::{Film, Watched};
use super::scenario::{METRICS, Scenario};
use super::small_requests;
use super::transport::Transport;

/// What all turns of a scenario share.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'a> {
    pub(crate) network: &'a Network,
    pub(crate) content: &'a Content,
    pub(crate) film: Film,
    pub(crate) scenario: Scenario,
    /// What the appliance's connections have.
    pub(crate) congestion: &'a str,
    /// From here on it counts.
    pub(crate) from: Duration,
    /// The end.
    pub(crate) to: Duration,
}

/// A client at work. Its connection outlives the work: until then the kernel can be asked about it.
type Busy<T> = JoinHandle<io::Result<(T, Client)>>;

/// The neighbour, doing what the scenario says; what comes of it is its part of the metrics but for what the kernel knows.
enum Neighbour {
    Requests(Busy<Vec<f64>>),
    Download(Busy<f64>),
}

impl Turn<'_> {
    /// Plays it at the daemon that serves there; the values of [`Scenario::metrics`].
    pub(crate) fn play(&self, daemon: SocketAddr) -> Result<[f64; METRICS], Failure> {
        let Self { network, content, film, from, to, .. } = *self;
        let (player, neighbour) = (self.connect(daemon)?, self.connect(daemon)?);
        let ports = [&player, &neighbour].map(Client::port);
        let sender = network.appliance.within(datagrams::sender)?.step("opening a socket")?;
        let receiver = network.household.within(datagrams::receiver)?.step("opening a socket")?;
        let began = Instant::now();
        let segments = content.segments.clone();
        let player = employ("player", player, move |client| film.watch(client, &segments, began, to))?;
        let calls = spawn("datagrams", move || Datagrams { sender, receiver }.exchange(began, to))?;
        let neighbour = self.start_neighbour(neighbour, began)?;
        let before = self.transports(&ports, began, from)?;
        let after = self.transports(&ports, began, to)?;
        let [player_again, neighbour_again] =
            [0, 1].map(|which| after[which].retransmitted_percent_since(&before[which]));
        let neighbour = neighbour.end(neighbour_again)?;
        let (sent, came) = end("the datagrams", calls)?;
        let delays = datagrams::delays(&sent, &came, from, to);
        let (watched, _) = end("the player", player)?;
        Ok([
            neighbour[0],
            neighbour[1],
            median(&delays.millis),
            quantile(&delays.millis, 0.95),
            delays.lost_percent,
            self.player_bits_per_second(&watched)?,
            player_again,
            watched.playback.stalled(from, to).as_secs_f64(),
        ])
    }

    fn connect(&self, daemon: SocketAddr) -> Result<Client, Failure> {
        self.network.household.within(|| Client::connect(daemon))?.step("connecting to the daemon")
    }

    fn start_neighbour(&self, client: Client, began: Instant) -> Result<Neighbour, Failure> {
        let (from, to) = (self.from, self.to);
        match self.scenario {
            Scenario::Requests => {
                let small = self.content.small.clone();
                let ask = move |client: &mut Client| {
                    let answered = small_requests::ask(client, &small, began, to)?;
                    Ok(small_requests::millis(&answered, from, to))
                };
                employ("requests", client, ask).map(Neighbour::Requests)
            }
            Scenario::Download => {
                let large = self.content.large.clone();
                let take = move |client: &mut Client| {
                    let came = download::download(client, &large, began, to)?;
                    Ok(download::bits_per_second(&came, from, to))
                };
                employ("download", client, take).map(Neighbour::Download)
            }
        }
    }

    /// At a moment, of the connections to these ports.
    fn transports(
        &self,
        ports: &[io::Result<u16>; 2],
        began: Instant,
        at: Duration,
    ) -> Result<Vec<Transport>, Failure> {
        thread::sleep(at.saturating_sub(began.elapsed()));
        let port = |port: &io::Result<u16>| port.as_ref().copied().step("a connection's port");
        let of = |one| Transport::of(&self.network.appliance, port(one)?, self.congestion);
        ports.iter().map(of).collect()
    }

    /// The median of the segments that count.
    fn player_bits_per_second(&self, watched: &Watched) -> Result<f64, Failure> {
        let bits = (self.film.segment_bytes() * 8) as f64;
        let counted = watched.fetched.iter().filter(|one| (self.from..self.to).contains(&one.at));
        let rates: Vec<f64> = counted.map(|one| bits / one.took.as_secs_f64()).collect();
        if rates.is_empty() {
            return Err(Failure::new("the player fetched nothing: the turn is shorter than a segment"));
        }
        Ok(median(&rates))
    }
}

impl Neighbour {
    /// Waits for its end; what it saw, of which the kernel knows how much was sent to it once more.
    fn end(self, retransmitted_percent: f64) -> Result<[f64; 2], Failure> {
        match self {
            Neighbour::Requests(asking) => {
                let (millis, _) = end("the requests", asking)?;
                Ok([median(&millis), quantile(&millis, 0.95)])
            }
            Neighbour::Download(downloading) => {
                let (bits_per_second, _) = end("the download", downloading)?;
                Ok([bits_per_second, retransmitted_percent])
            }
        }
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    act: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<JoinHandle<io::Result<T>>, Failure> {
    thread::Builder::new().name(name.to_owned()).spawn(act).step("starting a thread")
}

fn employ<T: Send + 'static>(
    name: &str,
    mut client: Client,
    act: impl FnOnce(&mut Client) -> io::Result<T> + Send + 'static,
) -> Result<Busy<T>, Failure> {
    spawn(name, move || act(&mut client).map(|done| (done, client)))
}

fn end<T>(what: &str, thread: JoinHandle<io::Result<T>>) -> Result<T, Failure> {
    thread.join().map_err(|_| Failure::new(format!("{what}: the thread panicked")))?.step(what)
}

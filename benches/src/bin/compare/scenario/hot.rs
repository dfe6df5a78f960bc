//! Hot objects: all of them in memory, asked for over and over by 64 connections. What is compared is how long the servers' core worked for
//! each request, or for each GiB. Those who ask may be players, and say what players say.

use benches::rounds::metric;
use demo::failure::Failure;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384;

use super::Ran;
use crate::bare::BareKind;
use crate::bench::{Bench, Contestant};
use crate::core_time::server_seconds;
use crate::corpus::ObjectSet;
use crate::nginx::Reading;
use crate::peer::is_installed;
use crate::player;
use crate::record::{Series, compare};
use crate::wrk::{Found, Wrk};

/// wrk's connections.
const CONNECTIONS: usize = 64;

/// Objects at most, however small they are.
const OBJECTS_MAX: u64 = 512;

/// The name of the limit's contestant.
const LIMIT: &str = "limit";

/// One scenario.
pub(super) struct Hot {
    pub(super) name: &'static str,
    pub(super) object_bytes: u64,
    pub(super) is_tls: bool,
    /// Each request has what a player says. Peers and limit get the same, and make nothing of it.
    pub(super) is_of_players: bool,
}

pub(super) fn run(bench: &Bench, hot: &Hot) -> Result<Ran, Failure> {
    if !is_installed("wrk") {
        return Ok(Ran::Missing("it needs wrk (apt-get install wrk)".to_owned()));
    }
    let objects = hot.objects(bench)?;
    let target = &bench.looked_at()?;
    let ours = bench.ours(&[])?;
    println!("  ours: {}", ours.look(&bench.runtime, target)?);
    let mut contestants = vec![hot.contestant("ours", ours.http, ours.https)];
    let mut processes = vec![ours.processes()];
    let nginx = bench.nginx(Reading::Sendfile)?;
    if let Some(nginx) = &nginx {
        println!("  nginx: {}", nginx.look(target, Reading::Sendfile)?);
        contestants.push(hot.contestant("nginx", nginx.http, nginx.https));
        processes.push(nginx.peer.processes());
    }
    // Varnish's own TLS is in no Debian package.
    let origin = nginx.as_ref().filter(|_| !hot.is_tls);
    let varnish = origin.map(|nginx| bench.varnish(nginx.http)).transpose()?.flatten();
    if let Some(varnish) = &varnish {
        println!("  varnish: {}", varnish.look(target)?);
        contestants.push(hot.contestant("varnish", varnish.http, varnish.http));
        processes.push(varnish.peer.processes());
    }
    let kind = if hot.is_tls { BareKind::Seal } else { BareKind::Sendfile };
    let bare = bench.bare(kind, &hot.set_name())?;
    contestants.push(hot.contestant(LIMIT, bare.address, bare.address));
    processes.push(bare.peer.processes());

    let mut requests = Vec::new();
    for contestant in &contestants {
        if hot.is_tls && bench.client(contestant)?.suite() != Some(TLS13_AES_256_GCM_SHA384) {
            return Err(Failure::new(format!("{} does not agree on AES-256-GCM", contestant.name)));
        }
        requests.push(hot.load(bench, contestant, &objects)?.requests);
        bench.sample(contestant, &objects, 1)?;
    }
    let measured = bench.rounds.run(contestants.len(), |number| {
        let contestant = &contestants[number];
        let before = server_seconds(&processes[number])?;
        let found = hot.load(bench, contestant, &objects)?;
        let seconds = server_seconds(&processes[number])? - before;
        requests[number] += found.requests;
        let cost = hot.cost(seconds, &found);
        println!(
            "  {:<8} {cost:>9.4} {}, {:.0} MB/s",
            contestant.name,
            hot.metric(),
            found.bytes as f64 / found.took.as_secs_f64() / 1e6
        );
        Ok([cost])
    })?;
    contestants.iter().try_for_each(|contestant| bench.sample(contestant, &objects, 2))?;
    println!("  ours: {}", ours.served_from(&bench.runtime)?);
    if hot.is_of_players {
        let seen = ours.look_at_players(&bench.runtime, &objects.targets[0], requests[0])?;
        println!("  ours: {seen}");
    }
    ours.stop(&bench.runtime)?;

    let named = contestants.iter().zip(&measured);
    let all = named.map(|(of, rounds)| Series { name: of.name, values: metric(rounds, 0) });
    let all: Vec<Series> = all.collect();
    let (ours, peers, limit) = (&all[0], &all[1..all.len() - 1], &all[all.len() - 1]);
    Ok(Ran::Measured(compare(hot.name, hot.metric(), &ours.values, peers, Some(&limit.values))))
}

impl Hot {
    fn contestant(
        &self,
        name: &'static str,
        http: std::net::SocketAddr,
        https: std::net::SocketAddr,
    ) -> Contestant {
        Contestant { name, address: if self.is_tls { https } else { http }, is_tls: self.is_tls }
    }

    /// In TLS, and to players, the same objects are served as in cleartext.
    fn set_name(&self) -> String {
        self.name.replace("tls-", "hot-").replace("-players", "")
    }

    fn objects(&self, bench: &Bench) -> Result<ObjectSet, Failure> {
        let objects = (bench.scale.hot_bytes / self.object_bytes).min(OBJECTS_MAX);
        bench.set(&self.set_name(), objects as usize, self.object_bytes)
    }

    fn is_by_request(&self) -> bool {
        self.object_bytes < 256 << 10
    }

    fn metric(&self) -> &'static str {
        if self.is_by_request() { "run_micros_per_request" } else { "run_seconds_per_gib" }
    }

    fn cost(&self, seconds: f64, found: &Found) -> f64 {
        let requests = found.requests as f64;
        if self.is_by_request() {
            seconds * 1e6 / requests
        } else {
            seconds / (requests * self.object_bytes as f64 / f64::from(1 << 30))
        }
    }

    fn load(&self, bench: &Bench, contestant: &Contestant, objects: &ObjectSet) -> Result<Found, Failure> {
        let wrk = Wrk {
            address: contestant.address,
            is_tls: contestant.is_tls,
            connections: CONNECTIONS,
            threads: 1,
            seconds: bench.scale.wrk_seconds,
            fields: if self.is_of_players { &player::FIELDS } else { &[] },
            folder: &bench.folder,
        };
        wrk.run(objects).map_err(|failure| Failure::new(format!("{}: {failure}", contestant.name)))
    }
}

//! What a player says is taken (CMCD), and acted on in the one place where that is done: the pace of the socket, and what the
//! response's head says of how it was made (Server-Timing, CMSD). What to do is decided by `media` and `serve`, without I/O.

use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use control_client::config::Cmsd;
use control_client::units::BitRate;

use super::pulling::Pull;
use super::{Connection, Exchange};
use crate::limits::TRANSPORT_FACTS_AGE_MAX;
use crate::media::cmsd::{self, Told, TransportFacts};
use crate::media::{Cmcd, Pace, pace};
use crate::request::Request;
use crate::response::Response;
use crate::serve::{self, Source};
use crate::service::Service;
use crate::socket_options::{set_max_pacing_rate, transport_facts};

impl Connection {
    /// Sets how fast the socket may send a response of `body_bytes` at most; a socket that is paced as it should be is left alone.
    pub(super) fn set_pace(&mut self, body_bytes: u64, service: &Service) {
        let cmcd = self.exchange.as_ref().and_then(|exchange| exchange.record.cmcd.as_deref());
        let wanted = match cmcd {
            Some(cmcd) if body_bytes > 0 => {
                let pace = pace(cmcd, body_bytes, service.players.pacing.as_ref());
                service.stats.players.paced(pace);
                match pace {
                    Pace::AtMost(rate, _) => Some(rate),
                    Pace::Unlimited(_) => None,
                }
            }
            // What has no body needs no pace.
            Some(_) => return,
            None => None,
        };
        // A socket that cannot be paced sends as it did.
        if wanted != self.pace && set_max_pacing_rate(&self.socket, wanted.map(on_the_wire)).is_ok() {
            self.pace = wanted;
        }
    }
}

/// What the kernel knows of a connection, as it was last asked.
#[derive(Default)]
pub(super) struct LastFacts(Option<(Instant, Option<TransportFacts>)>);

impl LastFacts {
    /// Asks again where it is too long ago.
    fn at(&mut self, now: Instant, socket: BorrowedFd<'_>) -> Option<TransportFacts> {
        match self.0 {
            Some((asked_at, facts)) if now < asked_at + TRANSPORT_FACTS_AGE_MAX => facts,
            _ => {
                let facts = transport_facts(socket);
                self.0 = Some((now, facts));
                facts
            }
        }
    }
}

impl Exchange {
    /// Notes what the player says of itself.
    pub(super) fn note_player(&mut self, request: &Request<'_>) {
        self.record.cmcd = Cmcd::read(request.target, &request.fields.cmcd).map(Box::new);
    }

    /// Where the body comes from; `None`: it was made here, as for a failure.
    fn source(&self) -> Option<Source> {
        match (&self.bundle, &self.pull) {
            (Some(_), _) if self.body.resident().is_some() => Some(Source::Ram),
            (Some(_), _) => Some(Source::Disk),
            (None, pull) => pull.as_ref().and_then(Pull::source),
        }
    }

    /// Adds to the head of an object what is known only now that its first bytes are there: where they came from and how long it
    /// took until `now`, and to players how their connection does.
    pub(super) fn complete_head(
        &mut self,
        now: Instant,
        socket: BorrowedFd<'_>,
        last_facts: &mut LastFacts,
        service: &Service,
    ) {
        self.head_is_complete = true;
        let Some(source) = self.source() else { return };
        let delay = now.saturating_duration_since(self.began);
        Response::add_to_head(&mut self.head, |head| {
            serve::append_server_timing(head, source, delay);
            let players = &service.players;
            let is_told = match players.cmsd {
                Cmsd::Players => self.record.cmcd.is_some(),
                Cmsd::All => true,
                Cmsd::Off => false,
            };
            if is_told {
                let told = Told {
                    transport: last_facts.at(now, socket),
                    delay,
                    is_in_duress: players.duress.load(Relaxed),
                    bitrate_kbps: self.record.cmcd.as_deref().and_then(Cmcd::picture_bitrate_kbps),
                };
                cmsd::append_line(head, &players.member, &told);
            }
        });
    }
}

/// Bytes per second of packets that carry a body at that rate: the headers of TCP and IP, and TLS records, are 3 to 5 %.
fn on_the_wire(rate: BitRate) -> u64 {
    let bytes_per_second = rate.bytes_per_second();
    bytes_per_second.saturating_add(bytes_per_second / 16)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_kernel_is_asked_again_when_what_it_said_is_too_old_and_not_before() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let (mut last, now) = (LastFacts::default(), Instant::now());
        let first = last.at(now, server.as_fd());
        assert!(first.is_some());
        // The window grows with what is acknowledged.
        std::thread::scope(|scope| {
            scope.spawn(|| client.read_exact(&mut vec![0; 4 << 20]).unwrap());
            server.write_all(&vec![0; 4 << 20]).unwrap();
        });
        assert_eq!(last.at(now + TRANSPORT_FACTS_AGE_MAX - Duration::from_nanos(1), server.as_fd()), first);
        assert_ne!(last.at(now + TRANSPORT_FACTS_AGE_MAX, server.as_fd()), first);
    }
}

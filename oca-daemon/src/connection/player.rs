//! What a player says is taken (CMCD), and acted on in the one place where that is done: the pace of the socket, and what the
//! response's head says of how it was made (Server-Timing, CMSD). What to do is decided by `media` and `serve`, without I/O.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use control_client::config::Cmsd;
use control_client::units::BitRate;

use super::pulling::Pull;
use super::{Connection, Exchange};
use crate::media::cmsd::{self, Told};
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
    pub(super) fn complete_head(&mut self, now: Instant, socket: BorrowedFd<'_>, service: &Service) {
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
                let told = told(socket, delay, self.record.cmcd.as_deref(), players.duress.load(Relaxed));
                cmsd::append_line(head, &players.member, &told);
            }
        });
    }
}

fn told(socket: BorrowedFd<'_>, delay: Duration, cmcd: Option<&Cmcd>, is_in_duress: bool) -> Told {
    Told {
        transport: transport_facts(socket.as_fd()),
        delay,
        is_in_duress,
        bitrate_kbps: cmcd.and_then(Cmcd::picture_bitrate_kbps),
    }
}

/// Bytes per second of packets that carry a body at that rate: the headers of TCP and IP, and TLS records, are 3 to 5 %.
fn on_the_wire(rate: BitRate) -> u64 {
    let bytes_per_second = rate.bytes_per_second();
    bytes_per_second.saturating_add(bytes_per_second / 16)
}

//! Common Media Server Data (CTA-5006): what the appliance tells a player about the connection and about itself.
//!
//! Only `CMSD-Dynamic` is sent. `CMSD-Static` is the origin's to say, about objects; a bundle does not keep it, and what a
//! cache does not know it must not invent.

use std::time::Duration;

/// What the kernel knows of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportFacts {
    /// The smoothed round-trip time.
    pub round_trip: Duration,
    /// Bytes that may be on their way at once: the smaller of the congestion window and the client's receive window.
    pub window_bytes: u64,
}

/// What one response tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Of the connection; `None` where the kernel does not say.
    pub transport: Option<TransportFacts>,
    /// From the request's first byte until the response's was there to be sent.
    pub delay: Duration,
    /// The appliance would rather not have more to do: it drains, stops, is not well, or is nearly full.
    pub is_in_duress: bool,
    /// The bitrate that the player plays, kbit/s, where it said so.
    pub bitrate_kbps: Option<u32>,
}

impl TransportFacts {
    /// `etp`, kbit/s: what the window allows in each round trip. `None` before there was one.
    pub fn throughput_kbps(&self) -> Option<u64> {
        let micros = u64::try_from(self.round_trip.as_micros()).ok().filter(|&micros| micros > 0)?;
        Some((self.window_bytes.saturating_mul(8000) + micros / 2) / micros)
    }
}

/// Appends `CMSD-Dynamic`, with `member`, the appliance's name as a string in quotes.
///
/// `mb` is sent in duress only, and asks the player not to climb above what it plays now: an appliance that has too much to do
/// should not be asked for more, and does not know the player's ladder.
pub fn append_line(out: &mut Vec<u8>, member: &str, told: &Told) {
    out.extend_from_slice(b"CMSD-Dynamic: ");
    out.extend_from_slice(member.as_bytes());
    // By hand: format strings took a hundredth of a request with CMCD.
    let mut number = |key: &[u8], value: u64| {
        out.extend_from_slice(key);
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    };
    if let Some(transport) = told.transport {
        if let Some(throughput_kbps) = transport.throughput_kbps() {
            number(b";etp=", throughput_kbps);
        }
        number(b";rtt=", rounded_millis(transport.round_trip));
    }
    number(b";rd=", rounded_millis(told.delay));
    if told.is_in_duress {
        if let Some(bitrate_kbps) = told.bitrate_kbps {
            number(b";mb=", bitrate_kbps.into());
        }
        out.extend_from_slice(b";du");
    }
    out.extend_from_slice(b"\r\n");
}

fn rounded_millis(duration: Duration) -> u64 {
    u64::try_from((duration.as_micros() + 500) / 1000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(told: &Told) -> String {
        let mut out = Vec::new();
        append_line(&mut out, "\"oca-17\"", told);
        String::from_utf8(out).unwrap()
    }

    const CALM: Told = Told {
        transport: Some(TransportFacts { round_trip: Duration::from_micros(12_300), window_bytes: 145_000 }),
        delay: Duration::from_micros(8600),
        is_in_duress: false,
        bitrate_kbps: Some(3200),
    };

    #[test]
    fn a_calm_appliance_tells_of_the_connection_alone() {
        // 145,000 bytes in 12.3 ms are 94,309 kbit/s.
        assert_eq!(line(&CALM), "CMSD-Dynamic: \"oca-17\";etp=94309;rtt=12;rd=9\r\n");
    }

    #[test]
    fn in_duress_the_player_is_asked_to_leave_and_not_to_climb() {
        let told = Told { is_in_duress: true, ..CALM };
        assert_eq!(line(&told), "CMSD-Dynamic: \"oca-17\";etp=94309;rtt=12;rd=9;mb=3200;du\r\n");
        let told = Told { bitrate_kbps: None, ..told };
        assert_eq!(line(&told), "CMSD-Dynamic: \"oca-17\";etp=94309;rtt=12;rd=9;du\r\n");
    }

    #[test]
    fn what_the_kernel_does_not_say_is_not_told() {
        assert_eq!(line(&Told { transport: None, ..CALM }), "CMSD-Dynamic: \"oca-17\";rd=9\r\n");
        let transport = Some(TransportFacts { round_trip: Duration::ZERO, window_bytes: 1 });
        assert_eq!(line(&Told { transport, ..CALM }), "CMSD-Dynamic: \"oca-17\";rtt=0;rd=9\r\n");
    }

    #[test]
    fn no_window_is_too_large_to_be_told() {
        let transport = TransportFacts { round_trip: Duration::from_micros(1), window_bytes: u64::MAX };
        assert_eq!(transport.throughput_kbps(), Some(u64::MAX));
    }
}

//! What the appliance's kernel says of a connection (`ss`, which reads `TCP_INFO`): what it has sent, and how much of that once more.

use demo::failure::Failure;

use super::namespace::Namespace;

/// One connection, as its sender sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transport {
    /// Bytes that were sent, those included that were sent once more.
    pub(crate) sent_bytes: u64,
    /// Bytes that were sent once more.
    pub(crate) retransmitted_bytes: u64,
}

impl Transport {
    /// The connection to a port of the household, which must have this congestion control.
    pub(crate) fn of(appliance: &Namespace, port: u16, congestion: &str) -> Result<Self, Failure> {
        let said = appliance.run("ss", "-tinOH state established")?;
        let line = find(&said, port).ok_or_else(|| {
            Failure::new(format!("the appliance has no connection to port {port} of the household"))
        })?;
        if line.split_whitespace().any(|word| word == congestion) {
            Ok(parse(line))
        } else {
            Err(Failure::new(format!("a connection should have {congestion}: {line}")))
        }
    }

    /// The part that was sent once more since an earlier moment, in percent.
    pub(crate) fn retransmitted_percent_since(&self, before: &Self) -> f64 {
        let sent = self.sent_bytes.saturating_sub(before.sent_bytes);
        let again = self.retransmitted_bytes.saturating_sub(before.retransmitted_bytes);
        if sent == 0 { 0.0 } else { again as f64 / sent as f64 * 100.0 }
    }
}

/// The line of the connection whose peer has that port: the peer's address is the last of two.
fn find(said: &str, port: u16) -> Option<&str> {
    let ends_so = format!(":{port}");
    let addresses = |line: &str| {
        let mut addresses = line.split_whitespace().filter(|word| word.starts_with("198.18."));
        addresses.nth(1).is_some_and(|peer| peer.ends_with(&ends_so))
    };
    said.lines().find(|line| addresses(line))
}

/// What is 0 is not said.
fn parse(line: &str) -> Transport {
    let value = |name: &str| {
        let value = line.split_whitespace().find_map(|word| word.strip_prefix(name));
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    Transport { sent_bytes: value("bytes_sent:"), retransmitted_bytes: value("bytes_retrans:") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "0 0 198.18.0.1:4000 198.18.1.2:50001 cubic wscale:7,7 rto:220 bytes_sent:900 bytes_acked:900\n\
        0 12 198.18.0.1:50001 198.18.1.2:50002 bbr wscale:7,7 rto:220 bytes_sent:5000 bytes_retrans:250 bytes_acked:4000\n";

    #[test]
    fn a_connection_is_found_by_its_peers_port() {
        let found = |port| find(SAID, port).map(parse);
        assert_eq!(found(50_001), Some(Transport { sent_bytes: 900, retransmitted_bytes: 0 }));
        assert_eq!(found(50_002), Some(Transport { sent_bytes: 5000, retransmitted_bytes: 250 }));
        assert_eq!((found(4000), found(1)), (None, None));
    }

    #[test]
    fn a_part_is_of_what_was_sent_since() {
        let before = Transport { sent_bytes: 1000, retransmitted_bytes: 100 };
        let now = Transport { sent_bytes: 2000, retransmitted_bytes: 120 };
        assert_eq!(now.retransmitted_percent_since(&before), 2.0);
        assert_eq!(now.retransmitted_percent_since(&now), 0.0);
    }
}

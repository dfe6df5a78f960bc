//! Addresses to listen on: how they are written, and that no two of them want the same port.

use std::fmt;
use std::net::SocketAddr;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serializer};

use super::Config;
use super::problem::Problems;

/// For `#[serde(with = "listeners")]`.
pub(super) fn serialize<S: Serializer>(addresses: &[SocketAddr], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(addresses.iter().map(SocketAddr::to_string))
}

/// For `#[serde(with = "listeners")]`.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    let addresses = Vec::<Address>::deserialize(deserializer)?;
    Ok(addresses.into_iter().map(|address| address.0).collect())
}

/// Every address once, and certificates where TLS is spoken.
pub(super) fn check(config: &Config, problems: &mut Problems) {
    if !config.serve.listen_tls.is_empty() && config.tls.certificates.is_empty() {
        problems.add(
            "tls.certificates",
            "serve.listen_tls has addresses, but there is no certificate".to_owned(),
            "add { chain = \"/etc/oca/tls/name.pem\", key = \"/etc/oca/tls/name.key\" }, or empty serve.listen_tls",
        );
    }
    let roles = [
        ("serve.listen", &config.serve.listen),
        ("serve.listen_tls", &config.serve.listen_tls),
        ("admin.listen", &config.admin.listen),
    ];
    let mut seen: Vec<(String, SocketAddr)> = Vec::new();
    for (role, addresses) in roles {
        for (index, address) in addresses.iter().enumerate() {
            let key = format!("{role}[{index}]");
            if let Some((other, earlier)) = seen.iter().find(|(_, earlier)| overlap(*earlier, *address)) {
                problems.add(
                    &key,
                    format!("{address} is taken by {other} = {earlier}"),
                    "give each listener an address and port of its own",
                );
            }
            seen.push((key, *address));
        }
    }
}

/// The agent's socket is not the daemon's.
pub(super) fn check_sockets(config: &Config, problems: &mut Problems) {
    if config.fill.socket == config.admin.socket {
        problems.add(
            "fill.socket",
            "it is the daemon's admin.socket".to_owned(),
            "give the agent a socket of its own, for example /run/oca-fill/agent.sock",
        );
    }
}

/// Whether the kernel would hand both the same connection. Port 0 asks the kernel for a free port, so it is
/// never taken.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() != 0
        && one.port() == other.port()
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

struct Address(SocketAddr);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(AddressVisitor)
    }
}

struct AddressVisitor;

impl Visitor<'_> for AddressVisitor {
    type Value = Address;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an address and port in quotes, for example \"0.0.0.0:80\" or \"[::]:80\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Address, E> {
        text.parse().map(Address).map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

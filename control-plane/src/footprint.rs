//! Whose network a client is in: longest prefix match on its address.
//!
//! An IPv4 address is written inside IPv6 in three ways that clients come with. A mapped one
//! (`::ffff:0:0/96`, RFC 4291, section 2.5.5.2) *is* the IPv4 address, as a socket that takes both families
//! shows it: only IPv4 prefixes match it. 6to4 (`2002::/16`, RFC 3056) and NAT64's well-known prefix
//! (`64:ff9b::/96`, RFC 6052) are IPv6 addresses in their own right that lead to an IPv4 one: prefixes of
//! both families match, and the longest wins, where an IPv4 prefix of length *n* counts as what it is inside
//! the IPv6 address, 16 + *n* or 96 + *n*. Teredo is left out: the address in it is that of a home's router
//! seen from one relay.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

/// The bits before the IPv4 address in a mapped address, and in NAT64's.
const MAPPED_BITS: u8 = 96;
/// The bits before the IPv4 address in 6to4.
const SIX_TO_FOUR_BITS: u8 = 16;

/// The prefixes of all sites.
#[derive(Clone, Debug, Default)]
pub struct Footprint {
    v4: PrefixMap<Ipv4Net, u32>,
    v6: PrefixMap<Ipv6Net, u32>,
}

/// Two sites claim one prefix: an operator has to give it to one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixConflict {
    /// The prefix.
    pub prefix: IpNet,
    /// The numbers of the sites, the one that had it first.
    pub sites: (u32, u32),
}

impl fmt::Display for PrefixConflict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "two sites claim {}: give it to one of them", self.prefix)
    }
}

impl std::error::Error for PrefixConflict {}

/// The prefix that a client's address matched, and the site's number that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// The prefix.
    pub prefix: IpNet,
    /// The number of the site.
    pub site: u32,
}

impl Footprint {
    /// Gives a prefix to a site. Bits behind the prefix's length are ignored; a prefix of mapped addresses
    /// becomes the IPv4 prefix that it means. Giving it to the same site twice changes nothing.
    pub fn insert(&mut self, prefix: IpNet, site: u32) -> Result<(), PrefixConflict> {
        let prefix = unmapped(prefix.trunc());
        let taken = match prefix {
            IpNet::V4(prefix) => self.v4.get(&prefix).copied(),
            IpNet::V6(prefix) => self.v6.get(&prefix).copied(),
        };
        if let Some(first) = taken {
            return if first == site { Ok(()) } else { Err(PrefixConflict { prefix, sites: (first, site) }) };
        }
        match prefix {
            IpNet::V4(prefix) => self.v4.insert(prefix, site),
            IpNet::V6(prefix) => self.v6.insert(prefix, site),
        };
        Ok(())
    }

    /// Prefixes in it.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// The longest prefix that the address is in.
    pub fn find(&self, client: IpAddr) -> Option<Match> {
        let client = match client {
            IpAddr::V4(client) => return self.find_v4(client),
            IpAddr::V6(client) => client,
        };
        if let Some(client) = client.to_ipv4_mapped() {
            return self.find_v4(client);
        }
        let outer = self
            .v6
            .get_lpm(&host_v6(client))
            .map(|(prefix, &site)| Match { prefix: IpNet::V6(prefix), site });
        let Some((offset, inside)) = embedded_v4(client) else { return outer };
        let inner = self.find_v4(inside);
        let inner_bits = inner.map(|found| offset + found.prefix.prefix_len());
        let outer_bits = outer.map(|found| found.prefix.prefix_len());
        // `None` is less than any length; of two of one length the client's own family wins.
        if inner_bits > outer_bits { inner } else { outer }
    }

    fn find_v4(&self, client: Ipv4Addr) -> Option<Match> {
        let host = Ipv4Net::new(client, 32).expect("32 bits are a length of an IPv4 prefix");
        self.v4.get_lpm(&host).map(|(prefix, &site)| Match { prefix: IpNet::V4(prefix), site })
    }
}

/// The client's address as [`Footprint::find`] takes it: a mapped IPv4 address as IPv4.
pub const fn canonical(client: IpAddr) -> IpAddr {
    client.to_canonical()
}

fn host_v6(client: Ipv6Addr) -> Ipv6Net {
    Ipv6Net::new(client, 128).expect("128 bits are a length of an IPv6 prefix")
}

fn unmapped(prefix: IpNet) -> IpNet {
    if let IpNet::V6(v6) = prefix
        && v6.prefix_len() >= MAPPED_BITS
        && let Some(address) = v6.addr().to_ipv4_mapped()
        && let Ok(v4) = Ipv4Net::new(address, v6.prefix_len() - MAPPED_BITS)
    {
        return IpNet::V4(v4);
    }
    prefix
}

/// The IPv4 address that an IPv6 address leads to, and the bits before it.
fn embedded_v4(client: Ipv6Addr) -> Option<(u8, Ipv4Addr)> {
    let octets = client.octets();
    if octets[..2] == [0x20, 0x02] {
        return Some((SIX_TO_FOUR_BITS, Ipv4Addr::new(octets[2], octets[3], octets[4], octets[5])));
    }
    if octets[..12] == [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0] {
        return Some((MAPPED_BITS, Ipv4Addr::new(octets[12], octets[13], octets[14], octets[15])));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footprint(prefixes: &[(&str, u32)]) -> Footprint {
        let mut footprint = Footprint::default();
        for (prefix, site) in prefixes {
            footprint.insert(prefix.parse().unwrap(), *site).unwrap();
        }
        footprint
    }

    fn site(footprint: &Footprint, client: &str) -> Option<u32> {
        footprint.find(client.parse().unwrap()).map(|found| found.site)
    }

    #[test]
    fn the_longest_prefix_wins_in_both_families() {
        let footprint = footprint(&[
            ("192.0.2.0/24", 1),
            ("192.0.2.128/25", 2),
            ("2001:db8::/32", 3),
            ("2001:db8:7::/48", 4),
        ]);
        assert_eq!(site(&footprint, "192.0.2.1"), Some(1));
        assert_eq!(site(&footprint, "192.0.2.200"), Some(2));
        assert_eq!(site(&footprint, "2001:db8::1"), Some(3));
        assert_eq!(site(&footprint, "2001:db8:7::1"), Some(4));
        assert_eq!(site(&footprint, "198.51.100.1"), None);
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        let footprint = footprint(&[("192.0.2.0/24", 1), ("::/0", 9)]);
        assert_eq!(site(&footprint, "::ffff:192.0.2.1"), Some(1));
        assert_eq!(site(&footprint, "::ffff:198.51.100.1"), None);
    }

    #[test]
    fn a_prefix_of_mapped_addresses_is_the_ipv4_prefix() {
        assert_eq!(site(&footprint(&[("::ffff:192.0.2.0/120", 1)]), "192.0.2.9"), Some(1));
    }

    #[test]
    fn an_address_of_6to4_or_nat64_finds_the_ipv4_prefix_unless_a_longer_one_of_ipv6_is_there() {
        let mut footprint = footprint(&[("192.0.2.0/24", 1), ("2000::/3", 2)]);
        assert_eq!(site(&footprint, "2002:c000:0201::5"), Some(1));
        assert_eq!(site(&footprint, "64:ff9b::192.0.2.1"), Some(1));
        assert_eq!(site(&footprint, "2002:c633:6401::5"), Some(2));
        footprint.insert("2002:c000:0200::/40".parse().unwrap(), 3).unwrap();
        assert_eq!(site(&footprint, "2002:c000:0201::5"), Some(3));
    }

    #[test]
    fn a_prefix_of_two_sites_is_refused() {
        let mut footprint = footprint(&[("192.0.2.0/24", 1)]);
        assert_eq!(footprint.insert("192.0.2.77/24".parse().unwrap(), 1), Ok(()));
        let conflict = footprint.insert("192.0.2.0/24".parse().unwrap(), 2).unwrap_err();
        assert_eq!(conflict.to_string(), "two sites claim 192.0.2.0/24: give it to one of them");
        assert_eq!(site(&footprint, "192.0.2.1"), Some(1));
    }
}

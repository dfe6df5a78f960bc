//! Longest prefix match against a scan that any reader believes.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use control_plane::footprint::Footprint;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;

/// Addresses that are near each other, so that prefixes overlap: few bits vary, at the places where prefixes end.
fn v4() -> impl Strategy<Value = Ipv4Addr> {
    (0..4_u8, 0..4_u8, any::<u8>()).prop_map(|(second, third, last)| Ipv4Addr::new(192, second, third, last))
}

fn v6() -> impl Strategy<Value = Ipv6Addr> {
    let plain = (0..4_u16, 0..4_u16, any::<u16>())
        .prop_map(|(second, third, last)| Ipv6Addr::new(0x2001, second, third << 14, 0, 0, 0, 0, last));
    let mapped = v4().prop_map(|inside| inside.to_ipv6_mapped());
    let nat64 = v4().prop_map(|inside| {
        let [a, b, c, d] = inside.octets();
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
    });
    let six_to_four = (v4(), any::<u16>()).prop_map(|(inside, last)| {
        let [a, b, c, d] = inside.octets();
        Ipv6Addr::new(0x2002, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), 0, 0, 0, 0, last)
    });
    prop_oneof![plain, mapped, nat64, six_to_four]
}

fn prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (v4(), 0..=32_u8).prop_map(|(address, bits)| IpNet::V4(Ipv4Net::new(address, bits).unwrap())),
        (v6(), 0..=128_u8).prop_map(|(address, bits)| IpNet::V6(Ipv6Net::new(address, bits).unwrap())),
    ]
}

fn client() -> impl Strategy<Value = IpAddr> {
    prop_oneof![v4().prop_map(IpAddr::V4), v6().prop_map(IpAddr::V6)]
}

/// The ways in which a client's address may be looked at, each with the bits that lie before it in the client's own.
fn views(client: IpAddr) -> Vec<(IpAddr, u8)> {
    let IpAddr::V6(v6) = client else { return vec![(client, 0)] };
    if let Some(inside) = v6.to_ipv4_mapped() {
        return vec![(IpAddr::V4(inside), 0)];
    }
    let mut views = vec![(client, 0)];
    let bits = u128::from(v6);
    if bits >> 112 == 0x2002 {
        views.push((IpAddr::V4(Ipv4Addr::from((bits >> 80) as u32)), 16));
    }
    if bits >> 32 == 0x0064_ff9b_u128 << 64 {
        views.push((IpAddr::V4(Ipv4Addr::from(bits as u32)), 96));
    }
    views
}

/// What a prefix is written as: of mapped addresses, the IPv4 prefix.
fn written(prefix: IpNet) -> IpNet {
    match prefix {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.trunc().addr().to_ipv4_mapped() {
            Some(inside) => IpNet::V4(Ipv4Net::new(inside, v6.prefix_len() - 96).unwrap()),
            None => prefix.trunc(),
        },
        _ => prefix.trunc(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_longest_prefix_is_the_one_that_a_scan_finds(
        prefixes in prop::collection::vec(prefix(), 0..40), clients in prop::collection::vec(client(), 1..20),
    ) {
        let mut footprint = Footprint::default();
        let mut taken: Vec<(IpNet, u32)> = Vec::new();
        for (number, prefix) in (0_u32..).zip(prefixes) {
            let is_taken = taken.iter().any(|(other, _)| *other == written(prefix));
            prop_assert_eq!(footprint.insert(prefix, number).is_err(), is_taken);
            if !is_taken {
                taken.push((written(prefix), number));
            }
        }
        prop_assert_eq!(footprint.len(), taken.len());
        for client in clients {
            let expected = views(client)
                .into_iter()
                .flat_map(|(address, before)| {
                    taken
                        .iter()
                        .filter(move |(prefix, _)| prefix.contains(&address))
                        // Of two of one length, the prefix of the client's own family.
                        .map(move |(prefix, site)| (before + prefix.prefix_len(), before == 0, *site))
                })
                .max()
                .map(|(_, _, site)| site);
            prop_assert_eq!(footprint.find(client).map(|found| found.site), expected, "{}", client);
        }
    }
}

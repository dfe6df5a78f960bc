//! The network: our appliance, the router of an access network, and a household behind it, each with a network namespace of its own.
//!
//! ```text
//! appliance --------- router ==== shaped, with one queue (tbf) ====> household
//!     ^                                                                  |
//!     +------------------ held for a round trip (delay line) <-----------+
//! ```
//!
//! The queue is on another machine than the senders, as it were: packets that wait in a queue of the sender's own count against the
//! socket that sent them (TCP small queues), and no queue in front of a household does that.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use control_client::units::{BitRate, ByteCount};
use demo::failure::{Failure, Step};

use super::delay_line::DelayLine;
use super::namespace::Namespace;
use super::tun;

/// The appliance's address, from the range that is for measuring (RFC 2544, C.2.2).
pub(crate) const APPLIANCE: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));

/// The household's.
pub(crate) const HOUSEHOLD: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 1, 2));

const ACCESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2));
const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 1, 1));
const APPLIANCE_NETWORK: &str = "198.18.0.0/24";
const HOUSEHOLD_NETWORK: &str = "198.18.1.0/24";

/// What the shaper lets through at once, four packets: it sends one after another, as a modem does.
const BURST_BYTES: u32 = 6_000;

/// What the household has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Of everything that comes in, link-layer headers included.
    pub(crate) rate: BitRate,
    /// Of an empty line.
    pub(crate) round_trip: Duration,
    /// What may wait for the line; what comes beyond is dropped.
    pub(crate) queue: ByteCount,
}

/// The network. It goes when it is dropped, and with this program.
#[derive(Debug)]
pub(crate) struct Network {
    /// Where the appliance is.
    pub(crate) appliance: Namespace,
    /// Where viewers and their neighbours are.
    pub(crate) household: Namespace,
    /// As long as packets go through it.
    _router: Namespace,
    _way_back: DelayLine,
}

impl Network {
    /// Makes it.
    pub(crate) fn open(line: &Line) -> Result<Self, Failure> {
        let appliance = Namespace::new("the appliance's network")?;
        let router = Namespace::new("the router")?;
        let household = Namespace::new("the household's network")?;
        for namespace in [&appliance, &router, &household] {
            // The way back is another than the way there.
            namespace.set("ipv4.conf.all.rp_filter", "0")?;
            namespace.set("ipv4.conf.default.rp_filter", "0")?;
        }
        // A connection begins knowing nothing of the one before, which may have been another contestant's.
        appliance.set("ipv4.tcp_no_metrics_save", "1")?;
        join((&appliance, "trunk", APPLIANCE), (&router, "access", ACCESS))?;
        join((&router, "shaped", ROUTER), (&household, "home", HOUSEHOLD))?;
        router.set("ipv4.ip_forward", "1")?;
        router.run("tc", &shaper(line))?;
        let way_back = way_back(&household, &appliance, line.round_trip)?;
        let network = Self { appliance, household, _router: router, _way_back: way_back };
        network.choose_congestion_control(None)?;
        Ok(network)
    }

    /// From now on connections of the appliance have this congestion control; `None`: the kernel's default. By the route, which any
    /// namespace may choose for itself, while another default is for those that the administrator allows.
    pub(crate) fn choose_congestion_control(&self, name: Option<&str>) -> Result<(), Failure> {
        let chosen = name.map_or_else(String::new, |name| format!(" congctl {name}"));
        self.appliance.ip(&format!("route replace {HOUSEHOLD_NETWORK} via {ACCESS}{chosen}")).map(drop)
    }
}

/// A link between two namespaces, up at both ends. A namespace, the name of its end, and its address.
fn join(
    (near, near_name, near_address): (&Namespace, &str, IpAddr),
    (far, far_name, far_address): (&Namespace, &str, IpAddr),
) -> Result<(), Failure> {
    near.ip(&format!("link add name {near_name} type veth peer name {far_name} netns {}", far.path()))?;
    for (namespace, name, address) in [(near, near_name, near_address), (far, far_name, far_address)] {
        namespace.ip(&format!("address add {address}/24 dev {name}"))?;
        namespace.ip(&format!("link set dev {name} up"))?;
    }
    Ok(())
}

/// What the household sends goes through a link of its own.
fn way_back(household: &Namespace, appliance: &Namespace, takes: Duration) -> Result<DelayLine, Failure> {
    let end = |namespace: &Namespace| {
        let device = namespace.within(|| tun::open("back"))?.step("making a TUN device")?;
        namespace.ip("link set dev back up")?;
        Ok(device)
    };
    let (from, to) = (end(household)?, end(appliance)?);
    household.ip(&format!("route add {APPLIANCE_NETWORK} dev back"))?;
    DelayLine::start(from, to, takes).step("starting a thread")
}

fn shaper(line: &Line) -> String {
    format!(
        "qdisc add dev shaped root tbf rate {}bit burst {BURST_BYTES} limit {}",
        line.rate.bits_per_second(),
        line.queue.bytes()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shaper_is_told_bits_per_second_and_bytes() {
        let (rate, queue) = (BitRate::new(40_000_000), ByteCount::new(400_000));
        let words = shaper(&Line { rate, round_trip: Duration::ZERO, queue });
        assert_eq!(words, "qdisc add dev shaped root tbf rate 40000000bit burst 6000 limit 400000");
    }
}

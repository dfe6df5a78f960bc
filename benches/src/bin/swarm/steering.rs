//! Where a viewer goes: the control plane is asked, as players do, and gives a ranked list.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use control_client::steering::{Candidate, SteeringAnswer};
use demo::failure::{Failure, Step};

use super::connection::Connection;
use super::link::Link;

/// Who has sent something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// An appliance, by its place.
    Appliance(usize),
    /// The origin.
    Origin,
}

/// One place of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) sender: Sender,
    pub(crate) address: SocketAddr,
}

/// Places to ask, in that order, and how long that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) places: Vec<Place>,
    pub(crate) holds_for: Duration,
}

/// Whom viewers ask.
pub(crate) struct Steering {
    control_plane: SocketAddr,
    /// The appliances' names, by place.
    appliances: Vec<String>,
    /// How often it was asked.
    pub(crate) asked: Cell<u64>,
}

impl Steering {
    /// At the control plane of that base URL.
    pub(crate) fn new(control_plane: &str, appliances: Vec<String>) -> Result<Self, Failure> {
        let control_plane = address_of(control_plane)
            .ok_or_else(|| Failure::new("the control plane's URL has no address"))?;
        Ok(Self { control_plane, appliances, asked: Cell::new(0) })
    }

    /// Asks where a client goes for objects of a directory.
    pub(crate) async fn ask(&self, client: IpAddr, path: &str) -> Result<List, Failure> {
        self.asked.set(self.asked.get() + 1);
        let mut connection = Connection::open(self.control_plane).await.step("asking where to go")?;
        let (target, mut body) = (format!("/v1/steer?client={client}&path={path}"), Vec::new());
        connection
            .get(&target, "", &mut Link::unlimited(), Instant::now(), Some(&mut body))
            .await
            .step("asking where to go")?;
        let answer: SteeringAnswer = serde_json::from_slice(&body).step("asking where to go")?;
        let places = answer.candidates.iter().filter_map(|candidate| self.place(candidate)).collect();
        Ok(List { places, holds_for: Duration::from_secs(answer.ttl_seconds.into()) })
    }

    fn place(&self, candidate: &Candidate) -> Option<Place> {
        let sender = match &candidate.appliance {
            None => Sender::Origin,
            Some(name) => Sender::Appliance(self.appliances.iter().position(|one| one == name.as_str())?),
        };
        let address = candidate.urls.iter().find_map(|url| address_of(url))?;
        Some(Place { sender, address })
    }
}

/// The address of a base URL without encryption.
fn address_of(url: &str) -> Option<SocketAddr> {
    url.strip_prefix("http://")?.trim_end_matches('/').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_places_where_they_have_a_url_without_encryption() {
        let steering = Steering::new("http://127.0.0.1:7", vec!["oca-1".into(), "oca-2".into()]).unwrap();
        let candidate = |name: Option<&str>, urls: &[&str]| Candidate {
            appliance: name.map(|name| control_client::fleet::ApplianceName::parse(name).unwrap()),
            tier: 0,
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        assert_eq!(
            steering.place(&candidate(Some("oca-2"), &["https://127.0.0.1:443", "http://127.0.0.1:80"])),
            Some(Place { sender: Sender::Appliance(1), address })
        );
        assert_eq!(
            steering.place(&candidate(None, &["http://127.0.0.1:80/"])),
            Some(Place { sender: Sender::Origin, address })
        );
        assert_eq!(steering.place(&candidate(Some("other"), &["http://127.0.0.1:80"])), None);
    }
}

//! The fleet in memory: what [`steer`](crate::steering::steer) reads. Readers never wait: they load a pointer to the sites and a
//! pointer to the appliances of each site that matters. Writers (reports, polls, operators) take one lock,
//! make one new value for the appliance that changed, and swap the list of its site.
//!
//! Inventories are bitmaps over the numbers of bundles, which are small, and never used for another bundle of
//! one fleet. Appliances of one site that hold the same share one bitmap.

mod catalogue;
mod expectation;
mod inventory;
mod size;
mod steered;
mod topology;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use control_client::content::{BundleKey, BundlePath};
use control_client::fleet::{ApplianceName, SiteName};

use crate::footprint::Match;
use crate::hysteresis::Standing;
use crate::limits::APPLIANCES_MAX;
use crate::rendezvous;
use crate::steering::{Member, TTL_SECONDS, Utilisation};
use catalogue::Catalogue;
use topology::Topology;

pub use expectation::Expectation;
pub use inventory::{Inventory, WrongRevision};
pub use size::FleetSize;
pub use topology::{SiteFacts, TopologyError};

/// The fleet.
pub struct Fleet {
    catalogue: Catalogue,
    topology: ArcSwap<Topology>,
    origin_urls: Vec<String>,
    ttl_seconds: [u32; 3],
    /// Paths that nobody may watch now.
    closed: ArcSwap<HashSet<BundlePath>>,
    appliances: Mutex<HashMap<ApplianceName, Known>>,
}

/// What only writers need to know of an appliance.
struct Known {
    site: SiteName,
    inventory: Inventory,
    expectation: Arc<Expectation>,
}

/// What has changed of an appliance. What is left out stays.
#[derive(Clone, Debug, Default)]
pub struct MemberUpdate {
    /// How it stands.
    pub standing: Option<Standing>,
    /// How much of it is in use.
    pub utilisation: Option<Utilisation>,
}

/// Why an appliance cannot be put at a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceError {
    /// There is no such site.
    UnknownSite(SiteName),
    /// The fleet has [`APPLIANCES_MAX`] appliances.
    TooMany,
}

impl fmt::Display for PlaceError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownSite(site) => write!(formatter, "there is no site {site}: add it first"),
            Self::TooMany => write!(formatter, "a fleet has at most {APPLIANCES_MAX} appliances: divide it"),
        }
    }
}

impl std::error::Error for PlaceError {}

impl Fleet {
    /// A fleet without sites. `origin_urls` are where clients are sent as a last resort; none sends them nowhere.
    pub fn new(origin_urls: Vec<String>) -> Self {
        Self {
            catalogue: Catalogue::default(),
            topology: ArcSwap::default(),
            origin_urls,
            ttl_seconds: TTL_SECONDS,
            closed: ArcSwap::default(),
            appliances: Mutex::default(),
        }
    }

    /// The same, whose answers hold as long as this says, in the form of [`TTL_SECONDS`].
    pub fn with_ttl(self, ttl_seconds: [u32; 3]) -> Self {
        Self { ttl_seconds, ..self }
    }

    /// The site that has a client, and by which prefix.
    pub fn site_of(&self, client: IpAddr) -> Option<(SiteName, Match)> {
        let topology = self.topology.load();
        let found = topology.footprint.find(client)?;
        Some((topology.sites.get(found.site as usize)?.facts.name.clone(), found))
    }

    /// Replaces the sites. Appliances stay at the site of the same name; those of a site that is gone are forgotten.
    pub fn set_sites(&self, sites: Vec<SiteFacts>) -> Result<(), TopologyError> {
        // Before the lock, because it takes long: sites keep their lists of appliances, whoever changes these meanwhile.
        let next = Topology::build(sites, &self.topology.load())?;
        let mut appliances = self.lock();
        appliances.retain(|_, known| next.by_name.contains_key(&known.site));
        self.topology.store(Arc::new(next));
        Ok(())
    }

    /// Adds bundles to the catalogue, each with its number, which is below
    /// [`crate::limits::BUNDLE_NUMBERS_MAX`] and never used for another. One that is there already stays as
    /// it is. How many were left out because their number is too high.
    pub fn add_bundles(&self, bundles: impl IntoIterator<Item = (BundleKey, u32)>) -> usize {
        self.catalogue.add(bundles)
    }

    /// Says which paths nobody may watch now: titles before their release, and after the end of their licence. Nobody is sent
    /// anywhere for them, appliances fetch them nevertheless.
    pub fn set_closed(&self, closed: HashSet<BundlePath>) {
        self.closed.store(Arc::new(closed));
    }

    /// Whether nobody may watch a path now.
    pub fn is_closed(&self, path: &BundlePath) -> bool {
        self.closed.load().contains(path)
    }

    /// Takes a bundle out of the catalogue: nobody is sent anywhere for it any more.
    pub fn remove_bundle(&self, bundle: &BundleKey) {
        self.catalogue.remove(bundle);
    }

    /// The newest edition of a path in the catalogue.
    pub fn newest(&self, path: &BundlePath) -> Option<BundleKey> {
        let wanted = self.catalogue.bundle(path)?;
        let edition = wanted.editions.first()?;
        Some(BundleKey { path: wanted.path.clone(), generation: edition.generation })
    }

    /// The number of a bundle of the catalogue.
    pub fn number_of(&self, bundle: &BundleKey) -> Option<u32> {
        self.catalogue.number_of(bundle)
    }

    /// Adds an appliance, moves it to another site, or changes its URLs. Standing, load and inventory of one
    /// that is there stay.
    pub fn place(&self, name: &ApplianceName, site: &SiteName, urls: Vec<String>) -> Result<(), PlaceError> {
        let mut appliances = self.lock();
        let topology = self.topology.load();
        let Some(target) = topology.site(site) else { return Err(PlaceError::UnknownSite(site.clone())) };
        if !appliances.contains_key(name) && appliances.len() >= APPLIANCES_MAX {
            return Err(PlaceError::TooMany);
        }
        let known = appliances.entry(name.clone()).or_insert_with(|| Known {
            site: site.clone(),
            inventory: Inventory::default(),
            expectation: Arc::default(),
        });
        let before = topology.site(&known.site).and_then(|site| site.remove(name));
        known.site = site.clone();
        let member = match before {
            Some(member) => Member { urls: urls.into(), ..Member::clone(&member) },
            None => Member {
                name: name.clone(),
                urls: urls.into(),
                standing: Standing::Unknown,
                utilisation: Utilisation::UNKNOWN,
                held: Arc::default(),
                identity: rendezvous::identity(name.as_str()),
            },
        };
        target.put(member);
        Ok(())
    }

    /// Forgets an appliance.
    pub fn remove(&self, name: &ApplianceName) {
        let mut appliances = self.lock();
        if let Some(known) = appliances.remove(name)
            && let Some(site) = self.topology.load().site(&known.site)
        {
            site.remove(name);
        }
    }

    /// Notes what a report or a poll told of an appliance; one that is not known is passed over.
    pub fn update(&self, name: &ApplianceName, update: MemberUpdate) {
        let appliances = self.lock();
        self.change(&appliances, name, |member| {
            let standing = update.standing.filter(|standing| *standing != member.standing);
            let utilisation = update.utilisation.filter(|utilisation| *utilisation != member.utilisation);
            if standing.is_none() && utilisation.is_none() {
                return None;
            }
            let mut member = member.clone();
            member.standing = standing.unwrap_or(member.standing);
            member.utilisation = utilisation.unwrap_or(member.utilisation);
            Some(member)
        });
    }

    /// The names of all appliances.
    pub fn names(&self) -> Vec<ApplianceName> {
        self.lock().keys().cloned().collect()
    }

    /// One appliance as steering sees it, and its site.
    pub fn appliance(&self, name: &ApplianceName) -> Option<(SiteName, Arc<Member>)> {
        let site = self.lock().get(name)?.site.clone();
        let member = self.member(name, &site)?;
        Some((site, member))
    }

    /// The appliances of a site, by name.
    pub fn appliances_of(&self, site: &SiteName) -> Vec<Arc<Member>> {
        self.topology.load().site(site).map(|site| site.members.load().to_vec()).unwrap_or_default()
    }

    /// The sites that clients of a site turn to in turn, its own first; empty where there is no such site.
    pub fn tiers_of(&self, site: &SiteName) -> Vec<SiteName> {
        let topology = self.topology.load();
        let Some(&number) = topology.by_name.get(site) else { return Vec::new() };
        topology.chain(number).map(|site| site.facts.name.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ApplianceName, Known>> {
        // What is in it is whole after every statement: a writer that panicked has at worst left its own change out.
        self.appliances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn member(&self, name: &ApplianceName, site: &SiteName) -> Option<Arc<Member>> {
        self.topology.load().site(site)?.find(name)
    }

    fn change(
        &self,
        appliances: &HashMap<ApplianceName, Known>,
        name: &ApplianceName,
        change: impl FnOnce(&Member) -> Option<Member>,
    ) {
        let Some(known) = appliances.get(name) else { return };
        let topology = self.topology.load();
        if let Some(site) = topology.site(&known.site)
            && let Some(member) = site.find(name)
            && let Some(changed) = change(&member)
        {
            site.put(changed);
        }
    }
}

#[cfg(test)]
mod tests;

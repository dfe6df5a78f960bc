//! Sites: who has which clients, and where these turn to when their own site cannot serve them.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use control_client::fleet::{ApplianceName, RegionName, SiteName};
use ipnet::IpNet;

use crate::footprint::{Footprint, PrefixConflict};
use crate::limits::{PREFIXES_MAX, SITES_MAX, TIERS_MAX};
use crate::steering::Member;

/// What an operator says of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteFacts {
    /// Its name.
    pub name: SiteName,
    /// Whose viewers like the same.
    pub region: RegionName,
    /// The site that its clients turn to next, and that its appliances fill from; the next tier.
    pub upstream: Option<SiteName>,
    /// The networks of its clients. `0.0.0.0/0` and `::/0` are whoever is in no other site's.
    pub prefixes: Vec<IpNet>,
}

/// Why sites cannot be as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopologyError {
    /// Two sites have one name.
    Twice(SiteName),
    /// A site's upstream is not there.
    UnknownUpstream {
        /// The site.
        site: SiteName,
        /// Its upstream.
        upstream: SiteName,
    },
    /// A site is its own upstream, by some way.
    Circle(SiteName),
    /// More tiers in a row than [`TIERS_MAX`].
    TooDeep(SiteName),
    /// Two sites have one prefix.
    Prefix {
        /// The prefix, and the places of the sites.
        conflict: PrefixConflict,
        /// The site that had it first.
        first: SiteName,
        /// The other.
        second: SiteName,
    },
    /// More than [`SITES_MAX`] sites, or more than [`PREFIXES_MAX`] prefixes.
    TooMany,
}

impl fmt::Display for TopologyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twice(site) => write!(formatter, "site {site} is there twice"),
            Self::UnknownUpstream { site, upstream } => {
                write!(formatter, "the upstream of site {site}, {upstream}, is not there: add it first")
            }
            Self::Circle(site) => {
                write!(formatter, "site {site} is upstream of itself: one site must have no upstream")
            }
            Self::TooDeep(site) => write!(formatter, "site {site} has more than {TIERS_MAX} tiers"),
            Self::Prefix { conflict, first, second } => {
                write!(
                    formatter,
                    "sites {first} and {second} both claim {}: give it to one of them",
                    conflict.prefix
                )
            }
            Self::TooMany => {
                write!(
                    formatter,
                    "a fleet has at most {SITES_MAX} sites and {PREFIXES_MAX} prefixes: divide it"
                )
            }
        }
    }
}

impl std::error::Error for TopologyError {}

/// The sites as readers see them.
#[derive(Default)]
pub(super) struct Topology {
    pub(super) sites: Vec<Arc<Site>>,
    pub(super) by_name: HashMap<SiteName, u32>,
    pub(super) footprint: Footprint,
}

/// One site. Its list of appliances is swapped whole.
pub(super) struct Site {
    pub(super) facts: SiteFacts,
    upstream: Option<u32>,
    pub(super) members: Arc<ArcSwap<Vec<Arc<Member>>>>,
}

impl Topology {
    /// The sites, with the appliances that `before` has at sites of the same names.
    pub(super) fn build(facts: Vec<SiteFacts>, before: &Self) -> Result<Self, TopologyError> {
        if facts.len() > SITES_MAX
            || facts.iter().map(|site| site.prefixes.len()).sum::<usize>() > PREFIXES_MAX
        {
            return Err(TopologyError::TooMany);
        }
        let mut by_name = HashMap::with_capacity(facts.len());
        for (number, site) in (0_u32..).zip(&facts) {
            if by_name.insert(site.name.clone(), number).is_some() {
                return Err(TopologyError::Twice(site.name.clone()));
            }
        }
        let upstreams = upstreams(&facts, &by_name)?;
        let footprint = footprint(&facts)?;
        let sites = facts
            .into_iter()
            .zip(upstreams)
            .map(|(facts, upstream)| {
                let members =
                    before.site(&facts.name).map(|site| Arc::clone(&site.members)).unwrap_or_default();
                Arc::new(Site { facts, upstream, members })
            })
            .collect();
        Ok(Self { sites, by_name, footprint })
    }

    pub(super) fn site(&self, name: &SiteName) -> Option<&Arc<Site>> {
        self.sites.get(*self.by_name.get(name)? as usize)
    }

    /// The sites that a client turns to in turn; none where no site has it.
    pub(super) fn tiers(&self, client: IpAddr) -> Vec<&Arc<Site>> {
        self.footprint.find(client).map(|found| self.chain(found.site).collect()).unwrap_or_default()
    }

    /// A site, its upstream, and so on.
    pub(super) fn chain(&self, site: u32) -> impl Iterator<Item = &Arc<Site>> {
        std::iter::successors(self.sites.get(site as usize), |site| self.sites.get(site.upstream? as usize))
            .take(TIERS_MAX)
    }
}

impl Site {
    pub(super) fn find(&self, name: &ApplianceName) -> Option<Arc<Member>> {
        let members = self.members.load();
        let place = members.binary_search_by(|member| member.name.cmp(name)).ok()?;
        Some(Arc::clone(&members[place]))
    }

    /// Adds an appliance, or replaces the one of its name. Only one writer at a time.
    pub(super) fn put(&self, member: Member) {
        let mut members = self.members.load().to_vec();
        match members.binary_search_by(|other| other.name.cmp(&member.name)) {
            Ok(place) => members[place] = Arc::new(member),
            Err(place) => members.insert(place, Arc::new(member)),
        }
        self.members.store(Arc::new(members));
    }

    /// Takes an appliance out. Only one writer at a time.
    pub(super) fn remove(&self, name: &ApplianceName) -> Option<Arc<Member>> {
        let mut members = self.members.load().to_vec();
        let place = members.binary_search_by(|member| member.name.cmp(name)).ok()?;
        let removed = members.remove(place);
        self.members.store(Arc::new(members));
        Some(removed)
    }
}

fn upstreams(
    facts: &[SiteFacts],
    by_name: &HashMap<SiteName, u32>,
) -> Result<Vec<Option<u32>>, TopologyError> {
    let mut upstreams = Vec::with_capacity(facts.len());
    for site in facts {
        upstreams.push(match &site.upstream {
            None => None,
            Some(upstream) => Some(*by_name.get(upstream).ok_or_else(|| TopologyError::UnknownUpstream {
                site: site.name.clone(),
                upstream: upstream.clone(),
            })?),
        });
    }
    for (number, site) in (0_u32..).zip(facts) {
        let mut tiers = 1;
        let mut next = upstreams[number as usize];
        while let Some(upstream) = next {
            tiers += 1;
            if upstream == number {
                return Err(TopologyError::Circle(site.name.clone()));
            }
            if tiers > TIERS_MAX {
                return Err(TopologyError::TooDeep(site.name.clone()));
            }
            next = upstreams[upstream as usize];
        }
    }
    Ok(upstreams)
}

fn footprint(facts: &[SiteFacts]) -> Result<Footprint, TopologyError> {
    let mut footprint = Footprint::default();
    for (number, site) in (0_u32..).zip(facts) {
        for prefix in &site.prefixes {
            footprint.insert(*prefix, number).map_err(|conflict| TopologyError::Prefix {
                conflict,
                first: facts[conflict.sites.0 as usize].name.clone(),
                second: site.name.clone(),
            })?;
        }
    }
    Ok(footprint)
}

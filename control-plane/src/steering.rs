//! Where a client is sent: a ranked list of appliances that hold what it asks for and want clients.
//!
//! Appliances are taken tier by tier from the client's own site outwards. Who lacks the content, drains, is
//! unhealthy or is not heard of is never in the list. The rest is ordered by: room before none; nearer before
//! farther; of a title whose representations lie on different appliances, who holds more of it; the newest
//! edition before older ones; and among equals by rendezvous hashing of the path,
//! weighted by what each has left. So one title is warm in the memory of few appliances, load follows
//! headroom, and a change of load moves only the clients that it has to. A title's clients are split into
//! [`CLIENT_GROUPS`], so that no premiere falls on one machine.

mod utilisation;

use std::net::IpAddr;
use std::sync::Arc;

use control_client::content::{BundlePath, Generation};
use control_client::fleet::{ApplianceName, SiteName};
use control_client::steering::{Candidate, Explained, SteeringAnswer};
use control_client::wire::DocumentVersion;
use roaring::RoaringBitmap;

use crate::footprint;
use crate::hysteresis::Standing;
use crate::limits::{CANDIDATES_MAX, EXPLAINED_MAX};
use crate::rendezvous;

pub use utilisation::Utilisation;

/// Groups of clients, by network, that may see the appliances of one tier in different orders.
pub const CLIENT_GROUPS: u64 = 4;

/// How long an answer holds where nobody says otherwise, in seconds, by the tier of the first place in it: the farther, the
/// sooner to ask again. The last is for all tiers beyond, the origin, and nothing at all.
pub const TTL_SECONDS: [u32; 3] = [300, 60, 30];

/// What a client asks.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Its address.
    pub client: IpAddr,
    /// The directory that it wants objects of.
    pub path: &'a BundlePath,
    /// Whether to say why each appliance is where it is.
    pub explain: bool,
}

/// A bundle of the catalogue that the client wants objects of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The directory that it serves.
    pub path: BundlePath,
    /// Its editions, the newest first; at least one.
    pub editions: Vec<Edition>,
}

/// One edition of a bundle in the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edition {
    /// Its generation.
    pub generation: Generation,
    /// The number by which inventories name it.
    pub number: u32,
}

/// An appliance as steering sees it.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub name: ApplianceName,
    /// The URLs under which clients reach it.
    pub urls: Arc<[String]>,
    /// Whether it wants clients.
    pub standing: Standing,
    /// How much of it is in use.
    pub utilisation: Utilisation,
    /// The numbers of the bundles that it serves.
    pub held: Arc<RoaringBitmap>,
    /// What it is known by in rendezvous hashing: [`rendezvous::identity`] of its name.
    pub identity: u64,
}

/// The appliances of one site, as a tier of a client.
#[derive(Clone, Copy, Debug)]
pub struct Tier<'a> {
    /// The site.
    pub site: &'a SiteName,
    /// Its appliances.
    pub members: &'a [Arc<Member>],
}

/// All that an answer is made of.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The client's site first, then those that its clients turn to next; empty where no site has the client.
    pub tiers: &'a [Tier<'a>],
    /// The bundles that the client wants, at least one of which an appliance must hold; empty where the catalogue has none.
    pub bundles: &'a [Arc<Wanted>],
    /// Base URLs of the origin, where clients may be sent there as a last resort.
    pub origin_urls: &'a [String],
    /// How long the answer holds, in the form of [`TTL_SECONDS`].
    pub ttl_seconds: [u32; 3],
}

/// Answers a client.
pub fn steer(question: &Question<'_>, view: &View<'_>) -> SteeringAnswer {
    let mut explanation = Vec::new();
    let mut placed = place(question, view, &mut explanation);
    placed.sort_unstable_by(Placed::order);
    if question.explain {
        explain_placed(&placed, view, &mut explanation);
    }
    placed.truncate(CANDIDATES_MAX);
    let nearest = placed.first().map_or(usize::MAX, |first| first.tier);
    let ttl_seconds = view.ttl_seconds[nearest.min(view.ttl_seconds.len() - 1)];
    let mut candidates: Vec<Candidate> = placed
        .iter()
        .map(|placed| Candidate {
            appliance: Some(placed.member.name.clone()),
            tier: wire_tier(placed.tier),
            urls: placed.member.urls.to_vec(),
        })
        .collect();
    if !view.origin_urls.is_empty() {
        let tier = wire_tier(view.tiers.len());
        candidates.push(Candidate { appliance: None, tier, urls: view.origin_urls.to_vec() });
    }
    SteeringAnswer {
        version: DocumentVersion,
        path: question.path.clone(),
        site: view.tiers.first().map(|tier| tier.site.clone()),
        ttl_seconds,
        candidates,
        explanation,
    }
}

/// An appliance that can take the client.
struct Placed<'a> {
    member: &'a Member,
    is_full: bool,
    tier: usize,
    /// How many of the bundles it does not hold.
    missing: usize,
    /// How far behind the newest edition it is with the bundle that is farthest behind; 0 is not at all.
    behind: usize,
    draw: f64,
}

impl Placed<'_> {
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        (self.is_full, self.tier, self.missing, self.behind)
            .cmp(&(other.is_full, other.tier, other.missing, other.behind))
            .then_with(|| other.draw.total_cmp(&self.draw))
            .then_with(|| self.member.name.cmp(&other.member.name))
    }
}

fn place<'a>(question: &Question<'_>, view: &View<'a>, explanation: &mut Vec<Explained>) -> Vec<Placed<'a>> {
    let key = rendezvous::identity(question.path.as_str()).wrapping_add(client_group(question.client));
    let mut placed: Vec<Placed<'a>> = Vec::new();
    for (level, tier) in view.tiers.iter().enumerate() {
        for member in tier.members {
            match suits(member, view.bundles) {
                Ok(Held { missing, behind }) => placed.push(Placed {
                    member,
                    is_full: member.utilisation.is_full(),
                    tier: level,
                    missing,
                    behind,
                    draw: rendezvous::weighted(
                        rendezvous::draw(key, member.identity),
                        member.utilisation.room(),
                    ),
                }),
                Err(unfit) if question.explain && explanation.len() < EXPLAINED_MAX => {
                    explanation.push(Explained {
                        appliance: member.name.clone(),
                        why: unfit.sentence(member, tier.site, level, question.path),
                    });
                }
                Err(_) => {}
            }
        }
    }
    placed
}

/// Why an appliance is not in a list.
enum Unfit<'a> {
    Standing,
    NoUrl,
    NotInCatalogue,
    Lacking(&'a BundlePath),
}

/// How much of what is wanted an appliance holds.
struct Held {
    missing: usize,
    behind: usize,
}

/// What the appliance holds of the bundles, where it can take the client.
fn suits<'a>(member: &Member, bundles: &'a [Arc<Wanted>]) -> Result<Held, Unfit<'a>> {
    if !member.standing.is_serving() {
        return Err(Unfit::Standing);
    }
    if member.urls.is_empty() {
        return Err(Unfit::NoUrl);
    }
    let Some(first) = bundles.first() else { return Err(Unfit::NotInCatalogue) };
    let mut held = Held { missing: 0, behind: 0 };
    for wanted in bundles {
        match wanted.editions.iter().position(|edition| member.held.contains(edition.number)) {
            Some(behind) => held.behind = held.behind.max(behind),
            None => held.missing += 1,
        }
    }
    if held.missing < bundles.len() { Ok(held) } else { Err(Unfit::Lacking(&first.path)) }
}

impl Unfit<'_> {
    fn sentence(&self, member: &Member, site: &SiteName, tier: usize, path: &BundlePath) -> String {
        let why = match self {
            Self::Standing => member.standing.to_string(),
            Self::NoUrl => "it has told no URL under which clients reach it".to_owned(),
            Self::NotInCatalogue => format!("the catalogue has no {path} that may be watched now"),
            Self::Lacking(path) => format!("it does not hold {path}"),
        };
        format!("left out (tier {tier}, site {site}): {why}")
    }
}

fn explain_placed(placed: &[Placed<'_>], view: &View<'_>, explanation: &mut Vec<Explained>) {
    let mut places = Vec::with_capacity(placed.len() + explanation.len());
    for (place, placed) in placed.iter().enumerate().take(EXPLAINED_MAX) {
        let site = view.tiers[placed.tier].site;
        let held = match view.bundles {
            [wanted] => format!("generation {}", wanted.editions[placed.behind].generation),
            bundles if placed.missing == 0 => format!("all {} bundles", bundles.len()),
            bundles => format!("{} of {} bundles", bundles.len() - placed.missing, bundles.len()),
        };
        let mut why = if place < CANDIDATES_MAX {
            format!("place {}", place + 1)
        } else {
            format!("left out: an answer names {CANDIDATES_MAX} appliances, and these are better")
        };
        why += &format!(
            " (tier {}, site {site}): holds {held}, {} in use{}",
            placed.tier,
            placed.member.utilisation,
            if placed.is_full { ", so after all that have room" } else { "" }
        );
        places.push(Explained { appliance: placed.member.name.clone(), why });
    }
    places.append(explanation);
    places.truncate(EXPLAINED_MAX);
    *explanation = places;
}

/// The tier as it is told.
fn wire_tier(tier: usize) -> u8 {
    u8::try_from(tier).unwrap_or(u8::MAX)
}

/// The group of a client: clients of one /24 or /48 are in one, so that a household or an office sees one
/// order whatever address it has today.
fn client_group(client: IpAddr) -> u64 {
    let network = match footprint::canonical(client) {
        IpAddr::V4(client) => u64::from(u32::from(client) >> 8),
        IpAddr::V6(client) => (u128::from(client) >> 80) as u64,
    };
    rendezvous::draw(network, 0) % CLIENT_GROUPS
}

#[cfg(test)]
mod tests;

//! Clients are answered, from the topology and the lists of appliances that stand at this moment. Lock-free.

use std::sync::Arc;

use control_client::steering::{Explained, SteeringAnswer};

use super::Fleet;
use super::topology::Topology;
use crate::limits::EXPLAINED_MAX;
use crate::steering::{Question, Tier, View, Wanted, steer};

impl Fleet {
    /// Answers a client that wants the bundle of a directory. Lock-free.
    pub fn steer(&self, question: &Question<'_>) -> SteeringAnswer {
        self.steer_for(question, self.catalogue.bundle(question.path).as_slice())
    }

    /// Answers a client that wants whatever lies in a directory or below it, such as a player that goes from
    /// one representation of a title to another. Lock-free.
    pub fn steer_below(&self, question: &Question<'_>) -> SteeringAnswer {
        self.steer_for(question, &self.catalogue.bundles_below(question.path))
    }

    fn steer_for(&self, question: &Question<'_>, bundles: &[Arc<Wanted>]) -> SteeringAnswer {
        let closed = self.closed.load();
        if closed.is_empty() || !bundles.iter().any(|wanted| closed.contains(&wanted.path)) {
            return self.steer_among(question, bundles, &self.origin_urls);
        }
        let open: Vec<_> =
            bundles.iter().filter(|wanted| !closed.contains(&wanted.path)).map(Arc::clone).collect();
        self.steer_among(question, &open, if open.is_empty() { &[] } else { &self.origin_urls })
    }

    fn steer_among(
        &self,
        question: &Question<'_>,
        bundles: &[Arc<Wanted>],
        origin_urls: &[String],
    ) -> SteeringAnswer {
        let topology = self.topology.load();
        let sites = topology.tiers(question.client);
        let members: Vec<_> = sites.iter().map(|site| site.members.load()).collect();
        let tiers: Vec<Tier<'_>> = sites
            .iter()
            .zip(&members)
            .map(|(site, members)| Tier { site: &site.facts.name, members })
            .collect();
        let view = View { tiers: &tiers, bundles, origin_urls, ttl_seconds: self.ttl_seconds };
        let mut answer = steer(question, &view);
        if question.explain {
            self.explain_elsewhere(&topology, &tiers, &mut answer);
        }
        answer
    }

    fn explain_elsewhere(&self, topology: &Topology, tiers: &[Tier<'_>], answer: &mut SteeringAnswer) {
        let why_not_here = match tiers.first() {
            Some(own) => format!("clients of site {} do not turn to it", own.site),
            None => "no site has the client's address in its prefixes".to_owned(),
        };
        for site in &topology.sites {
            if tiers.iter().any(|tier| *tier.site == site.facts.name) {
                continue;
            }
            for member in site.members.load().iter() {
                if answer.explanation.len() >= EXPLAINED_MAX {
                    return;
                }
                answer.explanation.push(Explained {
                    appliance: member.name.clone(),
                    why: format!("left out (site {}): {why_not_here}", site.facts.name),
                });
            }
        }
    }
}

use std::sync::Arc;

use control_client::fleet::ApplianceName;
use control_client::sources::{BundleSources, SourcesRequest};

use super::{Assigned, ControlPlane};
use crate::fill_sources::{FillSourcesInput, Neighbour, Origin, fill_sources};
use crate::steering::Member;

impl ControlPlane {
    /// Where an appliance can fetch each bundle that it asks for; those that the catalogue has not are left out.
    pub fn sources(&self, asker: &ApplianceName, request: &SourcesRequest) -> Vec<BundleSources> {
        let fleet = self.fleet();
        let Some((site, _)) = fleet.appliance(asker) else { return Vec::new() };
        let own = fleet.appliances_of(&site);
        let tiers = fleet.tiers_of(&site);
        let upstream: Vec<Arc<Member>> =
            tiers.iter().skip(1).flat_map(|site| fleet.appliances_of(site)).collect();
        let origins: Vec<Origin<'_>> = self
            .config
            .origins
            .iter()
            .map(|origin| Origin { name: &origin.name, url: &origin.url })
            .collect();
        let escalation_seconds = u32::try_from(self.config.escalation.as_secs()).unwrap_or(u32::MAX);
        let assigned = self.assigned.load();
        let mut answer = Vec::with_capacity(request.bundles.len());
        for bundle in &request.bundles {
            let Some(number) = fleet.number_of(bundle) else { continue };
            let site: Vec<_> = own.iter().map(|member| neighbour(member, number, &assigned)).collect();
            let above: Vec<_> = upstream.iter().map(|member| neighbour(member, number, &assigned)).collect();
            let sources = fill_sources(&FillSourcesInput {
                asker,
                bundle,
                site: &site,
                upstream: &above,
                origins: &origins,
                escalation_seconds,
            });
            answer.push(BundleSources { bundle: bundle.clone(), sources });
        }
        answer
    }
}

fn neighbour<'a>(member: &'a Member, number: u32, assigned: &Assigned) -> Neighbour<'a> {
    Neighbour {
        name: &member.name,
        url: member.urls.first().map(String::as_str),
        is_available: member.standing.is_serving(),
        holds: member.held.contains(number),
        is_assigned: assigned.get(&member.name).is_some_and(|bundles| bundles.contains(number)),
    }
}

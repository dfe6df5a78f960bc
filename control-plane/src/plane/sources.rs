use std::sync::Arc;

use control_client::content::BundleKey;
use control_client::fleet::ApplianceName;
use control_client::sources::{BundleSources, SourcesRequest};

use super::ControlPlane;
use crate::fill_sources::{FillSourcesInput, Neighbour, Origin, fill_sources};
use crate::fleet::{Expectation, Fleet};
use crate::steering::Member;

/// An appliance that may be a source, and which bundles it is expected to fetch.
struct Expected {
    member: Arc<Member>,
    expectation: Arc<Expectation>,
    reports: bool,
}

impl ControlPlane {
    /// Where an appliance can fetch each bundle that it asks for; those that the catalogue has not are left out.
    pub async fn sources(
        &self,
        asker: &ApplianceName,
        request: &SourcesRequest,
        now: u64,
    ) -> Vec<BundleSources> {
        let fleet = self.fleet_that_knows(asker, &request.bundles).await;
        let Some((site, _)) = fleet.appliance(asker) else { return Vec::new() };
        let asked = request.bundles.iter().filter_map(|bundle| fleet.number_of(bundle)).collect();
        fleet.note_question(asker, &asked, now);
        let own = self.expected(&fleet, fleet.appliances_of(&site), now);
        let tiers = fleet.tiers_of(&site);
        let upstream: Vec<Vec<Expected>> =
            tiers.iter().skip(1).map(|site| self.expected(&fleet, fleet.appliances_of(site), now)).collect();
        let origins: Vec<Origin<'_>> = self
            .config
            .origins
            .iter()
            .map(|origin| Origin { name: &origin.name, url: &origin.url })
            .collect();
        let escalation_seconds = u32::try_from(self.config.escalation.as_secs()).unwrap_or(u32::MAX);
        let mut answer = Vec::with_capacity(request.bundles.len());
        for bundle in &request.bundles {
            let Some(number) = fleet.number_of(bundle) else { continue };
            let site: Vec<_> = own.iter().map(|one| one.neighbour(number, now)).collect();
            let above: Vec<Vec<_>> = upstream
                .iter()
                .map(|tier| tier.iter().map(|one| one.neighbour(number, now)).collect())
                .collect();
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

    /// The fleet in memory, read again where it lacks something: the appliance's manifest may be another control plane's, of a
    /// catalogue that was not looked at here yet.
    async fn fleet_that_knows(&self, asker: &ApplianceName, bundles: &[BundleKey]) -> Arc<Fleet> {
        let fleet = self.fleet();
        let knows_all = fleet.appliance(asker).is_some()
            && bundles.iter().all(|bundle| fleet.number_of(bundle).is_some());
        if !knows_all && let Err(error) = self.refresh().await {
            tracing::warn!(%error, "sources are named from what was read last");
        }
        self.fleet()
    }

    fn expected(&self, fleet: &Fleet, members: Vec<Arc<Member>>, now: u64) -> Vec<Expected> {
        let since = now.saturating_sub(self.patience_seconds());
        let expected = members.into_iter().map(|member| Expected {
            expectation: fleet.expectation(&member.name),
            reports: self.standings.has_reported_since(&member.name, since),
            member,
        });
        expected.collect()
    }
}

impl Expected {
    fn neighbour(&self, number: u32, now: u64) -> Neighbour<'_> {
        let member = &self.member;
        Neighbour {
            name: &member.name,
            url: member.urls.first().map(String::as_str),
            is_available: member.standing.is_serving(),
            holds: member.held.contains(number),
            is_expected: self.reports && self.expectation.contains(number, now),
        }
    }
}

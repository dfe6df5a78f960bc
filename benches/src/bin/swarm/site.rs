//! A site: an origin with the catalogue, a control plane, and appliances, each with daemon and agent as processes of their own.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use control_client::fill::{FillRun, RunOutcome};
use control_client::units::ByteCount;
use demo::certificate;
use demo::control_plane::ControlPlaneProcess;
use demo::failure::{Failure, Step};
use demo::member::Member;
use demo::origin::OriginProcess;
use demo::process::eventually;
use fill_agent::limits::OVERHEAD_PART;

use super::catalogue::{Bundle, Catalogue};
use super::past;

const SITE: &str = "site-1";

/// The networks of its viewers.
const PREFIX: &str = "10.0.0.0/8";

/// How long the fleet may take to know of each other, to report, or to be planned for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a night may take.
const NIGHT_PATIENCE: Duration = Duration::from_secs(300);

/// What a site is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SiteOptions {
    /// How many appliances it has.
    pub(crate) appliances: usize,
    /// The part of the catalogue's bytes that a night brings to each of them, in percent.
    pub(crate) night_percent: u64,
    /// Evenings before the first that the appliances have reported.
    pub(crate) past_evenings: u32,
    /// Sessions of each of these.
    pub(crate) sessions: usize,
    /// What they follow from.
    pub(crate) seed: u64,
}

/// All of it runs.
pub(crate) struct Site {
    pub(crate) origin: OriginProcess,
    pub(crate) control_plane: ControlPlaneProcess,
    pub(crate) members: Vec<Member>,
}

impl Site {
    /// Writes the catalogue, starts everything, and waits until all know of each other.
    pub(crate) async fn start(
        program: &Path,
        folder: &Path,
        catalogue: &Catalogue,
        options: &SiteOptions,
    ) -> Result<Self, Failure> {
        let tree = folder.join("origin");
        catalogue.write(&tree)?;
        let origin = OriginProcess::start(program, &tree).await?;
        let mut control_plane =
            ControlPlaneProcess::prepare(&folder.join("control-plane"), program, &origin.url()).await?;
        control_plane.add_site(SITE, "north", &[PREFIX]).await?;
        // Before the first evening that it was watched in, and by a whole day, as days are what popularity is counted by.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).step("the clock")?;
        let published_at = now.saturating_sub(past::DAY * options.past_evenings);
        for title in catalogue.titles() {
            control_plane.publish_at(title, &tree, false, published_at).await?;
        }
        control_plane.start().await?;
        let certificate = certificate::make(folder, "bench", &["localhost", "127.0.0.1"])?;
        let objects = catalogue.bytes() * options.night_percent / 100;
        // Plans leave a part of the night's bytes to what comes with the objects.
        let night_bytes = objects + objects.div_ceil(OVERHEAD_PART - 1) + OVERHEAD_PART;
        let settings = [("fill", format!("night_bytes = \"{}\"", ByteCount::new(night_bytes)))];
        let mut members = Vec::new();
        for place in 0..options.appliances {
            let name = format!("oca-{}", place + 1);
            let invitation = control_plane.invite(&name, SITE).await?;
            if let Some(report) = past::report(catalogue, options, place, &name, now)? {
                control_plane.take_report(&report).await?;
            }
            let folder = folder.join(&name);
            members.push(Member::start(&name, &folder, program, &certificate, &invitation, &settings).await?);
        }
        let site = Self { origin, control_plane, members };
        site.wait_until_known().await?;
        Ok(site)
    }

    /// The appliances' names, by place.
    pub(crate) fn names(&self) -> Vec<String> {
        self.members.iter().map(|member| member.name().to_owned()).collect()
    }

    /// Waits until every appliance has reported twice more, so that the last report tells all that has happened before.
    pub(crate) async fn wait_for_reports(&self) -> Result<(), Failure> {
        let before = self.known(|one| one.report_sequence).await?;
        eventually("the appliances report", PATIENCE, async || {
            let now = self.known(|one| one.report_sequence).await?;
            Ok(before.iter().all(|(name, number)| now.get(name) >= Some(&(number + 2))).then_some(()))
        })
        .await
    }

    /// Waits until a round of planning that began after this moment has ended, so that it knows all that was reported until now, and every
    /// agent has its list. A list that is no newer than `evening`, when the first one began, is a failure: it knows nothing of that
    /// evening, whatever was reported of it. Planning may leave one as it is that was made during the evening, if nothing is gained by
    /// another.
    pub(crate) async fn wait_for_manifests(&self, evening: u64) -> Result<(), Failure> {
        let reported = control_plane::plane::now();
        eventually("a round of planning after the first evening", PATIENCE, async || {
            Ok((self.control_plane.planned_at().await? > reported).then_some(()))
        })
        .await?;
        for member in &self.members {
            let name = member.name();
            let list = self.control_plane.newest_manifest(name).await?;
            let list = list.ok_or_else(|| Failure::new(format!("there is no list for {name}")))?;
            if !is_of_evening(list.issued_at, evening) {
                return Err(Failure::new(format!(
                    "the list of {name} was issued {} s before the first evening began, and planning has made no other since: the night would know nothing of the evening",
                    evening.saturating_sub(list.issued_at)
                )));
            }
            eventually("the agent has its list", PATIENCE, async || {
                let has = member.agent()?.progress().await?.manifest_sequence;
                Ok((has >= list.sequence).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    /// A night: every agent fills. Their runs, in the order of the appliances.
    pub(crate) async fn fill(&self) -> Result<Vec<FillRun>, Failure> {
        let mut before = Vec::new();
        for member in &self.members {
            before.push(member.agent()?.last_run().await?.map(|run| run.run));
            member.agent()?.begin_run().await?;
        }
        let mut runs = Vec::new();
        for (member, before) in self.members.iter().zip(before) {
            let agent = member.agent()?;
            let run = eventually("the end of the night", NIGHT_PATIENCE, async || {
                agent.ended_run(before.as_deref()).await
            });
            let run = run.await?;
            if !matches!(run.outcome, RunOutcome::Completed | RunOutcome::Suspended)
                || !run.failures.is_empty()
            {
                return Err(Failure::new(format!(
                    "the run of {} is {}: {}",
                    member.name(),
                    run.outcome,
                    run.detail
                )));
            }
            runs.push(run);
        }
        Ok(runs)
    }

    /// What each appliance serves.
    pub(crate) async fn held(&self, catalogue: &Catalogue) -> Result<Vec<HashSet<Bundle>>, Failure> {
        let places: BTreeMap<&str, Bundle> =
            catalogue.bundles().map(|bundle| (catalogue.path_of(bundle), bundle)).collect();
        let mut held = Vec::new();
        for member in &self.members {
            let entries = member.held().await?;
            held.push(entries.iter().filter_map(|entry| places.get(entry.path.as_str()).copied()).collect());
        }
        Ok(held)
    }

    /// Stops all of it.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        let mut is_well = true;
        for member in &mut self.members {
            is_well &= member.stop().await?;
        }
        self.control_plane.stop().await?;
        self.origin.stop().await?;
        if is_well { Ok(()) } else { Err(Failure::new("a daemon or an agent did not end well")) }
    }

    async fn wait_until_known(&self) -> Result<(), Failure> {
        eventually("every appliance has enrolled and is healthy", PATIENCE, async || {
            let known = self.control_plane.appliances().await?;
            let serving = known.iter().filter(|one| one.standing == "serving").count();
            Ok((serving == self.members.len()).then_some(()))
        })
        .await
    }

    async fn known(
        &self,
        number: impl Fn(&control_plane::api::ApplianceView) -> u64,
    ) -> Result<BTreeMap<String, u64>, Failure> {
        let known = self.control_plane.appliances().await?;
        Ok(known.iter().map(|one| (one.name.as_str().to_owned(), number(one))).collect())
    }
}

/// Whether a list may know of an evening that began then. One of that very second is taken for an earlier one.
fn is_of_evening(issued_at: u64, evening: u64) -> bool {
    issued_at > evening
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_from_before_the_evening_knows_nothing_of_it() {
        assert!(!is_of_evening(99, 100));
        assert!(!is_of_evening(100, 100));
        assert!(is_of_evening(101, 100));
    }
}

//! A control plane and one appliance: daemon and agent, each a process of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use control_client::admin::Retire;
use control_client::fill::{FillRun, RunOutcome};
use control_client::wire::DocumentVersion;
use demo::catalogue::Title;
use demo::certificate;
use demo::control_plane::ControlPlaneProcess;
use demo::failure::{Failure, Step};
use demo::member::Member;
use demo::process::eventually;

use super::catalogue::Catalogue;
use super::placement::{Side, processor_seconds, stand};

const SITE: &str = "site-1";
const APPLIANCE: &str = "oca-1";

/// How long the control plane may take to know the appliance, and to plan for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the agent is asked whether it has ended.
const GLANCE: Duration = Duration::from_millis(5);

/// What a site is like.
pub(crate) struct SiteOptions<'a> {
    /// Its name: that of its folder.
    pub(crate) name: &'a str,
    /// Where its content comes from.
    pub(crate) origin: &'a str,
    /// What it is to hold.
    pub(crate) titles: &'a [&'a Title],
    /// The agent's rate cap.
    pub(crate) rate: &'a str,
    /// Where the appliance runs.
    pub(crate) appliance_side: Side,
    /// Where the control plane does.
    pub(crate) control_plane_side: Side,
}

/// They run.
pub(crate) struct Site {
    /// The appliance.
    pub(crate) member: Member,
    control_plane: ControlPlaneProcess,
    bundles: u64,
}

/// A run that brought everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filled {
    /// From the order to the moment when the agent said that it had ended.
    pub(crate) took: Duration,
    /// Seconds of processor time of the agent.
    pub(crate) agent_seconds: f64,
    /// And of the origin.
    pub(crate) origin_seconds: f64,
}

/// A run that was ordered.
pub(crate) struct Filling {
    before: Option<String>,
    began: Instant,
    agent_seconds: f64,
    origin_seconds: f64,
}

impl Site {
    /// Starts it, publishes the titles, and waits until the appliance's plan has them all.
    pub(crate) async fn start(
        program: &Path,
        folder: &Path,
        catalogue: &Catalogue,
        options: &SiteOptions<'_>,
    ) -> Result<Self, Failure> {
        let folder = folder.join(options.name);
        std::fs::create_dir(&folder).step("making the site's folder")?;
        stand(options.control_plane_side)?;
        let mut control_plane =
            ControlPlaneProcess::prepare(&folder.join("control-plane"), program, options.origin).await?;
        control_plane.add_site(SITE, "north", &["127.0.0.0/8"]).await?;
        for title in options.titles {
            control_plane.publish(title, &catalogue.tree, true).await?;
        }
        control_plane.start().await?;
        stand(options.appliance_side)?;
        let certificate = certificate::make(&folder, "bench", &["localhost", "127.0.0.1"])?;
        let invitation = control_plane.invite(APPLIANCE, SITE).await?;
        // The default, where the demo's members do not yield.
        let settings = [format!("rate = {:?}", options.rate), "yield_latency = \"50 ms\"".to_owned()]
            .map(|line| ("fill", line));
        let member =
            Member::start(APPLIANCE, &folder.join(APPLIANCE), program, &certificate, &invitation, &settings)
                .await?;
        stand(Side::Everywhere)?;
        let bundles = options.titles.iter().map(|title| title.bundles.len() as u64).sum();
        let site = Self { member, control_plane, bundles };
        site.wait_for_plan().await?;
        Ok(site)
    }

    async fn wait_for_plan(&self) -> Result<(), Failure> {
        let mut said = String::new();
        let planned = eventually("the appliance's plan has every title", PATIENCE, async || {
            let known = self.control_plane.appliances().await?;
            if known.iter().all(|appliance| appliance.manifest_sequence == 0) {
                said = "the appliance has no manifest".to_owned();
                return Ok(None);
            }
            let plan = self.member.agent()?.client().plan().await.step("asking the agent for its plan")?;
            said = format!("{} bundles to fetch, {} left out", plan.fetches.len(), plan.skipped.len());
            if let Some(skipped) = plan.skipped.first() {
                said.push_str(&format!(", the first because {}", skipped.why));
            }
            Ok((plan.fetches.len() as u64 == self.bundles).then_some(()))
        });
        let planned = planned.await;
        planned.map_err(|failure| Failure::new(format!("{failure}; {said}")))
    }

    /// Orders a run.
    pub(crate) async fn begin_fill(&self, catalogue: &Catalogue) -> Result<Filling, Failure> {
        let agent = self.member.agent()?;
        let before = agent.last_run().await?.map(|run| run.run);
        let filling = Filling {
            before,
            began: Instant::now(),
            agent_seconds: processor_seconds(agent.id()),
            origin_seconds: processor_seconds(catalogue.origin.id()),
        };
        agent.begin_run().await?;
        Ok(filling)
    }

    /// Waits for its end, and sees to it that it brought so many bytes.
    pub(crate) async fn end_fill(
        &self,
        filling: Filling,
        catalogue: &Catalogue,
        bytes: u64,
    ) -> Result<Filled, Failure> {
        let agent = self.member.agent()?;
        let run = loop {
            if let Some(run) = agent.ended_run(filling.before.as_deref()).await? {
                break run;
            }
            tokio::time::sleep(GLANCE).await;
        };
        let took = filling.began.elapsed();
        let (agent_now, origin_now) =
            (processor_seconds(agent.id()), processor_seconds(catalogue.origin.id()));
        is_whole(&run, bytes)?;
        Ok(Filled {
            took,
            agent_seconds: agent_now - filling.agent_seconds,
            origin_seconds: origin_now - filling.origin_seconds,
        })
    }

    /// Retires everything but the title that is watched, and waits until the space has returned and the disk is quiet.
    pub(crate) async fn retire_all_but(&self, hot: &Title) -> Result<(), Failure> {
        let admin = self.member.premises().admin();
        for entry in self.member.held().await? {
            let path = entry.path;
            if hot.bundles.iter().all(|bundle| bundle.path != path.as_str()) {
                let retire = Retire { version: DocumentVersion, path, generation: None };
                admin.retire(retire).await.step("retiring")?;
            }
        }
        settle().await;
        Ok(())
    }

    /// Stops it.
    pub(crate) async fn stop(mut self) -> Result<(), Failure> {
        let is_well = self.member.stop().await?;
        self.control_plane.stop().await?;
        if is_well { Ok(()) } else { Err(Failure::new("daemon or agent did not end well")) }
    }
}

/// What was written is on the disk, and what was removed is gone, before the next measurement begins.
pub(crate) async fn settle() {
    rustix::fs::sync();
    tokio::time::sleep(Duration::from_millis(300)).await;
}

fn is_whole(run: &FillRun, bytes: u64) -> Result<(), Failure> {
    if run.outcome == RunOutcome::Completed && run.published_bytes == bytes {
        return Ok(());
    }
    let failures: Vec<&str> = run.failures.iter().map(|failure| failure.detail.as_str()).collect();
    Err(Failure::new(format!(
        "the fill brought {} of {bytes} bytes and is {}: {} {}",
        run.published_bytes,
        run.outcome,
        run.detail,
        failures.join("; ")
    )))
}

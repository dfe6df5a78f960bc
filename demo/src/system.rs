//! The whole system in a temporary folder: an origin with a catalogue, a control plane that knows it, and the appliances of one
//! site. Every role is a process of its own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use control_client::content::BundleKey;
use control_client::units::ByteCount;
use fill_agent::limits::OVERHEAD_PART;
use tempfile::TempDir;

use crate::catalogue::{self, CatalogueOptions, Title};
use crate::certificate::{self, CertificateFiles};
use crate::control_plane::ControlPlaneProcess;
use crate::failure::{Failure, Step};
use crate::member::Member;
use crate::origin::OriginProcess;
use crate::page::Act;
use crate::process::eventually;
use crate::viewer::Viewer;

/// The site that the appliances are in, and where its viewers are.
pub const SITE: &str = "site-1";
const REGION: &str = "north";
const PREFIXES: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// Sites without appliances, each below the next, the last below [`SITE`]: their viewers come to its appliances as to a tier far away, and
/// are steered anew every 10 seconds rather than every 300.
const FAR_SITES: [(&str, &[&str]); 2] = [("far-1", &[]), ("far-2", &["198.51.100.0/24"])];

/// A viewer of the site.
pub const VIEWER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A viewer who is far away.
pub const FAR_VIEWER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));

/// How long the fleet may take to know of each other.
const ENROLMENT_PATIENCE: Duration = Duration::from_secs(30);

/// How large the system is.
#[derive(Clone, Copy, Debug)]
pub struct SystemOptions {
    /// What the catalogue has beside the sample title.
    pub catalogue: CatalogueOptions,
    /// How many appliances the site has.
    pub appliances: usize,
    /// The part of the catalogue that one night may bring, in percent: below 100, the ranking decides what comes first.
    pub night_percent: u64,
}

/// Everything that runs.
pub struct System {
    /// Where content comes from.
    pub origin: OriginProcess,
    /// Who decides what goes where.
    pub control_plane: ControlPlaneProcess,
    /// Who serves.
    pub members: Vec<Member>,
    /// The sample title.
    pub sample: Title,
    /// The synthetic ones.
    pub titles: Arc<Vec<Title>>,
    /// What the members' certificates are.
    pub certificate: CertificateFiles,
    catalogue: CatalogueOptions,
    added: Vec<Title>,
    tree: PathBuf,
    // Removed last.
    folder: TempDir,
}

impl System {
    /// Makes the catalogue, starts everything, publishes every title, and waits until all members have enrolled. `say` is told
    /// what is being done.
    pub async fn start(
        program: &Path,
        options: &SystemOptions,
        say: &mut dyn FnMut(String),
    ) -> Result<Self, Failure> {
        let folder =
            tempfile::Builder::new().prefix("oca-demo-").tempdir().step("making a temporary folder")?;
        let tree = folder.path().join("origin");
        let certificate = certificate::make(folder.path(), "demo", &["localhost", "127.0.0.1", "::1"])?;

        let sample = catalogue::write_sample(&tree)?;
        let titles: Vec<Title> = (0..options.catalogue.titles)
            .map(|index| catalogue::synthetic(&options.catalogue, index))
            .collect();
        for title in &titles {
            catalogue::write(&options.catalogue, title, 0, &tree)?;
        }
        let bytes: u64 = sample.bytes() + titles.iter().map(Title::bytes).sum::<u64>();
        let origin = OriginProcess::start(program, &tree).await?;
        say(format!("origin         {}, {} titles, {}", origin.url(), titles.len() + 1, mebibytes(bytes)));

        let folder_of = |name: &str| folder.path().join(name);
        let mut control_plane =
            ControlPlaneProcess::prepare(&folder_of("control-plane"), program, &origin.url()).await?;
        control_plane.add_site(SITE, REGION, &PREFIXES).await?;
        for (index, title) in std::iter::once(&sample).chain(&titles).enumerate() {
            control_plane.publish(title, &tree, index == 0).await?;
        }
        control_plane.start().await?;
        say(format!("control plane  {}", control_plane.url()));

        let objects = (bytes * options.night_percent / 100).max(sample.bytes());
        // Plans leave a part of the night's bytes to what comes with the objects.
        let night_bytes = objects + objects.div_ceil(OVERHEAD_PART - 1) + OVERHEAD_PART;
        let settings = [("fill", format!("night_bytes = \"{}\"", ByteCount::new(night_bytes)))];
        let mut members = Vec::new();
        for index in 1..=options.appliances {
            let name = format!("oca-{index}");
            let invitation = control_plane.invite(&name, SITE).await?;
            let member =
                Member::start(&name, &folder_of(&name), program, &certificate, &invitation, &settings)
                    .await?;
            say(format!("{name:<14} http://{}, health http://{}/health", member.http(), member.admin()));
            members.push(member);
        }
        let titles = Arc::new(titles);
        let catalogue = options.catalogue;
        let system = Self {
            origin,
            control_plane,
            members,
            sample,
            titles,
            certificate,
            catalogue,
            added: Vec::new(),
            tree,
            folder,
        };
        system.wait_until_known().await?;
        Ok(system)
    }

    /// The origin's tree, which everything is compared with.
    pub fn tree(&self) -> &Path {
        &self.tree
    }

    /// Where everything is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A viewer in the site's network.
    pub fn viewer(&self) -> Result<Viewer, Failure> {
        Viewer::new(&self.control_plane.url(), self.control_plane.operator_token()?, VIEWER)
    }

    /// Waits until the control plane has heard from every member, and has seen that each is healthy.
    async fn wait_until_known(&self) -> Result<(), Failure> {
        eventually("every appliance has enrolled and is healthy", ENROLMENT_PATIENCE, async || {
            let known = self.control_plane.appliances().await?;
            let is_known =
                |name: &str| known.iter().any(|one| one.name.as_str() == name && one.standing == "serving");
            Ok(self.members.iter().all(|member| is_known(member.name())).then_some(()))
        })
        .await
    }

    /// Makes known where [`FAR_VIEWER`] is.
    pub async fn add_far_viewers(&self) -> Result<(), Failure> {
        let mut above = SITE;
        for (site, prefixes) in FAR_SITES {
            self.control_plane.add_site_below(Some(above), site, REGION, prefixes).await?;
            above = site;
        }
        Ok(())
    }

    /// Publishes a title that every appliance is to hold: the tree of a directory.
    pub async fn add_title(&mut self, name: &str, directory: &Path) -> Result<(), Failure> {
        let title = catalogue::write_tree(name, directory, &self.tree)?;
        self.control_plane.publish(&title, &self.tree, true).await?;
        self.added.push(title);
        Ok(())
    }

    /// Titles that were added.
    pub fn added(&self) -> &[Title] {
        &self.added
    }

    /// Does what somebody asks for on the page.
    pub async fn obey(&mut self, appliance: &str, act: Act) -> Result<(), Failure> {
        let member = self.members.iter_mut().find(|member| member.name() == appliance);
        let member = member.ok_or_else(|| Failure::new(format!("there is no {appliance}")))?;
        match act {
            Act::Kill => member.kill_daemon(),
            Act::Start if member.has_daemon() => Ok(()),
            Act::Start => member.start_daemon().await,
            Act::Drain => member.premises().admin().drain().await.map(drop).step("draining"),
            Act::Serve => member.premises().admin().undrain().await.map(drop).step("serving again"),
        }
    }

    /// Publishes another edition of a synthetic title: every byte of it is new, and what appliances hold of it is out of date.
    pub async fn publish_edition(&self, title: usize, edition: u32) -> Result<Vec<BundleKey>, Failure> {
        let title = &self.titles[title];
        catalogue::write(&self.catalogue, title, edition, &self.tree)?;
        self.control_plane.publish(title, &self.tree, false).await
    }

    /// The number of the newest report of each appliance.
    pub async fn report_sequences(&self) -> Result<BTreeMap<String, u64>, Failure> {
        let known = self.control_plane.appliances().await?;
        Ok(known.into_iter().map(|one| (one.name.as_str().to_owned(), one.report_sequence)).collect())
    }

    /// Waits until a process has ended by itself, which none should, and says which.
    pub async fn wait_for_a_death(&mut self) -> Result<String, Failure> {
        loop {
            for member in &mut self.members {
                if let Some(status) = member.ended()? {
                    return Ok(format!("a process of {} ended by itself: {status}", member.name()));
                }
            }
            if let Some(status) = self.control_plane.ended()? {
                return Ok(format!("the control plane ended by itself: {status}"));
            }
            if let Some(status) = self.origin.ended()? {
                return Ok(format!("the origin ended by itself: {status}"));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Stops everything in turn; whether all of it ended well.
    pub async fn stop(mut self) -> Result<bool, Failure> {
        let mut is_well = true;
        for member in &mut self.members {
            is_well &= member.stop().await?;
        }
        is_well &= self.control_plane.stop().await?.is_none_or(|status| status.success());
        is_well &= self.origin.stop().await?.success();
        Ok(is_well)
    }
}

/// For people.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / ByteCount::MIB.bytes() as f64)
}

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use control_client::config::CONFIG_PATH;
use control_client::content::BundlePath;
use control_client::fleet::{ApplianceName, RegionName, SiteName, TitleName};
use control_client::units::BitRate;
use control_plane::ranking::Season;
use ipnet::IpNet;

use crate::moment::{MaybeMoment, Moment};

/// The reference control plane of a fleet of edge cache appliances, and the command of its operator.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    /// The configuration file; only [control_plane] and [log] matter here.
    #[arg(long, global = true, default_value = CONFIG_PATH)]
    pub(crate) config: PathBuf,
    /// Answer with JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say why the answer is what it is.
    #[arg(long, global = true)]
    pub(crate) explain: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the HTTP API, poll the appliances, make fill manifests.
    Serve,
    /// Publish a directory as a title: one bundle for each directory that has files.
    Publish(PublishArguments),
    /// Titles of the catalogue.
    #[command(subcommand)]
    Title(TitleCommand),
    /// Show what each bundle is worth in a region.
    Rank(RankArguments),
    /// Show what an appliance would hold.
    Plan(PlanArguments),
    /// Show where a client would be sent.
    Steer(SteerArguments),
    /// Sites: places that have appliances.
    #[command(subcommand)]
    Site(SiteCommand),
    /// Networks of clients.
    #[command(subcommand)]
    Prefix(PrefixCommand),
    /// Appliances.
    #[command(subcommand)]
    Appliance(ApplianceCommand),
    /// Send no more clients to an appliance, and let it come to rest.
    Drain {
        /// The appliance.
        appliance: ApplianceName,
    },
    /// Let a drained appliance serve again.
    Undrain {
        /// The appliance.
        appliance: ApplianceName,
    },
    /// Let an appliance stop serving content.
    Purge {
        /// The appliance.
        appliance: ApplianceName,
        /// The directory.
        path: BundlePath,
        /// Everything below it, too.
        #[arg(long)]
        prefix: bool,
    },
    /// Let an appliance begin a fill now, whatever its window says.
    FillNow {
        /// The appliance.
        appliance: ApplianceName,
    },
    /// Orders of appliances: what was ordered, and what became of it.
    #[command(subcommand)]
    Directive(DirectiveCommand),
    /// Keys that sign fill manifests.
    #[command(subcommand)]
    Keys(KeysCommand),
}

#[derive(Debug, Args)]
pub(crate) struct PublishArguments {
    /// The directory. Its files are read and digested; origins serve them.
    pub(crate) directory: PathBuf,
    /// The title's name.
    #[arg(long)]
    pub(crate) title: TitleName,
    /// The path under which the directory is served.
    #[arg(long = "as", value_name = "PATH")]
    pub(crate) as_path: BundlePath,
    /// A region whose appliances may hold it; may be given several times. Left out: all.
    #[arg(long = "region")]
    pub(crate) regions: Vec<RegionName>,
    /// When viewers may begin to watch: 2026-12-24T18:00:00Z, or seconds since 1970.
    #[arg(long, value_name = "TIME")]
    pub(crate) release: Option<Moment>,
    /// When its licence ends.
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<Moment>,
    /// Every appliance of its regions is to hold it, whatever its popularity.
    #[arg(long)]
    pub(crate) pin: bool,
    /// A title whose audience it is expected to have.
    #[arg(long, value_name = "TITLE")]
    pub(crate) similar_to: Option<TitleName>,
    /// What it has in common with other titles: a series, a genre, a language; may be given several times.
    #[arg(long = "tag")]
    pub(crate) tags: Vec<String>,
    /// When in the year it is watched more, or less: "12-01..01-06 x3"; may be given several times.
    #[arg(long = "season")]
    pub(crate) seasons: Vec<Season>,
    /// The generation of what is new or has changed. Left out: the present time in microseconds.
    #[arg(long)]
    pub(crate) generation: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TitleCommand {
    /// List the titles.
    List,
    /// Change what was said of a title when it was published. Its files are not read again.
    Change(TitleChangeArguments),
    /// Take a title out of the catalogue: nobody is steered to it any more, and the next manifests lack it.
    Remove {
        /// The title.
        name: TitleName,
        /// Let all appliances stop serving it at once, too.
        #[arg(long)]
        purge: bool,
    },
    /// Let all appliances stop serving a title: its bundles and all else below its directory. It stays in the catalogue, so that it is
    /// filled again.
    Purge {
        /// The title.
        name: TitleName,
    },
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("change").required(true).multiple(true)))]
pub(crate) struct TitleChangeArguments {
    /// The title.
    pub(crate) name: TitleName,
    /// When viewers may begin to watch: 2026-12-24T18:00:00Z, seconds since 1970, or "none".
    #[arg(long, value_name = "TIME", group = "change")]
    pub(crate) release: Option<MaybeMoment>,
    /// When its licence ends, or "none".
    #[arg(long, value_name = "TIME", group = "change")]
    pub(crate) expires: Option<MaybeMoment>,
    /// A region whose appliances may hold it, instead of those that were said; may be given several times.
    #[arg(long = "region", group = "change")]
    pub(crate) regions: Vec<RegionName>,
    /// The appliances of all regions may hold it.
    #[arg(long, group = "change", conflicts_with = "regions")]
    pub(crate) all_regions: bool,
    /// Every appliance of its regions is to hold it.
    #[arg(long, group = "change")]
    pub(crate) pin: bool,
    /// It is to be held where it is popular.
    #[arg(long, group = "change", conflicts_with = "pin")]
    pub(crate) unpin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RankArguments {
    /// The region; left out: all.
    #[arg(long)]
    pub(crate) region: Option<RegionName>,
    /// How many places to show of each list.
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    /// The appliance.
    pub(crate) appliance: ApplianceName,
    /// How many bundles to show.
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct SteerArguments {
    /// The client's address.
    #[arg(long)]
    pub(crate) client: IpAddr,
    /// The directory that it wants objects of.
    #[arg(long)]
    pub(crate) path: BundlePath,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SiteCommand {
    /// Add a site.
    Add(SiteArguments),
    /// Give a site another region or another upstream.
    Change {
        /// Its name.
        name: SiteName,
        /// Its region from now on.
        #[arg(long, required_unless_present_any = ["upstream", "no_upstream"])]
        region: Option<RegionName>,
        /// The site that it turns to next from now on.
        #[arg(long)]
        upstream: Option<SiteName>,
        /// It turns to no other site from now on.
        #[arg(long, conflicts_with = "upstream")]
        no_upstream: bool,
    },
    /// Forget a site at which no appliance stands, and to which no other site turns.
    Remove {
        /// Its name.
        name: SiteName,
    },
    /// List the sites.
    List,
}

#[derive(Debug, Args)]
pub(crate) struct SiteArguments {
    /// Its name.
    pub(crate) name: SiteName,
    /// Its region: sites whose viewers like the same.
    #[arg(long)]
    pub(crate) region: RegionName,
    /// The site that its clients turn to next, and that its appliances fill from.
    #[arg(long)]
    pub(crate) upstream: Option<SiteName>,
    /// A network of its clients; may be given several times.
    #[arg(long = "prefix")]
    pub(crate) prefixes: Vec<IpNet>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PrefixCommand {
    /// Give networks of clients to a site.
    Add {
        /// The site.
        site: SiteName,
        /// The networks: 192.0.2.0/24, 2001:db8::/32.
        #[arg(required = true)]
        prefixes: Vec<IpNet>,
    },
    /// Take networks of clients from whichever site has them.
    Remove {
        /// The networks.
        #[arg(required = true)]
        prefixes: Vec<IpNet>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApplianceCommand {
    /// Add an appliance, and print its token, which is shown this once.
    Add {
        /// Its name.
        name: ApplianceName,
        /// Where it is.
        #[arg(long)]
        site: SiteName,
    },
    /// Move an appliance to another site, or say what its links carry.
    Change {
        /// The appliance.
        name: ApplianceName,
        /// Where it is from now on.
        #[arg(long, required_unless_present = "link")]
        site: Option<SiteName>,
        /// What its links carry towards clients, "20 Gbit/s"; "0 bit/s": not known. It is full at 90 % of it.
        #[arg(long, value_name = "RATE")]
        link: Option<BitRate>,
    },
    /// Forget an appliance and all that it told. Its token is none from now on.
    Remove {
        /// The appliance.
        name: ApplianceName,
    },
    /// Make a new token for an appliance, and print it; the old one is none from now on.
    Token {
        /// The appliance.
        name: ApplianceName,
    },
    /// List the appliances.
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DirectiveCommand {
    /// List the last orders, the newest first. One waits until its appliance has said that it was carried out, or why not.
    List {
        /// Only those of this appliance.
        #[arg(long)]
        appliance: Option<ApplianceName>,
        /// Only those that wait.
        #[arg(long)]
        waiting: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key, to sign when those before it are retired. Put its public half into control.trusted_keys of
    /// every appliance first.
    New,
    /// List the keys; the first signs.
    List,
    /// Let a key sign no more.
    Retire {
        /// The key.
        id: String,
    },
}

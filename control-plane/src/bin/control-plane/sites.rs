use control_client::fleet::SiteName;
use control_plane::fleet::SiteFacts;
use control_plane::registry::{self, SiteChange};
use ipnet::IpNet;
use serde::Serialize;

use crate::Session;
use crate::arguments::SiteArguments;
use crate::failure::Failure;
use crate::output::{row, table};

#[derive(Serialize)]
struct Site {
    name: String,
    region: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<String>,
    prefixes: Vec<String>,
}

impl Site {
    fn of(facts: &SiteFacts) -> Self {
        Self {
            name: facts.name.to_string(),
            region: facts.region.to_string(),
            upstream: facts.upstream.as_ref().map(ToString::to_string),
            prefixes: facts.prefixes.iter().map(ToString::to_string).collect(),
        }
    }
}

pub(crate) async fn add(session: &Session, site: SiteArguments) -> Result<(), Failure> {
    let facts =
        SiteFacts { name: site.name, region: site.region, upstream: site.upstream, prefixes: site.prefixes };
    registry::add_site(&session.database().await?, facts.clone()).await?;
    session.output.write(&Site::of(&facts), |site| vec![format!("site {} is added", site.name)])
}

pub(crate) async fn change(session: &Session, name: &SiteName, wanted: SiteChange) -> Result<(), Failure> {
    registry::change_site(&session.database().await?, name, &wanted).await?;
    session.output.write(name, |name| vec![format!("site {name} is changed")])
}

pub(crate) async fn remove(session: &Session, name: &SiteName) -> Result<(), Failure> {
    registry::remove_site(&session.database().await?, name).await?;
    session.output.write(name, |name| vec![format!("site {name} is forgotten")])
}

pub(crate) async fn list(session: &Session) -> Result<(), Failure> {
    let facts = registry::site_facts(&session.database().await?).await?;
    let sites: Vec<Site> = facts.iter().map(Site::of).collect();
    session.output.write(&sites, |sites| {
        let mut rows = vec![row(["site", "region", "upstream", "prefixes"])];
        for site in sites {
            let upstream = site.upstream.clone().unwrap_or_else(|| "-".to_owned());
            rows.push(vec![site.name.clone(), site.region.clone(), upstream, site.prefixes.join(" ")]);
        }
        table(&rows)
    })
}

pub(crate) async fn add_prefixes(
    session: &Session,
    site: &SiteName,
    prefixes: &[IpNet],
) -> Result<(), Failure> {
    let database = session.database().await?;
    for prefix in prefixes {
        registry::add_prefix(&database, site, *prefix).await?;
    }
    told(session, prefixes, &format!("now of site {site}"))
}

pub(crate) async fn remove_prefixes(session: &Session, prefixes: &[IpNet]) -> Result<(), Failure> {
    let database = session.database().await?;
    for prefix in prefixes {
        registry::remove_prefix(&database, *prefix).await?;
    }
    told(session, prefixes, "of no site now")
}

fn told(session: &Session, prefixes: &[IpNet], what: &str) -> Result<(), Failure> {
    let prefixes: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
    session.output.write(&prefixes, |prefixes| vec![format!("{} {what}", prefixes.join(" "))])
}

use std::collections::HashMap;

use control_client::fleet::{RegionName, SiteName};
use ipnet::IpNet;
use sqlx::any::AnyRow;

use super::RegistryError;
use crate::catalogue::parsed;
use crate::database::{Change, Database, DatabaseError, maybe_text, text};
use crate::fleet::{Fleet, SiteFacts};

const PREFIXES: &str = "SELECT prefix, site FROM prefixes";
const SITES: &str = "SELECT name, region, upstream FROM sites";

/// What an operator changes of a site. What is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteChange {
    /// Its region from now on.
    pub region: Option<RegionName>,
    /// The site that it turns to next, or none.
    pub upstream: Option<Option<SiteName>>,
}

/// All sites with their prefixes, sorted by name.
pub async fn site_facts(database: &Database) -> Result<Vec<SiteFacts>, DatabaseError> {
    facts(&database.read(PREFIXES, vec![]).await?, &database.read(SITES, vec![]).await?)
}

fn facts(prefixes: &[AnyRow], sites: &[AnyRow]) -> Result<Vec<SiteFacts>, DatabaseError> {
    let mut by_site: HashMap<String, Vec<IpNet>> = HashMap::new();
    for row in prefixes {
        let prefix = parsed("a prefix", text(row, 0)?.parse())?;
        by_site.entry(text(row, 1)?).or_default().push(prefix);
    }
    let mut facts = Vec::new();
    for row in sites {
        let name = text(row, 0)?;
        let mut prefixes = by_site.remove(&name).unwrap_or_default();
        prefixes.sort_unstable();
        let upstream = maybe_text(row, 2)?.map(|upstream| SiteName::parse(&upstream)).transpose();
        facts.push(SiteFacts {
            name: parsed("a site's name", SiteName::parse(&name))?,
            region: parsed("a region's name", RegionName::parse(&text(row, 1)?))?,
            upstream: parsed("a site's name", upstream)?,
            prefixes,
        });
    }
    facts.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    Ok(facts)
}

/// The sites, in a change that whoever else changes them waits for: what is found to be possible stays so until it is done.
async fn begin(database: &Database) -> Result<(Change<'_>, Vec<SiteFacts>), RegistryError> {
    let mut change = database.change().await?;
    change.count("sites").await?;
    let (prefixes, sites) = (change.rows(PREFIXES, vec![]).await?, change.rows(SITES, vec![]).await?);
    let facts = facts(&prefixes, &sites)?;
    Ok((change, facts))
}

fn known<'a>(facts: &'a mut [SiteFacts], site: &SiteName) -> Result<&'a mut SiteFacts, RegistryError> {
    let known = facts.iter_mut().find(|known| known.name == *site);
    known.ok_or_else(|| RegistryError::UnknownSite(site.clone()))
}

/// Adds a site with the networks of its clients.
pub async fn add_site(database: &Database, mut site: SiteFacts) -> Result<(), RegistryError> {
    site.prefixes = site.prefixes.iter().map(IpNet::trunc).collect();
    site.prefixes.sort_unstable();
    site.prefixes.dedup();
    let (mut change, mut facts) = begin(database).await?;
    if facts.iter().any(|known| known.name == site.name) {
        return Err(RegistryError::SiteTaken(site.name));
    }
    facts.push(site.clone());
    Fleet::new(Vec::new()).set_sites(facts)?;
    let sql = "INSERT INTO sites (name, region, upstream) VALUES ($1, $2, $3)";
    let upstream = site.upstream.as_ref().map(|name| name.as_str().to_owned());
    let arguments = vec![site.name.as_str().into(), site.region.as_str().into(), upstream.into()];
    change.execute(sql, arguments).await?;
    let rows = site
        .prefixes
        .iter()
        .map(|prefix| vec![prefix.to_string().into(), site.name.as_str().into()])
        .collect();
    change.execute_many("INSERT INTO prefixes (prefix, site) VALUES {rows}", 2, rows).await?;
    Ok(change.commit().await?)
}

/// Changes a site. Its appliances and its clients' networks stay.
pub async fn change_site(
    database: &Database,
    site: &SiteName,
    wanted: &SiteChange,
) -> Result<(), RegistryError> {
    let (mut change, mut facts) = begin(database).await?;
    let of_site = known(&mut facts, site)?;
    if let Some(region) = &wanted.region {
        of_site.region.clone_from(region);
    }
    if let Some(upstream) = &wanted.upstream {
        of_site.upstream.clone_from(upstream);
    }
    let upstream = of_site.upstream.as_ref().map(|name| name.as_str().to_owned());
    let arguments = vec![of_site.region.as_str().into(), upstream.into(), site.as_str().into()];
    Fleet::new(Vec::new()).set_sites(facts)?;
    change.execute("UPDATE sites SET region = $1, upstream = $2 WHERE name = $3", arguments).await?;
    // The regions of its appliances are read with these.
    change.count("fleet").await?;
    Ok(change.commit().await?)
}

/// Forgets a site at which no appliance stands, and to which no other site turns. Its clients' networks are no site's from now on.
pub async fn remove_site(database: &Database, site: &SiteName) -> Result<(), RegistryError> {
    let (mut change, mut facts) = begin(database).await?;
    known(&mut facts, site)?;
    let of_site = || vec![site.as_str().into()];
    let row =
        change.row("SELECT name FROM appliances WHERE site = $1 ORDER BY name LIMIT 1", of_site()).await?;
    if let Some(row) = row {
        return Err(RegistryError::SiteInUse {
            site: site.clone(),
            by: format!("appliance {}", text(&row, 0)?),
        });
    }
    if let Some(below) = facts.iter().find(|known| known.upstream.as_ref() == Some(site)) {
        return Err(RegistryError::SiteInUse { site: site.clone(), by: format!("site {}", below.name) });
    }
    for sql in [
        "DELETE FROM prefixes WHERE site = $1",
        "DELETE FROM site_demand WHERE site = $1",
        "DELETE FROM sites WHERE name = $1",
    ] {
        change.execute(sql, of_site()).await?;
    }
    Ok(change.commit().await?)
}

/// Gives a network to a site. A site that has it already keeps it.
pub async fn add_prefix(database: &Database, site: &SiteName, prefix: IpNet) -> Result<(), RegistryError> {
    let prefix = prefix.trunc();
    let (mut change, mut facts) = begin(database).await?;
    let of_site = known(&mut facts, site)?;
    if of_site.prefixes.contains(&prefix) {
        return Ok(());
    }
    of_site.prefixes.push(prefix);
    Fleet::new(Vec::new()).set_sites(facts)?;
    let sql = "INSERT INTO prefixes (prefix, site) VALUES ($1, $2)";
    change.execute(sql, vec![prefix.to_string().into(), site.as_str().into()]).await?;
    Ok(change.commit().await?)
}

/// Takes a network from the site that has it.
pub async fn remove_prefix(database: &Database, prefix: IpNet) -> Result<(), RegistryError> {
    let mut change = database.change().await?;
    change.count("sites").await?;
    let sql = "DELETE FROM prefixes WHERE prefix = $1";
    if change.execute(sql, vec![prefix.trunc().to_string().into()]).await? == 0 {
        return Err(RegistryError::UnknownPrefix(prefix));
    }
    Ok(change.commit().await?)
}

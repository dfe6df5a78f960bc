use std::collections::HashMap;

use control_client::fleet::{RegionName, SiteName};
use ipnet::IpNet;

use super::RegistryError;
use crate::catalogue::parsed;
use crate::database::{Database, DatabaseError, maybe_text, text};
use crate::fleet::{Fleet, SiteFacts};

/// All sites with their prefixes, sorted by name.
pub async fn site_facts(database: &Database) -> Result<Vec<SiteFacts>, DatabaseError> {
    let mut by_site: HashMap<String, Vec<IpNet>> = HashMap::new();
    for row in database.read("SELECT prefix, site FROM prefixes", vec![]).await? {
        let prefix = parsed("a prefix", text(&row, 0)?.parse())?;
        by_site.entry(text(&row, 1)?).or_default().push(prefix);
    }
    let mut facts = Vec::new();
    for row in database.read("SELECT name, region, upstream FROM sites", vec![]).await? {
        let name = text(&row, 0)?;
        let mut prefixes = by_site.remove(&name).unwrap_or_default();
        prefixes.sort_unstable();
        let upstream = maybe_text(&row, 2)?.map(|upstream| SiteName::parse(&upstream)).transpose();
        facts.push(SiteFacts {
            name: parsed("a site's name", SiteName::parse(&name))?,
            region: parsed("a region's name", RegionName::parse(&text(&row, 1)?))?,
            upstream: parsed("a site's name", upstream)?,
            prefixes,
        });
    }
    facts.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    Ok(facts)
}

/// Adds a site with the networks of its clients.
pub async fn add_site(database: &Database, site: SiteFacts) -> Result<(), RegistryError> {
    let mut facts = site_facts(database).await?;
    if facts.iter().any(|known| known.name == site.name) {
        return Err(RegistryError::SiteTaken(site.name));
    }
    facts.push(site.clone());
    Fleet::new(Vec::new()).set_sites(facts)?;
    let mut change = database.change().await?;
    change.count("fleet").await?;
    let sql = "INSERT INTO sites (name, region, upstream) VALUES ($1, $2, $3)";
    let upstream = site.upstream.as_ref().map(|name| name.as_str().to_owned());
    let arguments = vec![site.name.as_str().into(), site.region.as_str().into(), upstream.into()];
    change.execute(sql, arguments).await?;
    let rows = site
        .prefixes
        .iter()
        .map(|prefix| vec![prefix.trunc().to_string().into(), site.name.as_str().into()])
        .collect();
    change.execute_many("INSERT INTO prefixes (prefix, site) VALUES {rows}", 2, rows).await?;
    Ok(change.commit().await?)
}

/// Gives a network to a site. A site that has it already keeps it.
pub async fn add_prefix(database: &Database, site: &SiteName, prefix: IpNet) -> Result<(), RegistryError> {
    let prefix = prefix.trunc();
    let mut facts = site_facts(database).await?;
    let Some(of_site) = facts.iter_mut().find(|known| known.name == *site) else {
        return Err(RegistryError::UnknownSite(site.clone()));
    };
    if of_site.prefixes.contains(&prefix) {
        return Ok(());
    }
    of_site.prefixes.push(prefix);
    Fleet::new(Vec::new()).set_sites(facts)?;
    let mut change = database.change().await?;
    change.count("fleet").await?;
    let sql = "INSERT INTO prefixes (prefix, site) VALUES ($1, $2)";
    change.execute(sql, vec![prefix.to_string().into(), site.as_str().into()]).await?;
    Ok(change.commit().await?)
}

/// Takes a network from the site that has it.
pub async fn remove_prefix(database: &Database, prefix: IpNet) -> Result<(), RegistryError> {
    let mut change = database.change().await?;
    change.count("fleet").await?;
    let sql = "DELETE FROM prefixes WHERE prefix = $1";
    if change.execute(sql, vec![prefix.trunc().to_string().into()]).await? == 0 {
        return Err(RegistryError::UnknownPrefix(prefix));
    }
    Ok(change.commit().await?)
}

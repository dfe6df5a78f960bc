use control_client::fleet::{ApplianceName, SiteName};
use control_client::token::Token;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::RegistryError;
use crate::database::{Change, Database, number};
use crate::limits;

/// What an operator changes of an appliance. What is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplianceChange {
    /// The site that it stands at from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteName>,
    /// What its links carry towards clients, in bits per second; 0: not known, so that its egress counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_bits_per_second: Option<u64>,
}

/// Adds an appliance, and makes the token that it shows.
pub async fn add_appliance(
    database: &Database,
    name: &ApplianceName,
    site: &SiteName,
) -> Result<Token, RegistryError> {
    let token = Token::generate().map_err(|_| RegistryError::Randomness)?;
    let mut change = database.change().await?;
    change.count("fleet").await?;
    let row = change.row("SELECT COUNT(*) FROM appliances", vec![]).await?;
    if row.map_or(Ok(0), |row| number(&row, 0))? >= limits::APPLIANCES_MAX as u64 {
        return Err(RegistryError::TooManyAppliances);
    }
    let sql = "INSERT INTO appliances (name, site, token_sha256) VALUES ($1, $2, $3)";
    let arguments = vec![name.as_str().into(), site.as_str().into(), token.sha256().to_string().into()];
    match change.execute(sql, arguments).await {
        Ok(_) => {}
        Err(error) if error.is_duplicate() => return Err(RegistryError::ApplianceTaken(name.clone())),
        Err(error) if error.is_dangling() => return Err(RegistryError::UnknownSite(site.clone())),
        Err(error) => return Err(error.into()),
    }
    change.commit().await?;
    Ok(token)
}

/// Makes a new token for an appliance; the old one is none from now on.
pub async fn renew_token(database: &Database, name: &ApplianceName) -> Result<Token, RegistryError> {
    let token = Token::generate().map_err(|_| RegistryError::Randomness)?;
    let mut change = database.change().await?;
    let sql = "UPDATE appliances SET token_sha256 = $1 WHERE name = $2";
    if change.execute(sql, vec![token.sha256().to_string().into(), name.as_str().into()]).await? == 0 {
        return Err(RegistryError::UnknownAppliance(name.clone()));
    }
    change.commit().await?;
    Ok(token)
}

/// Moves an appliance to another site, or notes what its links carry. Its token, inventory and history stay.
pub async fn change_appliance(
    database: &Database,
    name: &ApplianceName,
    wanted: &ApplianceChange,
) -> Result<(), RegistryError> {
    let mut change = database.change().await?;
    lock(&mut change, name).await?;
    if let Some(site) = &wanted.site {
        let sql = "UPDATE appliances SET site = $1 WHERE name = $2";
        match change.execute(sql, vec![site.as_str().into(), name.as_str().into()]).await {
            Ok(_) => {}
            Err(error) if error.is_dangling() => return Err(RegistryError::UnknownSite(site.clone())),
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(link) = wanted.link_bits_per_second {
        let sql = "UPDATE appliances SET link_bits_per_second = $1 WHERE name = $2";
        change.execute(sql, vec![link.into(), name.as_str().into()]).await?;
    }
    change.count("fleet").await?;
    Ok(change.commit().await?)
}

/// Forgets an appliance and all that it told; its token is none from now on. What its viewers asked for still counts in its region.
pub async fn remove_appliance(database: &Database, name: &ApplianceName) -> Result<(), RegistryError> {
    let mut change = database.change().await?;
    lock(&mut change, name).await?;
    for table in ["holdings", "runs", "directives", "reported_days", "manifests"] {
        let sql = format!("DELETE FROM {table} WHERE appliance = $1");
        change.execute(&sql, vec![name.as_str().into()]).await?;
    }
    change.execute("DELETE FROM appliances WHERE name = $1", vec![name.as_str().into()]).await?;
    change.count("fleet").await?;
    Ok(change.commit().await?)
}

/// Lets reports and enrolments of the appliance wait until this change has ended. They take its row before any counter, so whoever
/// needs both does the same.
pub(super) async fn lock(change: &mut Change<'_>, name: &ApplianceName) -> Result<(), RegistryError> {
    let sql = "UPDATE appliances SET name = name WHERE name = $1";
    if change.execute(sql, vec![name.as_str().into()]).await? == 0 {
        return Err(RegistryError::UnknownAppliance(name.clone()));
    }
    Ok(())
}

use control_client::content::BundlePath;
use control_client::fleet::{ApplianceName, SiteName};
use control_client::report::Order;
use control_client::token::Token;
use control_client::units::BitRate;
use control_plane::plane::now;
use control_plane::registry::{self, ApplianceChange};
use serde::Serialize;

use crate::Session;
use crate::failure::Failure;
use crate::moment::written;
use crate::output::{row, table};

#[derive(Serialize)]
struct NewToken<'a> {
    appliance: &'a ApplianceName,
    token: &'a str,
}

#[derive(Serialize)]
struct Listed {
    name: String,
    site: String,
    standing: String,
    withdrawn: bool,
    release: String,
    capacity_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_bits_per_second: Option<u64>,
    enrolled_at: Option<u64>,
    reported_at: Option<u64>,
    manifest_sequence: u64,
    manifest_refused: Option<String>,
}

pub(crate) async fn add(session: &Session, name: &ApplianceName, site: &SiteName) -> Result<(), Failure> {
    let token = registry::add_appliance(&session.database().await?, name, site).await?;
    show(session, name, &token)
}

pub(crate) async fn token(session: &Session, name: &ApplianceName) -> Result<(), Failure> {
    let token = registry::renew_token(&session.database().await?, name).await?;
    show(session, name, &token)
}

pub(crate) async fn change(
    session: &Session,
    name: &ApplianceName,
    site: Option<SiteName>,
    link: Option<BitRate>,
) -> Result<(), Failure> {
    let wanted = ApplianceChange { site, link_bits_per_second: link.map(BitRate::bits_per_second) };
    registry::change_appliance(&session.database().await?, name, &wanted).await?;
    session.output.write(&wanted, |wanted| {
        let mut lines = Vec::new();
        lines.extend(wanted.site.as_ref().map(|site| format!("{name} stands at site {site} now")));
        lines.extend(link.map(|link| format!("the links of {name} carry {link}")));
        lines
    })
}

pub(crate) async fn remove(session: &Session, name: &ApplianceName) -> Result<(), Failure> {
    registry::remove_appliance(&session.database().await?, name).await?;
    session.output.write(name, |name| vec![format!("{name} is forgotten, and its token is none any more")])
}

/// Only the token goes to standard output, so that it can be written to a file.
fn show(session: &Session, appliance: &ApplianceName, token: &Token) -> Result<(), Failure> {
    if !session.output.json {
        eprintln!("the token of {appliance}, for its control.token_file; it is not shown again:");
    }
    session.output.write(&NewToken { appliance, token: token.as_str() }, |new| vec![new.token.to_owned()])
}

pub(crate) async fn list(session: &Session) -> Result<(), Failure> {
    let appliances = registry::appliances(&session.database().await?).await?;
    let listed: Vec<Listed> = appliances
        .into_iter()
        .map(|appliance| Listed {
            name: appliance.name.to_string(),
            site: appliance.site.to_string(),
            standing: appliance.standing,
            withdrawn: appliance.withdrawn,
            release: appliance.release,
            capacity_bytes: appliance.capacity_bytes,
            link_bits_per_second: appliance.link.map(BitRate::bits_per_second),
            enrolled_at: appliance.enrolled_at,
            reported_at: appliance.reported_at,
            manifest_sequence: appliance.manifest_sequence,
            manifest_refused: appliance.manifest_refused,
        })
        .collect();
    session.output.write(&listed, |listed| lines(listed, session.output.explain))
}

fn lines(listed: &[Listed], explain: bool) -> Vec<String> {
    let mut rows =
        vec![row(["appliance", "site", "standing", "last report", "manifest in force", "release"])];
    let or_never = |moment: Option<u64>| moment.map_or_else(|| "never".to_owned(), written);
    for one in listed {
        let standing =
            if one.withdrawn { format!("{} (withdrawn)", one.standing) } else { one.standing.clone() };
        rows.push(vec![
            one.name.clone(),
            one.site.clone(),
            standing,
            or_never(one.reported_at),
            one.manifest_sequence.to_string(),
            one.release.clone(),
        ]);
    }
    let mut lines = table(&rows);
    if explain {
        let refused = listed.iter().filter_map(|one| Some((one, one.manifest_refused.as_ref()?)));
        lines.extend(refused.map(|(one, why)| format!("{} refused its last manifest: {why}", one.name)));
    }
    lines
}

pub(crate) async fn drain(session: &Session, appliance: &ApplianceName) -> Result<(), Failure> {
    order(session, appliance, Order::Drain).await
}

pub(crate) async fn undrain(session: &Session, appliance: &ApplianceName) -> Result<(), Failure> {
    order(session, appliance, Order::Undrain).await
}

pub(crate) async fn purge(
    session: &Session,
    appliance: &ApplianceName,
    path: BundlePath,
    prefix: bool,
) -> Result<(), Failure> {
    order(session, appliance, Order::Purge { path, prefix }).await
}

pub(crate) async fn fill_now(session: &Session, appliance: &ApplianceName) -> Result<(), Failure> {
    order(session, appliance, Order::FillNow).await
}

async fn order(session: &Session, appliance: &ApplianceName, order: Order) -> Result<(), Failure> {
    let directive = registry::order(&session.database().await?, appliance, order, now()).await?;
    session.output.write(&directive, |directive| {
        vec![format!(
            "directive {}: {appliance} hears of it with the answer to its next report",
            directive.id
        )]
    })
}

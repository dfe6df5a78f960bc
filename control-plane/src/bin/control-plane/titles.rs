use std::collections::BTreeMap;

use control_client::fleet::TitleName;
use control_client::report::Order;
use control_plane::catalogue::{Catalogue, Title, TitleChange, change_title, remove_title};
use control_plane::database::Database;
use control_plane::limits::DIRECTIVES_WAITING_MAX;
use control_plane::title_purge;
use serde::Serialize;

use crate::Session;
use crate::arguments::TitleChangeArguments;
use crate::directives::{Told, order_everywhere};
use crate::failure::Failure;
use crate::moment::written;
use crate::output::{row, table};

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    title: Title,
    bundles: usize,
    bytes: u64,
}

#[derive(Serialize)]
struct Removed<'a> {
    title: &'a TitleName,
    bundles: usize,
    /// Where it was purged, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    purges: Option<Vec<Told>>,
}

#[derive(Serialize)]
struct Purged<'a> {
    title: &'a TitleName,
    orders: Vec<Order>,
    purges: Vec<Told>,
}

pub(crate) async fn list(session: &Session) -> Result<(), Failure> {
    let catalogue = Catalogue::read(&session.database().await?).await?;
    let mut sizes: BTreeMap<&TitleName, (usize, u64)> = BTreeMap::new();
    for (_, bundle) in catalogue.current_places() {
        let size = sizes.entry(&bundle.title).or_default();
        *size = (size.0 + 1, size.1 + bundle.bytes);
    }
    let listed: Vec<Listed> = catalogue
        .titles
        .iter()
        .map(|title| {
            let (bundles, bytes) = sizes.get(&title.name).copied().unwrap_or_default();
            Listed { title: title.clone(), bundles, bytes }
        })
        .collect();
    session.output.write(&listed, |listed| {
        let mut rows = vec![row(["title", "bundles", "bytes", "release", "expiry", "regions"])];
        let or_none = |moment: Option<u64>| moment.map_or_else(|| "-".to_owned(), written);
        for Listed { title, bundles, bytes } in listed {
            let regions: Vec<&str> = title.regions.iter().map(|region| region.as_str()).collect();
            rows.push(vec![
                title.name.to_string(),
                bundles.to_string(),
                bytes.to_string(),
                or_none(title.release_at),
                or_none(title.expires_at),
                if regions.is_empty() { "all".to_owned() } else { regions.join(" ") },
            ]);
        }
        table(&rows)
    })
}

pub(crate) async fn change(session: &Session, arguments: TitleChangeArguments) -> Result<(), Failure> {
    let regions = (arguments.all_regions || !arguments.regions.is_empty()).then_some(arguments.regions);
    let wanted = TitleChange {
        regions,
        release_at: arguments.release.map(|moment| moment.0),
        expires_at: arguments.expires.map(|moment| moment.0),
        pinned: (arguments.pin || arguments.unpin).then_some(arguments.pin),
    };
    let changed = change_title(&session.database().await?, &arguments.name, &wanted).await?;
    let title = changed.ok_or_else(|| unknown(&arguments.name))?;
    session
        .output
        .write(&title, |title| vec![format!("{} is changed, and with it the next manifests", title.name)])
}

fn unknown(title: &TitleName) -> Failure {
    Failure::new(format!("there is no title {title}: \"control-plane title list\" shows all"))
}

pub(crate) async fn remove(session: &Session, title: &TitleName, is_purged: bool) -> Result<(), Failure> {
    let database = session.database().await?;
    // Ordered first: what a title was is in the catalogue.
    let purges = match is_purged {
        true => Some(order_everywhere(&database, &purge_orders(&database, title).await?).await?),
        false => None,
    };
    let removed = remove_title(&database, title).await?;
    let bundles = removed.ok_or_else(|| unknown(title))?;
    let removed = Removed { title, bundles, purges };
    session.output.write(&removed, |removed| {
        let Some(purges) = &removed.purges else {
            return vec![format!(
                "{title}, {bundles} bundles: out of the catalogue; appliances keep its bytes until they need the room"
            )];
        };
        let mut lines = vec![format!("{title}, {bundles} bundles: out of the catalogue")];
        lines.extend(Told::lines(purges));
        lines
    })?;
    removed.purges.as_deref().map_or(Ok(()), Told::check)
}

pub(crate) async fn purge(session: &Session, title: &TitleName) -> Result<(), Failure> {
    let database = session.database().await?;
    let orders = purge_orders(&database, title).await?;
    let purges = order_everywhere(&database, &orders).await?;
    let purged = Purged { title, orders, purges };
    session.output.write(&purged, |purged| Told::lines(&purged.purges))?;
    Told::check(&purged.purges)
}

async fn purge_orders(database: &Database, title: &TitleName) -> Result<Vec<Order>, Failure> {
    let catalogue = Catalogue::read(database).await?;
    catalogue.title(title).ok_or_else(|| unknown(title))?;
    match title_purge::orders(&catalogue, title) {
        orders if orders.len() as u64 <= DIRECTIVES_WAITING_MAX => Ok(orders),
        orders => Err(Failure::new(format!(
            "{title} lies in {} directories between those of other titles, and at most {DIRECTIVES_WAITING_MAX} orders may wait for an \
             appliance: purge them with \"control-plane purge\", some at a time",
            orders.len()
        ))),
    }
}

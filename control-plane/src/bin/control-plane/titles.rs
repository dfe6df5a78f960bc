use std::collections::BTreeMap;

use control_client::fleet::TitleName;
use control_plane::catalogue::{Catalogue, Title, TitleChange, change_title, remove_title};
use serde::Serialize;

use crate::Session;
use crate::arguments::TitleChangeArguments;
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

pub(crate) async fn remove(session: &Session, title: &TitleName) -> Result<(), Failure> {
    let removed = remove_title(&session.database().await?, title).await?;
    let bundles = removed.ok_or_else(|| unknown(title))?;
    session.output.write(&Removed { title, bundles }, |removed| {
        vec![format!(
            "{title}, {} bundles: out of the catalogue; appliances keep its bytes until they need the room (or: control-plane purge)",
            removed.bundles
        )]
    })
}

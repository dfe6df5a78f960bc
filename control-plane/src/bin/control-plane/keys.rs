use control_plane::keys::{KeyRecord, StateFolder};
use serde::Serialize;

use crate::Session;
use crate::failure::Failure;
use crate::output::{row, table};

#[derive(Serialize)]
struct Key {
    id: String,
    public_key: String,
    state: &'static str,
}

impl Key {
    fn of(record: &KeyRecord, is_first: bool) -> Result<Self, Failure> {
        let trusted = serde_json::to_value(record.trusted_key()?).map_err(Failure::new)?;
        let public_key = trusted["public_key"].as_str().unwrap_or_default().to_owned();
        let state = match (record.is_retired, is_first) {
            (true, _) => "retired",
            (false, true) => "signs",
            (false, false) => "waits",
        };
        Ok(Self { id: record.id.clone(), public_key, state })
    }

    fn toml(&self) -> String {
        format!("{{ id = \"{}\", public_key = \"{}\" }}", self.id, self.public_key)
    }
}

fn state(session: &Session) -> Result<StateFolder, Failure> {
    Ok(StateFolder::open(&session.control_plane().state)?)
}

pub(crate) fn new(session: &Session) -> Result<(), Failure> {
    let state = state(session)?;
    let record = state.new_key()?;
    let is_first = state.keys()?.first() == Some(&record);
    let key = Key::of(&record, is_first)?;
    session.output.write(&key, |key| {
        let mut lines = vec![format!("put this into control.trusted_keys of every appliance:\n{}", key.toml())];
        if !is_first {
            lines.push("then let the key that signs now retire: control-plane keys list, control-plane keys retire ID".to_owned());
        }
        lines
    })
}

pub(crate) fn list(session: &Session) -> Result<(), Failure> {
    let records = state(session)?.keys()?;
    let keys = records.iter().enumerate().map(|(place, record)| Key::of(record, place == 0));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    session.output.write(&keys, |keys| {
        let mut rows = vec![row(["key", "state", "for control.trusted_keys"])];
        rows.extend(keys.iter().map(|key| vec![key.id.clone(), key.state.to_owned(), key.toml()]));
        table(&rows)
    })
}

pub(crate) fn retire(session: &Session, id: &str) -> Result<(), Failure> {
    let next = state(session)?.retire(id)?;
    session.output.write(&next, |next| {
        vec![format!("{id} signs no more; {next} signs the next manifests, which appliances get with their first reports after the next planning, within control_plane.manifest_interval; does the log of \"control-plane serve\" say that it cannot read the key?")]
    })
}

use super::PlanError;
use crate::database::Database;
use crate::keys::{KeyError, StateFolder};
use crate::planning;

/// Looks for the key that signs, and makes the first one: but not a second one for a fleet that obeys another.
pub(super) async fn find(state: &StateFolder, database: &Database) -> Result<(), PlanError> {
    let signed = planning::signing_keys(database).await?;
    let known = state.keys().map_err(PlanError::Key)?;
    if let Some(id) = signed.into_iter().find(|id| known.iter().all(|key| key.id != *id)) {
        if known.is_empty() {
            return Err(PlanError::Key(KeyError::Elsewhere { folder: state.keys_path(), id }));
        }
        tracing::error!(
            key = id,
            "manifests are signed by a key that is not in control_plane.state: all control planes of a database share one such folder"
        );
    }
    state.signer_or_first().map(drop).map_err(PlanError::Key)
}

//! Two control planes over one database, as behind one address.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "support/fleet.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;

use control_client::config::ControlPlaneConfig;
use control_client::health::{Readiness, Verdict};
use control_plane::database::Database;
use control_plane::hysteresis::Standing;
use control_plane::keys::{KeyError, StateFolder};
use control_plane::plane::{ControlPlane, PlanError};
use control_plane::registry;

use support::*;

async fn plane(folder: &Path, state: &str) -> Result<Arc<ControlPlane>, PlanError> {
    let config = ControlPlaneConfig {
        database: format!("sqlite://{}", folder.join("state.db").display()),
        state: folder.join(state),
        ..ControlPlaneConfig::default()
    };
    let database = Database::open(&config.database).await.unwrap();
    let state = StateFolder::open(&config.state).unwrap();
    ControlPlane::new(config, database, state).await
}

async fn tell(plane: &ControlPlane, sequence: u64, now: u64) {
    let mut told = report("oca-1", "one", sequence);
    told.health = Some(health(Readiness::Serving, Verdict::Healthy));
    plane.report(&appliance("oca-1"), &told, now).await.unwrap();
}

#[tokio::test]
async fn what_an_appliance_reports_to_one_control_plane_the_others_know() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) =
        (plane(folder.path(), "state").await.unwrap(), plane(folder.path(), "state").await.unwrap());
    registry::add_site(&one.database, site_facts("edge", "north", None, &[])).await.unwrap();
    registry::add_appliance(&one.database, &appliance("oca-1"), &site("edge")).await.unwrap();
    one.enrol(&appliance("oca-1"), &enrolment("http://192.0.2.7", "", 1 << 30), NOW).await.unwrap();
    tell(&one, 1, NOW).await;
    other.refresh().await.unwrap();

    for sequence in 2..5 {
        let now = NOW + 600 * sequence;
        tell(&one, sequence, now).await;
        assert_eq!(other.standings.silent(now), [appliance("oca-1")], "before it has looked");
        other.follow_reports().await.unwrap();
        assert_eq!(other.standings.silent(now), []);
        assert_eq!(other.standings.get(&appliance("oca-1")).unwrap().standing(), Standing::Serving);
    }
}

#[tokio::test]
async fn a_control_plane_makes_no_key_of_its_own_for_a_fleet_that_obeys_another() {
    let folder = tempfile::tempdir().unwrap();
    let one = plane(folder.path(), "state").await.unwrap();
    registry::add_site(&one.database, site_facts("edge", "north", None, &[])).await.unwrap();
    registry::add_appliance(&one.database, &appliance("oca-1"), &site("edge")).await.unwrap();
    one.enrol(&appliance("oca-1"), &enrolment("http://192.0.2.7", "", 1 << 30), NOW).await.unwrap();
    assert_eq!(one.plan(NOW).await.unwrap(), 1);
    let signs = StateFolder::open(&folder.path().join("state")).unwrap().signer().unwrap().id;

    let refused = plane(folder.path(), "another").await.err();
    assert!(
        matches!(&refused, Some(PlanError::Key(KeyError::Elsewhere { id, .. })) if *id == signs),
        "{refused:?}"
    );
    // An operator who has lost it makes one, and the fleet is told of it.
    StateFolder::open(&folder.path().join("another")).unwrap().new_key().unwrap();
    let mended = plane(folder.path(), "another").await.unwrap();
    assert_eq!(mended.plan(NOW + 1).await.unwrap(), 1);
}

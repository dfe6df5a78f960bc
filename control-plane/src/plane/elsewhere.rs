use control_client::fleet::ApplianceName;

use super::ControlPlane;
use crate::database::{DatabaseError, maybe_number, text};
use crate::registry;

impl ControlPlane {
    /// Notes what reports told that other control planes took: an appliance talks to one of those that share a database.
    pub async fn follow_reports(&self) -> Result<(), DatabaseError> {
        for row in self.database.read("SELECT name, reported_at FROM appliances", vec![]).await? {
            let (Ok(name), Some(at)) = (ApplianceName::parse(&text(&row, 0)?), maybe_number(&row, 1)?) else {
                continue;
            };
            if self.standings.has_reported_since(&name, at) {
                continue;
            }
            let Some(told) = registry::appliance(&self.database, &name).await? else { continue };
            let turn =
                self.standings.note_report_elsewhere(&name, told.health.as_ref(), told.load.as_ref(), at);
            self.note(&name, turn).await;
        }
        Ok(())
    }
}

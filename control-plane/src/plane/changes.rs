use control_client::fleet::{ApplianceName, TitleName};
use control_client::report::{Directive, Enrolment, Order};

use super::ControlPlane;
use crate::catalogue;
use crate::database::DatabaseError;
use crate::registry::{self, ApplianceChange, RegistryError};

/// What appliances and operators change, each in force at once.
impl ControlPlane {
    /// Takes an enrolment.
    pub async fn enrol(
        &self,
        name: &ApplianceName,
        enrolment: &Enrolment,
        now: u64,
    ) -> Result<(), RegistryError> {
        registry::enrol(&self.database, name, enrolment, now).await?;
        self.refresh_after().await;
        Ok(())
    }

    /// Moves an appliance, or notes what its links carry.
    pub async fn change_appliance(
        &self,
        name: &ApplianceName,
        wanted: &ApplianceChange,
    ) -> Result<(), RegistryError> {
        registry::change_appliance(&self.database, name, wanted).await?;
        self.refresh_after().await;
        Ok(())
    }

    /// Forgets an appliance.
    pub async fn remove_appliance(&self, name: &ApplianceName) -> Result<(), RegistryError> {
        registry::remove_appliance(&self.database, name).await?;
        self.refresh_after().await;
        Ok(())
    }

    /// Takes a title out of the catalogue; whether there was one.
    pub async fn remove_title(&self, title: &TitleName) -> Result<bool, DatabaseError> {
        let removed = catalogue::remove_title(&self.database, title).await?;
        self.refresh_after().await;
        Ok(removed.is_some())
    }

    /// Orders something of an appliance. A drain holds for steering at once.
    pub async fn order(
        &self,
        name: &ApplianceName,
        order: Order,
        now: u64,
    ) -> Result<Directive, RegistryError> {
        let directive = registry::order(&self.database, name, order, now).await?;
        self.refresh_after().await;
        Ok(directive)
    }

    /// Reads what was changed a moment ago. Where that fails, the change is made all the same, and is read with the next look.
    async fn refresh_after(&self) {
        if let Err(error) = self.refresh().await {
            tracing::warn!(%error, "a change is not in force yet");
        }
    }
}

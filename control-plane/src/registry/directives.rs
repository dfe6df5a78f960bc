use control_client::fleet::ApplianceName;
use control_client::report::{Directive, DirectiveResult, Order};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;

use super::{RegistryError, membership};
use crate::catalogue::parsed;
use crate::database::{Change, Database, DatabaseError, maybe_number, maybe_text, number, text};
use crate::limits;

/// An order, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OrderedDirective {
    /// Its number.
    pub id: u64,
    /// What.
    pub order: Order,
    /// When it was ordered, in seconds since 1970.
    pub ordered_at: u64,
    /// When its result came; left out where it has not come yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_at: Option<u64>,
    /// Why it could not be carried out, where it could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Orders something of an appliance. A drain turns clients away at once, before the appliance has heard of it.
pub async fn order(
    database: &Database,
    appliance: &ApplianceName,
    order: Order,
    now: u64,
) -> Result<Directive, RegistryError> {
    let mut change = database.change().await?;
    membership::lock(&mut change, appliance).await?;
    let withdrawn = match order {
        Order::Drain => Some(true),
        Order::Undrain => Some(false),
        _ => None,
    };
    if let Some(withdrawn) = withdrawn {
        let sql = "UPDATE appliances SET withdrawn = $1 WHERE name = $2";
        change.execute(sql, vec![withdrawn.into(), appliance.as_str().into()]).await?;
    }
    if withdrawn.is_some() {
        replace_drains(&mut change, appliance).await?;
    } else {
        let sql = "SELECT COUNT(*) FROM directives WHERE appliance = $1 AND done_at IS NULL";
        let row = change.row(sql, vec![appliance.as_str().into()]).await?;
        let waiting = row.map_or(Ok(0), |row| number(&row, 0))?;
        if waiting >= limits::DIRECTIVES_WAITING_MAX {
            return Err(RegistryError::TooManyDirectives);
        }
    }
    // At least the time: appliances take a number that they know for one that is done.
    let id = change.count_from("directive", now).await?;
    change.count("fleet").await?;
    let document = document(&order);
    let sql = "INSERT INTO directives (id, appliance, document, ordered_at) VALUES ($1, $2, $3, $4)";
    change.execute(sql, vec![id.into(), appliance.as_str().into(), document.into(), now.into()]).await?;
    change.commit().await?;
    Ok(Directive { id, order })
}

/// Of drains and undrains only the last counts, so that an appliance can be withdrawn however many orders wait for it.
async fn replace_drains(change: &mut Change<'_>, appliance: &ApplianceName) -> Result<(), DatabaseError> {
    let sql = "DELETE FROM directives WHERE appliance = $1 AND done_at IS NULL AND document IN ($2, $3)";
    let arguments =
        vec![appliance.as_str().into(), document(&Order::Drain).into(), document(&Order::Undrain).into()];
    change.execute(sql, arguments).await.map(drop)
}

fn document(order: &Order) -> String {
    serde_json::to_string(order).expect("an order holds only texts and booleans, which JSON can say")
}

/// What an appliance has still to do, in that order.
pub async fn waiting(
    change: &mut Change<'_>,
    appliance: &ApplianceName,
) -> Result<Vec<Directive>, DatabaseError> {
    let sql = "SELECT id, document FROM directives WHERE appliance = $1 AND done_at IS NULL ORDER BY id";
    change.rows(sql, vec![appliance.as_str().into()]).await?.iter().map(directive).collect()
}

/// The last orders of an appliance, the newest first.
pub async fn directives(
    database: &Database,
    appliance: &ApplianceName,
) -> Result<Vec<OrderedDirective>, DatabaseError> {
    let sql = "SELECT id, document, ordered_at, done_at, failure FROM directives WHERE appliance = $1 ORDER BY id DESC";
    let rows = database.read(sql, vec![appliance.as_str().into()]).await?;
    rows.iter()
        .map(|row| {
            let Directive { id, order } = directive(row)?;
            Ok(OrderedDirective {
                id,
                order,
                ordered_at: number(row, 2)?,
                done_at: maybe_number(row, 3)?,
                failure: maybe_text(row, 4)?,
            })
        })
        .collect()
}

/// Notes what became of directives. Results of directives that are unknown, or known already, are passed over.
pub(super) async fn note_results(
    change: &mut Change<'_>,
    appliance: &ApplianceName,
    results: &[DirectiveResult],
    now: u64,
) -> Result<(), DatabaseError> {
    for result in results {
        let failure = result.failure.as_deref().map(super::reports::cut);
        let sql = "UPDATE directives SET done_at = $1, failure = $2 WHERE id = $3 AND appliance = $4 AND done_at IS NULL";
        let arguments = vec![now.into(), failure.into(), result.id.into(), appliance.as_str().into()];
        change.execute(sql, arguments).await?;
    }
    if !results.is_empty() {
        let sql = "DELETE FROM directives WHERE appliance = $1 AND done_at IS NOT NULL AND id NOT IN (SELECT id FROM directives \
                   WHERE appliance = $1 AND done_at IS NOT NULL ORDER BY id DESC LIMIT $2)";
        change.execute(sql, vec![appliance.as_str().into(), (limits::DIRECTIVES_KEPT as u64).into()]).await?;
    }
    Ok(())
}

fn directive(row: &AnyRow) -> Result<Directive, DatabaseError> {
    Ok(Directive { id: number(row, 0)?, order: parsed("a directive", serde_json::from_str(&text(row, 1)?))? })
}

use control_client::fleet::ApplianceName;
use control_client::report::Order;
use control_plane::database::Database;
use control_plane::plane::now;
use control_plane::registry::{self, OrderedDirective, RegistryError};
use serde::Serialize;

use crate::Session;
use crate::failure::Failure;
use crate::moment::written;
use crate::output::{row, table};

/// What one appliance was ordered.
#[derive(Serialize)]
pub(crate) struct Told {
    appliance: ApplianceName,
    directives: Vec<u64>,
    /// Why it was not ordered all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

#[derive(Serialize)]
struct Listed {
    appliance: ApplianceName,
    #[serde(flatten)]
    directive: OrderedDirective,
}

/// Orders the same of every appliance. That one cannot be ordered anything keeps no other from it.
pub(crate) async fn order_everywhere(database: &Database, orders: &[Order]) -> Result<Vec<Told>, Failure> {
    let mut told = Vec::new();
    for appliance in registry::appliances(database).await? {
        let mut one = Told { appliance: appliance.name, directives: Vec::new(), refused: None };
        for order in orders {
            match registry::order(database, &one.appliance, order.clone(), now()).await {
                Ok(directive) => one.directives.push(directive.id),
                Err(RegistryError::Database(error)) => return Err(error.into()),
                Err(error) => one.refused = Some(error.to_string()),
            }
        }
        told.push(one);
    }
    Ok(told)
}

impl Told {
    /// What people read of it.
    pub(crate) fn lines(all: &[Self]) -> Vec<String> {
        let mut rows = vec![row(["appliance", "directives"])];
        for Self { appliance, directives, refused } in all {
            let numbers: Vec<String> = directives.iter().map(u64::to_string).collect();
            rows.push(vec![appliance.to_string(), refused.clone().unwrap_or_else(|| numbers.join(" "))]);
        }
        let mut lines = table(&rows);
        lines.push(
            "appliances hear of it with the answers to their next reports; who has done it: control-plane directive list"
                .to_owned(),
        );
        lines
    }

    /// A failure, where one was not ordered all of it.
    pub(crate) fn check(all: &[Self]) -> Result<(), Failure> {
        match all.iter().filter(|one| one.refused.is_some()).count() {
            0 => Ok(()),
            count => Err(Failure::new(format!("{count} of {} appliances were not told", all.len()))),
        }
    }
}

/// The last orders and what became of them, the newest first: of one appliance or of all.
pub(crate) async fn list(
    session: &Session,
    appliance: Option<ApplianceName>,
    only_waiting: bool,
) -> Result<(), Failure> {
    let database = session.database().await?;
    let names = match appliance {
        Some(name) => {
            let known = registry::appliance(&database, &name).await?;
            vec![known.ok_or(RegistryError::UnknownAppliance(name))?.name]
        }
        None => registry::appliances(&database).await?.into_iter().map(|appliance| appliance.name).collect(),
    };
    let mut listed = Vec::new();
    for name in names {
        let directives = registry::directives(&database, &name).await?.into_iter();
        let wanted = directives.filter(|directive| !only_waiting || directive.done_at.is_none());
        listed.extend(wanted.map(|directive| Listed { appliance: name.clone(), directive }));
    }
    listed.sort_by_key(|one| std::cmp::Reverse(one.directive.id));
    session.output.write(&listed, |listed| {
        let mut rows = vec![row(["directive", "appliance", "order", "ordered", "result"])];
        rows.extend(listed.iter().map(|Listed { appliance, directive }| {
            vec![
                directive.id.to_string(),
                appliance.to_string(),
                said(&directive.order),
                written(directive.ordered_at),
                result(directive),
            ]
        }));
        table(&rows)
    })
}

/// An order as the command that gives it.
fn said(order: &Order) -> String {
    match order {
        Order::Drain => "drain".to_owned(),
        Order::Undrain => "undrain".to_owned(),
        Order::FillNow => "fill-now".to_owned(),
        Order::Purge { path, prefix: false } => format!("purge {path}"),
        Order::Purge { path, prefix: true } => format!("purge {path} --prefix"),
    }
}

/// Results come when an order has been carried out, and not before.
fn result(directive: &OrderedDirective) -> String {
    match (directive.done_at, &directive.failure) {
        (None, _) => "waits".to_owned(),
        (Some(at), None) => format!("done {}", written(at)),
        (Some(at), Some(failure)) => format!("failed {}: {failure}", written(at)),
    }
}

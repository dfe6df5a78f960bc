//! Who takes part: sites with their clients' networks, appliances with what they tell, orders for them.
//!
//! Here are the tables. What steering reads is [`crate::fleet`], which follows them.

mod appliances;
mod directives;
mod enrolment;
mod error;
mod inventory;
mod reports;
mod sites;

pub use appliances::{
    Appliance, add_appliance, appliance, appliance_of_token, appliances, holdings, renew_token, runs,
    set_standing, token_digest,
};
pub use directives::{OrderedDirective, directives, order, waiting};
pub use enrolment::enrol;
pub use error::RegistryError;
pub use inventory::{Difference, InventoryOutcome};
pub use reports::{Accepted, Novelty, accept, novelty};
pub use sites::{add_prefix, add_site, remove_prefix, site_facts};

//! Who takes part: sites with their clients' networks, appliances with what they tell, orders for them.
//!
//! Here are the tables. What steering reads is [`crate::fleet`], which follows them.

mod appliances;
mod demand;
mod directives;
mod enrolment;
mod error;
mod inventory;
mod membership;
mod novelty;
mod reports;
mod sites;

pub use appliances::{
    Appliance, appliance, appliance_of_token, appliances, holdings, runs, set_standing, token_digest,
};
pub use directives::{OrderedDirective, directives, order, waiting};
pub use enrolment::enrol;
pub use error::RegistryError;
pub use inventory::{Difference, InventoryOutcome};
pub use membership::{ApplianceChange, add_appliance, change_appliance, remove_appliance, renew_token};
pub use novelty::{Newest, Novelty, novelty};
pub use reports::{Accepted, accept};
pub use sites::{SiteChange, add_prefix, add_site, change_site, remove_prefix, remove_site, site_facts};

use std::fmt;

use control_client::fleet::{ApplianceName, SiteName};
use ipnet::IpNet;

use crate::database::DatabaseError;
use crate::fleet::TopologyError;

/// Why the registry did not take something.
#[derive(Debug)]
pub enum RegistryError {
    /// The database failed.
    Database(DatabaseError),
    /// There is no such appliance.
    UnknownAppliance(ApplianceName),
    /// There is no such site.
    UnknownSite(SiteName),
    /// There is an appliance of that name.
    ApplianceTaken(ApplianceName),
    /// There is a site of that name.
    SiteTaken(SiteName),
    /// A site cannot be taken away.
    SiteInUse {
        /// The site.
        site: SiteName,
        /// Who stands there or turns to it.
        by: String,
    },
    /// The fleet has as many appliances as it can.
    TooManyAppliances,
    /// No site has that prefix.
    UnknownPrefix(IpNet),
    /// The sites cannot be so.
    Topology(TopologyError),
    /// A document says what cannot be.
    Refused(String),
    /// Too many directives wait.
    TooManyDirectives,
    /// The system gives no random bytes.
    Randomness,
}

impl From<DatabaseError> for RegistryError {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl From<TopologyError> for RegistryError {
    fn from(error: TopologyError) -> Self {
        Self::Topology(error)
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(error) => error.fmt(formatter),
            Self::UnknownAppliance(name) => {
                write!(formatter, "there is no appliance {name}: add it with \"control-plane appliance add\"")
            }
            Self::UnknownSite(name) => {
                write!(formatter, "there is no site {name}: add it with \"control-plane site add\"")
            }
            Self::ApplianceTaken(name) => write!(
                formatter,
                "there is an appliance {name} already: for a new token, \"control-plane appliance token {name}\""
            ),
            Self::SiteTaken(name) => write!(formatter, "there is a site {name} already"),
            Self::SiteInUse { site, by } => {
                write!(
                    formatter,
                    "site {site} is still needed by {by}: move that first, with its \"change\", or remove it"
                )
            }
            Self::TooManyAppliances => {
                write!(
                    formatter,
                    "a fleet has at most {} appliances: divide it",
                    crate::limits::APPLIANCES_MAX
                )
            }
            Self::UnknownPrefix(prefix) => write!(formatter, "no site has {prefix}"),
            Self::Topology(error) => error.fmt(formatter),
            Self::Refused(why) => formatter.write_str(why),
            Self::TooManyDirectives => write!(
                formatter,
                "too many directives wait for this appliance: does its agent report? (control-plane appliance list)"
            ),
            Self::Randomness => write!(formatter, "the system gives no random bytes"),
        }
    }
}

impl std::error::Error for RegistryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Database(error) => Some(error),
            Self::Topology(error) => Some(error),
            _ => None,
        }
    }
}

use std::fmt;
use std::process::ExitCode;

use control_client::config::ConfigError;
use control_plane::database::DatabaseError;
use control_plane::keys::KeyError;
use control_plane::publish::PublishError;
use control_plane::registry::RegistryError;
use control_plane::service::ServiceError;

/// Why a command did not do what it was asked to, and what the shell is told.
#[derive(Debug)]
pub(crate) struct Failure {
    text: String,
    code: u8,
}

/// The configuration is wrong (EX_CONFIG of sysexits.h).
const CONFIG: u8 = 78;
/// The database cannot be had (EX_UNAVAILABLE).
const UNAVAILABLE: u8 = 69;

impl Failure {
    pub(crate) fn new(text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), code: 1 }
    }

    pub(crate) fn runtime(error: std::io::Error) -> Self {
        Self::new(format!("no threads can be started: {error}"))
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self { text: error.to_string(), code: CONFIG }
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        let code = match error {
            DatabaseError::Url(_) => CONFIG,
            DatabaseError::Open(_) | DatabaseError::Busy => UNAVAILABLE,
            _ => 1,
        };
        Self { text: error.to_string(), code }
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Database(error) => error.into(),
            other => Self::new(other),
        }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Database(error) => error.into(),
            other => Self::new(other),
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::new(error)
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Database(error) => error.into(),
            other => Self::new(other),
        }
    }
}

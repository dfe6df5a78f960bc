use std::fmt;
use std::process::ExitCode;

use control_client::admin_client::AdminError;
use control_client::config::ConfigError;

/// `EX_USAGE` of sysexits: the command line is wrong.
pub(crate) const USAGE: u8 = 64;
/// `EX_UNAVAILABLE`: the daemon gives no answer.
const UNREACHABLE: u8 = 69;
/// `EX_CONFIG`: the configuration is wrong.
pub(crate) const CONFIGURATION: u8 = 78;

/// Why the command ends without having done what it was told.
pub(crate) enum Failure {
    /// The daemon cannot be asked, or said no.
    Admin(AdminError),
    /// The configuration cannot be used.
    Config(ConfigError),
    /// Anything else, in a sentence.
    Other(String),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Admin(error) if error.is_unreachable() => UNREACHABLE.into(),
            Self::Config(_) => CONFIGURATION.into(),
            Self::Admin(_) | Self::Other(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin(error) => error.fmt(formatter),
            Self::Config(error) => error.fmt(formatter),
            Self::Other(sentence) => sentence.fmt(formatter),
        }
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        Self::Admin(error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

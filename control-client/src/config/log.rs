use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::optional;
use super::problem::Problems;
use crate::limits;
use crate::units::ByteCount;

/// `[log]`: what is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// The access log, one JSON document a line; `None`, written `""`, writes none.
    #[serde(with = "optional")]
    pub access: Option<PathBuf>,
    /// Lines of the access log that may wait, per worker; beyond, they are dropped and counted.
    pub access_queue: ByteCount,
    /// What the daemon says of itself, on standard error.
    pub level: LogLevel,
}

/// How much the daemon says of itself; each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What needs an operator now.
    Error,
    /// What needs an operator soon.
    Warn,
    /// What an operator wants to read later.
    Info,
    /// What a developer asks for.
    Debug,
    /// Everything; slows service down.
    Trace,
}

impl LogLevel {
    /// The level as it is written in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            access: Some(PathBuf::from("/var/log/oca/access.log")),
            access_queue: ByteCount::mib(2),
            level: LogLevel::Info,
        }
    }
}

impl LogConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        if let Some(access) = &self.access {
            problems.check_path("log.access", access);
        }
        problems.check_range(
            "log.access_queue",
            self.access_queue,
            &limits::ACCESS_QUEUE,
            "a line takes about 300 bytes; the default is 2 MiB",
        );
    }
}

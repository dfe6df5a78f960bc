use serde::de::DeserializeOwned;

use super::AdminError;
use crate::admin::Failure;
use crate::health::HealthReport;

/// An answer as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// The content, not looked at.
    pub content: Vec<u8>,
}

impl Answer {
    /// The wire document of an answer with status 200.
    pub fn document<T: DeserializeOwned>(&self) -> Result<T, AdminError> {
        self.succeeded()?;
        self.read()
    }

    /// The health report, which comes with status 503 where the verdict is unhealthy.
    pub fn health(&self) -> Result<HealthReport, AdminError> {
        match self.status {
            503 => {
                self.read().map_err(|_| AdminError::Refused { status: self.status, failure: self.failure() })
            }
            _ => self.document(),
        }
    }

    /// The text of an answer with status 200.
    pub fn text(&self) -> Result<String, AdminError> {
        self.succeeded()?;
        String::from_utf8(self.content.clone()).map_err(|error| AdminError::Unintelligible(error.to_string()))
    }

    fn succeeded(&self) -> Result<(), AdminError> {
        match self.status {
            200 => Ok(()),
            status => Err(AdminError::Refused { status, failure: self.failure() }),
        }
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, AdminError> {
        serde_json::from_slice(&self.content).map_err(|error| AdminError::Unintelligible(error.to_string()))
    }

    /// What the daemon says of a failure; where it is not the daemon that answers, the start of what was said.
    fn failure(&self) -> Failure {
        serde_json::from_slice(&self.content).unwrap_or_else(|_| Failure {
            error: "unexpected_answer".to_owned(),
            detail: String::from_utf8_lossy(&self.content).trim().chars().take(QUOTED_CHARACTERS).collect(),
        })
    }
}

/// How much of a stranger's answer is repeated, in characters.
const QUOTED_CHARACTERS: usize = 200;

//! The circuit breakers of all sources, each shared by the bundles that are fetched from it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use control_client::breaker::{Admission, Breaker};
use control_client::sources::FillSource;

use crate::random::jitter;
use crate::shared_pace::SharedPace;

/// One breaker for each URL.
#[derive(Debug)]
pub struct Breakers {
    clock: Arc<SharedPace>,
    breakers: Mutex<HashMap<String, Breaker>>,
}

/// A request that is under way. Dropped without a word, it has told nothing of its source.
#[derive(Debug)]
pub struct Asking {
    breakers: Arc<Breakers>,
    url: Option<String>,
}

impl Breakers {
    /// All closed. Time is the pace's.
    pub fn new(clock: Arc<SharedPace>) -> Self {
        Self { clock, breakers: Mutex::default() }
    }

    /// Whether the sources may be asked now, in their order.
    pub fn admissions(&self, sources: &[FillSource]) -> Vec<Admission> {
        sources.iter().map(|source| self.admission(source)).collect()
    }

    /// Whether a source may be asked now.
    pub fn admission(&self, source: &FillSource) -> Admission {
        self.locked().entry(source.url.clone()).or_default().admission(self.clock.now())
    }

    /// A request begins.
    pub fn ask(self: &Arc<Self>, source: &FillSource) -> Asking {
        self.locked().entry(source.url.clone()).or_default().begin(self.clock.now());
        Asking { breakers: Arc::clone(self), url: Some(source.url.clone()) }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, Breaker>> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asking {
    /// The source answered, with what was asked for or with a reasoned no.
    pub fn succeeded(self) {
        self.end(|breaker, _| breaker.succeeded());
    }

    /// The source could not be reached, or is ill.
    pub fn failed(self, retry_after: Option<Duration>) {
        self.end(|breaker, now| breaker.failed(now, retry_after, jitter()));
    }

    fn end(mut self, tell: impl FnOnce(&mut Breaker, Duration)) {
        if let Some(url) = self.url.take() {
            tell(self.breakers.locked().entry(url).or_default(), self.breakers.clock.now());
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(url) = self.url.take() {
            self.breakers.locked().entry(url).or_default().ended(self.breakers.clock.now());
        }
    }
}

use std::fmt::{Debug, Write};
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

static HANGS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());
static ENDED: Condvar = Condvar::new();
static SUBSCRIBED: Once = Once::new();

/// While this lives, whatever thread logs of a file of a volume hangs in that.
pub(crate) struct Hang(String, String);

struct HangingLog;

struct Text(String);

impl Hang {
    /// The file is known by a part of its name.
    pub(crate) fn at(volume: &Path, file: &str) -> Self {
        SUBSCRIBED.call_once(|| tracing::subscriber::set_global_default(HangingLog).unwrap());
        let volume = volume.to_str().unwrap().to_owned();
        hangs().push((volume.clone(), file.to_owned()));
        Self(volume, file.to_owned())
    }
}

impl Drop for Hang {
    fn drop(&mut self) {
        hangs().retain(|(volume, file)| (volume, file) != (&self.0, &self.1));
        ENDED.notify_all();
    }
}

fn hangs() -> MutexGuard<'static, Vec<(String, String)>> {
    HANGS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Subscriber for HangingLog {
    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let is_meant = |(volume, file): &(String, String)| text.0.contains(volume) && text.0.contains(file);
        let mut hangs = hangs();
        while hangs.iter().any(is_meant) {
            hangs = ENDED.wait(hangs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl Visit for Text {
    fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
        writeln!(self.0, "{value:?}").unwrap();
    }
}

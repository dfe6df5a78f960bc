//! Where workers and the admin API put their questions, and where the service takes them from.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{Semaphore, oneshot};

use super::pipe::{Reader, Writer, pipe};
use super::purge::{PurgeSelector, Purged};
use super::request::PullRequest;
use crate::mailbox::Mailbox;
use crate::token::ConnectionId;

/// What the service is asked.
pub enum Question {
    /// To answer a request.
    Answer(Box<PullRequest>, Writer),
    /// To drop all that is selected; the answer is sent when it is gone for good, a restart included.
    Purge(Vec<PurgeSelector>, oneshot::Sender<io::Result<Purged>>),
}

/// Where questions are put. Putting one never waits.
#[derive(Clone)]
pub struct PullHandle {
    questions: UnboundedSender<Question>,
    places: Arc<Semaphore>,
    requests_max: usize,
}

/// Where the service takes questions from, in the order in which they came; it ends when every handle is gone.
pub struct Questions {
    questions: UnboundedReceiver<Question>,
}

/// As many requests as may be are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllPlacesTaken;

/// A handle and its questions, for so many requests at once.
pub fn questions(requests_max: usize) -> (PullHandle, Questions) {
    // Bounded by the places, and by the admin API's connections.
    let (sender, receiver) = mpsc::unbounded_channel();
    let requests_max = requests_max.min(Semaphore::MAX_PERMITS);
    let places = Arc::new(Semaphore::new(requests_max));
    (PullHandle { questions: sender, places, requests_max }, Questions { questions: receiver })
}

impl PullHandle {
    /// Asks for an answer to `request`, for a connection that takes it from the reader. Its messages carry `ticket`.
    ///
    /// # Errors
    /// [`AllPlacesTaken`] where as many requests are under way as may be.
    pub fn ask(
        &self,
        request: PullRequest,
        mailbox: Mailbox,
        connection: ConnectionId,
        ticket: u64,
    ) -> Result<Reader, AllPlacesTaken> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| AllPlacesTaken)?;
        let (writer, reader) = pipe(mailbox, connection, ticket);
        // Where the service has ended, the writer is dropped, and its reader learns it.
        let _ = self.questions.send(Question::Answer(Box::new(request), writer.holding(place)));
        Ok(reader)
    }

    /// Requests that are being answered.
    pub fn under_way(&self) -> usize {
        self.requests_max - self.places.available_permits()
    }

    /// Drops all that is selected, and returns when it is sure that none of it is served again.
    ///
    /// # Errors
    /// Where that cannot be made sure: for the operator, who asks again when the volume that it names is well, or has left. What
    /// could be dropped is gone all the same.
    pub async fn purge(&self, selectors: Vec<PurgeSelector>) -> io::Result<Purged> {
        let (sender, answer) = oneshot::channel();
        let gone = || io::Error::other("the pull service has ended");
        self.questions.send(Question::Purge(selectors, sender)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Questions {
    /// The next question; `None` when nobody can ask any more.
    pub async fn next(&mut self) -> Option<Question> {
        self.questions.recv().await
    }
}

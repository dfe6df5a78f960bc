//! The players of an evening: each a task of its own on one thread, over real connections to real appliances.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use demo::failure::{Failure, Step};
use tokio::task::JoinSet;

use super::catalogue::Catalogue;
use super::hearing::Tally;
use super::player::Player;
use super::session::Viewer;
use super::steering::{Sender, Steering};
use super::viewing::Viewing;

/// Problems that are kept; a thousand of one kind say no more than a few.
const PROBLEMS_MAX: usize = 20;

/// Of so many bodies one is compared with what it must be, byte by byte; of the others the length is.
const COMPARED_OF: u64 = 16;

/// What all players of an evening share.
pub(crate) struct Crowd {
    pub(crate) catalogue: Rc<Catalogue>,
    pub(crate) steering: Steering,
    /// When the evening began.
    pub(crate) began: Instant,
    /// How long it lasts.
    pub(crate) lasts: Duration,
    viewings: RefCell<Vec<Viewing>>,
    problems: RefCell<Vec<String>>,
    problem_count: Cell<u64>,
    bodies: Cell<u64>,
    compared: Cell<u64>,
    /// By the place of the appliance.
    tallies: RefCell<BTreeMap<usize, Tally>>,
}

/// An evening that is over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    /// Every session.
    pub(crate) viewings: Vec<Viewing>,
    /// What was wrong or came from nowhere, or where nobody said where to go: the first of these.
    pub(crate) problems: Vec<String>,
    /// How many there were.
    pub(crate) problem_count: u64,
    /// Bodies that were compared byte by byte.
    pub(crate) compared: u64,
    /// Times that the control plane was asked where to go.
    pub(crate) steered: u64,
    /// Requests for segments, by the place of the appliance.
    pub(crate) tallies: BTreeMap<usize, Tally>,
}

impl Crowd {
    /// An evening that begins now.
    pub(crate) fn new(catalogue: Rc<Catalogue>, steering: Steering, lasts: Duration) -> Self {
        Self {
            catalogue,
            steering,
            began: Instant::now(),
            lasts,
            viewings: RefCell::default(),
            problems: RefCell::default(),
            problem_count: Cell::default(),
            bodies: Cell::default(),
            compared: Cell::default(),
            tallies: RefCell::default(),
        }
    }

    /// Has all of them watch until the evening is over; on a local task set. `meanwhile` happens beside it, and what it gives is given
    /// back.
    pub(crate) async fn watch<T>(
        self,
        viewers: Vec<Viewer>,
        meanwhile: impl AsyncFnOnce(Rc<Crowd>) -> Result<T, Failure>,
    ) -> Result<(Watched, T), Failure> {
        let crowd = Rc::new(self);
        let mut players = JoinSet::new();
        for viewer in viewers {
            players.spawn_local(Player::new(viewer, Rc::clone(&crowd)).play());
        }
        let given = meanwhile(Rc::clone(&crowd)).await?;
        while let Some(ended) = players.join_next().await {
            ended.step("a player")?;
        }
        let watched = Watched {
            viewings: crowd.viewings.take(),
            problems: crowd.problems.take(),
            problem_count: crowd.problem_count.get(),
            compared: crowd.compared.get(),
            steered: crowd.steering.asked.get(),
            tallies: crowd.tallies.take(),
        };
        Ok((watched, given))
    }

    /// Since the evening began; its end, once that has passed.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed().min(self.lasts)
    }

    /// A session is over.
    pub(crate) fn keep(&self, viewing: Viewing) {
        self.viewings.borrow_mut().push(viewing);
    }

    /// Something went wrong that must not.
    pub(crate) fn complain(&self, problem: String) {
        self.problem_count.set(self.problem_count.get() + 1);
        let mut problems = self.problems.borrow_mut();
        if problems.len() < PROBLEMS_MAX {
            problems.push(problem);
        }
    }

    /// A segment is about to be asked for.
    pub(crate) fn count_asked(&self, sender: Sender) {
        self.count(sender, |tally| tally.asked += 1);
    }

    /// An answer to that came, whole.
    pub(crate) fn count_answered(&self, sender: Sender) {
        self.count(sender, |tally| tally.answered += 1);
    }

    /// Requests for segments to the appliance at a place, until now.
    pub(crate) fn tally(&self, place: usize) -> Tally {
        self.tallies.borrow().get(&place).copied().unwrap_or_default()
    }

    fn count(&self, sender: Sender, count: impl FnOnce(&mut Tally)) {
        if let Sender::Appliance(place) = sender {
            count(self.tallies.borrow_mut().entry(place).or_default());
        }
    }

    /// Whether the next body is one of those that are compared.
    pub(crate) fn is_next_compared(&self) -> bool {
        self.bodies.set(self.bodies.get() + 1);
        let is_compared = self.bodies.get() % COMPARED_OF == 1;
        self.compared.set(self.compared.get() + u64::from(is_compared));
        is_compared
    }
}

impl Watched {
    /// What must not happen was found only afterwards.
    pub(crate) fn complain(&mut self, problem: String) {
        self.problem_count += 1;
        self.problems.push(problem);
    }

    /// Requests for segments to the appliance at a place.
    pub(crate) fn tally(&self, place: usize) -> Tally {
        self.tallies.get(&place).copied().unwrap_or_default()
    }
}

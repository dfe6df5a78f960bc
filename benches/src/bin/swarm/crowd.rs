//! The players of an evening: each a task of its own on one thread, over real connections to real appliances.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use demo::failure::{Failure, Step};
use tokio::task::JoinSet;

use super::catalogue::Catalogue;
use super::player::Player;
use super::session::Viewer;
use super::steering::Steering;
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
        }
    }

    /// Has all of them watch until the evening is over; on a local task set. `meanwhile` happens beside it.
    pub(crate) async fn watch(
        self,
        viewers: Vec<Viewer>,
        meanwhile: impl AsyncFnOnce(Instant) -> Result<(), Failure>,
    ) -> Result<Watched, Failure> {
        let crowd = Rc::new(self);
        let mut players = JoinSet::new();
        for viewer in viewers {
            players.spawn_local(Player::new(viewer, Rc::clone(&crowd)).play());
        }
        meanwhile(crowd.began).await?;
        while let Some(ended) = players.join_next().await {
            ended.step("a player")?;
        }
        Ok(Watched {
            viewings: crowd.viewings.take(),
            problems: crowd.problems.take(),
            problem_count: crowd.problem_count.get(),
            compared: crowd.compared.get(),
            steered: crowd.steering.asked.get(),
        })
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

    /// Whether the next body is one of those that are compared.
    pub(crate) fn is_next_compared(&self) -> bool {
        self.bodies.set(self.bodies.get() + 1);
        let is_compared = self.bodies.get() % COMPARED_OF == 1;
        self.compared.set(self.compared.get() + u64::from(is_compared));
        is_compared
    }
}

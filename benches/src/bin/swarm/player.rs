//! One player: does what [`Watching`] says, and fetches from the places that the control plane has named, the next where one will not do.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::catalogue::Bundle;
use super::cmcd::Said;
use super::connection::{Connection, Fault};
use super::crowd::Crowd;
use super::ladder::LADDER;
use super::link::Link;
use super::session::{Session, Viewer};
use super::steering::{List, Place};
use super::viewing::{Delivered, Viewing};
use super::watching::{Step, Watching};

/// How long a place is passed over that could not be reached, as long as there is another.
const AVOIDED_FOR: Duration = Duration::from_secs(10);

/// How long a player waits that got a segment from nowhere.
const REST: Duration = Duration::from_secs(1);

/// One player.
pub(crate) struct Player {
    viewer: Viewer,
    crowd: Rc<Crowd>,
    link: Link,
    connections: HashMap<SocketAddr, Connection>,
    /// Places that could not be reached, and until when they are passed over.
    avoided: HashMap<SocketAddr, Duration>,
}

/// Where to go for the representations of the title that is watched, and until when that holds.
type Lists = [Option<(List, Duration)>; LADDER.len()];

/// A session that is being watched, and its name.
struct Sitting {
    watching: Watching,
    name: String,
}

/// A segment, and where and how it is asked for.
struct Ask {
    bundle: Bundle,
    segment: usize,
    place: Place,
    target: String,
    lines: String,
}

impl Player {
    /// Somebody's.
    pub(crate) fn new(viewer: Viewer, crowd: Rc<Crowd>) -> Self {
        let link = Link::new(viewer.link, crowd.now());
        Self { viewer, crowd, link, connections: HashMap::new(), avoided: HashMap::new() }
    }

    /// Watches one session after another until the evening is over.
    pub(crate) async fn play(mut self) {
        self.wait_until(self.viewer.arrives_at).await;
        for number in 0.. {
            let session = self.viewer.session(&self.crowd.catalogue, number);
            if number > 0 {
                self.wait_until(self.crowd.now() + session.pause).await;
            }
            if self.is_over() {
                return;
            }
            let name = self.viewer.session_name(number);
            let viewing = self.watch(session, name).await;
            self.crowd.keep(viewing);
        }
    }

    async fn watch(&mut self, session: Session, name: String) -> Viewing {
        let title = session.title;
        let segments = self.crowd.catalogue.segments(title);
        let mut viewing = Viewing { link: self.viewer.link, ..Viewing::default() };
        let watching = Watching::new(session, segments, self.crowd.now());
        let mut sitting = Sitting { watching, name };
        let mut lists = Lists::default();
        while !self.is_over() {
            match sitting.watching.next(self.crowd.now()) {
                Step::Over => break,
                Step::Wait { until } => self.wait_until(until).await,
                Step::Fetch { segment, representation } => {
                    let bundle = Bundle { title, representation };
                    match self.fetch(&mut sitting, bundle, segment, &mut lists[representation]).await {
                        // It came too late to be seen. It was read to its end, so that what appliances count can be held against it.
                        _ if self.is_over() => break,
                        None => self.wait_until(self.crowd.now() + REST).await,
                        Some((delivered, took)) => {
                            sitting.watching.fetched(delivered.at, delivered.bytes, took);
                            viewing.segments.push(delivered);
                        }
                    }
                }
            }
        }
        viewing.spans = sitting.watching.end(self.crowd.now());
        viewing
    }

    /// A segment, and how long the answer took that had it; none, where no place had it.
    async fn fetch(
        &mut self,
        sitting: &mut Sitting,
        bundle: Bundle,
        segment: usize,
        list: &mut Option<(List, Duration)>,
    ) -> Option<(Delivered, Duration)> {
        let crowd = Rc::clone(&self.crowd);
        let places = self.places(bundle, list).await?;
        let target = crowd.catalogue.target(bundle, segment);
        let mut refusals = Vec::new();
        for place in places {
            let asked_at = crowd.now();
            let said = Said {
                condition: sitting.watching.tell(asked_at),
                representation: bundle.representation,
                next: crowd.catalogue.next_name(bundle, segment),
                content: crowd.catalogue.name_of(bundle.title),
                session: &sitting.name,
            };
            let carrier = self.viewer.carrier;
            let (target, lines) = (said.target(carrier, &target), said.lines(carrier));
            match self.get(&Ask { bundle, segment, place, target, lines }).await {
                Ok(bytes) => {
                    let at = crowd.now();
                    let fallbacks = refusals.len() as u32;
                    let delivered = Delivered { at, bundle, bytes, sender: place.sender, fallbacks };
                    return Some((delivered, at - asked_at));
                }
                Err(fault) => {
                    if !matches!(fault, Fault::Refused(_)) {
                        self.avoided.insert(place.address, crowd.now() + AVOIDED_FOR);
                    }
                    refusals.push(format!("{:?}: {fault}", place.sender));
                }
            }
        }
        crowd.complain(format!("{target} came from nowhere: {}", refusals.join(", ")));
        None
    }

    /// Places to ask, in that order.
    async fn places(&self, bundle: Bundle, list: &mut Option<(List, Duration)>) -> Option<Vec<Place>> {
        let now = self.crowd.now();
        if list.as_ref().is_none_or(|(_, holds_until)| now >= *holds_until) {
            let path = self.crowd.catalogue.path_of(bundle);
            match self.crowd.steering.ask(self.viewer.address, path).await {
                Ok(answer) => *list = Some((answer.clone(), now + answer.holds_for)),
                // As long as there is a list, however old, a viewer goes by it.
                Err(failure) => self.crowd.complain(failure.to_string()),
            }
        }
        let (list, _) = list.as_ref()?;
        let is_avoided = |place: &&Place| self.avoided.get(&place.address).is_some_and(|until| now < *until);
        let (last, first): (Vec<&Place>, Vec<&Place>) = list.places.iter().partition(is_avoided);
        Some(first.into_iter().chain(last).copied().collect())
    }

    /// A segment from one place; what a kept connection lost without an answer is asked for again over a new one.
    async fn get(&mut self, ask: &Ask) -> Result<u64, Fault> {
        let address = ask.place.address;
        if let Some(kept) = self.connections.remove(&address) {
            match self.get_over(kept, ask).await {
                Err(Fault::Cut { has_begun: false }) => {}
                answer => return answer,
            }
        }
        let connection = Connection::open(address).await?;
        self.get_over(connection, ask).await
    }

    async fn get_over(&mut self, mut connection: Connection, ask: &Ask) -> Result<u64, Fault> {
        let Ask { bundle, segment, place: Place { sender, address }, target, lines } = ask;
        let crowd = &self.crowd;
        let mut kept = crowd.is_next_compared().then(Vec::new);
        crowd.count_asked(*sender);
        let answer = connection.get(target, lines, &mut self.link, crowd.began, kept.as_mut()).await;
        if matches!(answer, Ok(_) | Err(Fault::Refused(_))) {
            crowd.count_answered(*sender);
        }
        if connection.is_reusable {
            self.connections.insert(*address, connection);
        }
        let bytes = answer?;
        let is_right = match kept {
            Some(body) => body == crowd.catalogue.body(*bundle, *segment),
            None => bytes == LADDER[bundle.representation].segment_bytes(),
        };
        if !is_right {
            crowd.complain(format!("{target}: wrong bytes from {address}"));
        }
        Ok(bytes)
    }

    fn is_over(&self) -> bool {
        self.crowd.now() >= self.crowd.lasts
    }

    async fn wait_until(&self, at: Duration) {
        sleep_until(self.moment(at.min(self.crowd.lasts))).await;
    }

    fn moment(&self, at: Duration) -> Instant {
        Instant::from_std(self.crowd.began + at)
    }
}

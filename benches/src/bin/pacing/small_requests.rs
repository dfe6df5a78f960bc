//! A neighbour who looks at pages: small objects over one connection, at moments that do not depend on how long the ones before took, and not
//! in step with the player. A time counts from the moment when the request should have been sent (Tene, "How NOT to measure latency", 2013).

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use benches::client::Client;
use demo::random::Random;

use super::content::Objects;

/// Between two requests, on average; from a half to three halves of it.
const EVERY: Duration = Duration::from_millis(100);

/// What the moments follow from.
const SEED: u64 = 2;

/// One that was answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Answered {
    /// When it should have been sent, since the turn began.
    pub(crate) intended: Duration,
    /// From then until its last byte was there.
    pub(crate) took: Duration,
}

/// Asks until a moment.
pub(crate) fn ask(
    client: &mut Client,
    objects: &Objects,
    began: Instant,
    to: Duration,
) -> io::Result<Vec<Answered>> {
    let mut answered = Vec::new();
    for (number, intended) in moments().take_while(|at| *at < to).enumerate() {
        thread::sleep(intended.saturating_sub(began.elapsed()));
        let bytes = client.get(objects.target(number))?;
        if bytes != objects.bytes {
            return Err(io::Error::other(format!("an object has {bytes} bytes, not {}", objects.bytes)));
        }
        answered.push(Answered { intended, took: began.elapsed().saturating_sub(intended) });
    }
    Ok(answered)
}

/// In milliseconds, of those that should have been sent between two moments.
pub(crate) fn millis(answered: &[Answered], from: Duration, to: Duration) -> Vec<f64> {
    let counted = answered.iter().filter(|one| (from..to).contains(&one.intended));
    counted.map(|one| one.took.as_secs_f64() * 1e3).collect()
}

/// The same in each turn.
fn moments() -> impl Iterator<Item = Duration> {
    let mut random = Random::of(SEED, "requests");
    let mut at = Duration::ZERO;
    std::iter::repeat_with(move || {
        at += EVERY.mul_f64(0.5 + random.unit());
        at
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_the_same_each_time_and_never_in_step() {
        let first: Vec<Duration> = moments().take(100).collect();
        assert_eq!(first, moments().take(100).collect::<Vec<_>>());
        let gaps: Vec<Duration> = first.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(gaps.iter().all(|gap| *gap >= EVERY / 2 && *gap < EVERY * 3 / 2), "{gaps:?}");
        assert!(gaps.windows(2).all(|two| two[0] != two[1]));
    }

    #[test]
    fn what_should_have_been_sent_outside_of_the_time_does_not_count() {
        let one = |intended, took| Answered {
            intended: Duration::from_millis(intended),
            took: Duration::from_millis(took),
        };
        let answered = [one(9, 1), one(10, 2), one(19, 50), one(20, 4)];
        let (from, to) = (Duration::from_millis(10), Duration::from_millis(20));
        assert_eq!(millis(&answered, from, to), [2.0, 50.0]);
    }
}

//! The best that a cache could have done with a trace that it knew beforehand: of what it holds it drops what is asked for last, and does
//! not take in what is asked for later than all that it holds (Belady, "A study of replacement algorithms", 1966). For objects of
//! one size no cache has more hits.

use std::collections::BTreeSet;

/// Requests of `trace[counted_from..]` that a cache of so many objects can answer, knowing all of the trace.
pub(crate) fn hits(trace: &[u32], capacity: usize, counted_from: usize) -> usize {
    let next = next_requests(trace);
    let mut held = BTreeSet::new();
    let mut hits = 0;
    for (position, object) in trace.iter().enumerate() {
        if held.remove(&(position, *object)) {
            hits += usize::from(position >= counted_from);
        }
        if next[position] < trace.len() {
            held.insert((next[position], *object));
        }
        if held.len() > capacity {
            held.pop_last();
        }
    }
    hits
}

/// For each request, the position of the next one for the same object; the trace's length where there is none.
fn next_requests(trace: &[u32]) -> Vec<usize> {
    let objects = trace.iter().max().map_or(0, |object| *object as usize + 1);
    let mut seen = vec![trace.len(); objects];
    let mut next = vec![0; trace.len()];
    for (position, object) in trace.iter().enumerate().rev() {
        next[position] = std::mem::replace(&mut seen[*object as usize], position);
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use demo::random::Random;

    #[test]
    fn a_cache_that_holds_all_misses_each_object_once() {
        assert_eq!(hits(&[0, 1, 2, 0, 1, 2, 0], 3, 0), 4);
        assert_eq!(hits(&[0, 1, 2, 0, 1, 2, 0], 3, 3), 4);
        assert_eq!(hits(&[0, 1, 2], 0, 0), 0);
    }

    #[test]
    fn what_is_asked_for_once_displaces_nothing() {
        assert_eq!(hits(&[0, 7, 0, 8, 0, 9, 0], 1, 0), 3);
    }

    #[test]
    fn no_choice_of_what_to_hold_does_better() {
        let mut random = Random::new(5);
        for _ in 0..200 {
            let trace: Vec<u32> = (0..9).map(|_| (random.next() % 4) as u32).collect();
            for capacity in 0..3 {
                assert_eq!(hits(&trace, capacity, 0), best(&trace, &mut Vec::new(), capacity), "{trace:?}");
            }
        }
    }

    /// All choices are tried: after each request, any one object may be dropped, the new one too.
    fn best(trace: &[u32], held: &mut Vec<u32>, capacity: usize) -> usize {
        let Some((object, rest)) = trace.split_first() else { return 0 };
        if held.contains(object) {
            return 1 + best(rest, held, capacity);
        }
        let mut most = best(rest, held, capacity);
        if held.len() < capacity {
            held.push(*object);
            most = most.max(best(rest, held, capacity));
            held.pop();
        } else {
            for place in 0..held.len() {
                let dropped = std::mem::replace(&mut held[place], *object);
                most = most.max(best(rest, held, capacity));
                held[place] = dropped;
            }
        }
        most
    }
}

//! The bytes of a flight that are in memory: what came last, for those who read it as it comes.

use std::collections::VecDeque;

use bytes::Bytes;

/// Consecutive bytes of an object.
#[derive(Debug, Default)]
pub(super) struct Window {
    chunks: VecDeque<Bytes>,
    /// Where in the object the first chunk begins.
    start: u64,
    end: u64,
}

/// What a window has at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Bytes from there on; never empty.
    Bytes(Bytes),
    /// They are still to come.
    Ahead,
    /// They were here, and are not any more; or they never will be.
    Behind,
}

impl Window {
    /// An empty one, of which the next byte is the object's byte `start`.
    pub(super) fn at(start: u64) -> Self {
        Self { chunks: VecDeque::new(), start, end: start }
    }

    /// The byte after the last one that came.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The first byte that is here, or would be.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// How many bytes are here.
    pub(super) fn len(&self) -> u64 {
        self.end - self.start
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        self.end += bytes.len() as u64;
        self.chunks.push_back(bytes);
    }

    /// What there is at `place`.
    pub(super) fn view(&self, place: u64) -> View {
        if place >= self.end {
            return View::Ahead;
        }
        let Some(mut left) = place.checked_sub(self.start) else { return View::Behind };
        for chunk in &self.chunks {
            match chunk.len() as u64 {
                length if left < length => return View::Bytes(chunk.slice(left as usize..)),
                length => left -= length,
            }
        }
        View::Behind
    }

    /// Lets go of whole chunks before `place`.
    pub(super) fn trim(&mut self, place: u64) {
        while let Some(chunk) = self.chunks.front()
            && self.start + chunk.len() as u64 <= place
        {
            self.start += chunk.len() as u64;
            self.chunks.pop_front();
        }
    }

    /// The bytes of `from..to`, put together; `None` where not all of them are here.
    pub(super) fn copy(&self, from: u64, to: u64) -> Option<Bytes> {
        let mut bytes = Vec::with_capacity((to - from) as usize);
        let mut place = from;
        while place < to {
            let View::Bytes(mut next) = self.view(place) else { return None };
            next.truncate((to - place) as usize);
            if place == from && next.len() as u64 == to - from {
                return Some(next);
            }
            place += next.len() as u64;
            bytes.extend_from_slice(&next);
        }
        Some(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> Window {
        let mut window = Window::at(10);
        window.push(Bytes::from_static(b"abc"));
        window.push(Bytes::from_static(b"de"));
        window
    }

    #[test]
    fn what_is_at_a_place_depends_on_what_came_and_what_was_let_go() {
        let mut window = window();
        assert_eq!(window.view(9), View::Behind);
        assert_eq!(window.view(10), View::Bytes(Bytes::from_static(b"abc")));
        assert_eq!(window.view(12), View::Bytes(Bytes::from_static(b"c")));
        assert_eq!(window.view(13), View::Bytes(Bytes::from_static(b"de")));
        assert_eq!(window.view(15), View::Ahead);
        window.trim(12);
        assert_eq!((window.start(), window.len()), (10, 5), "half a chunk is a chunk");
        window.trim(13);
        assert_eq!((window.start(), window.end(), window.len()), (13, 15, 2));
        assert_eq!(window.view(12), View::Behind);
    }

    #[test]
    fn bytes_are_put_together_over_chunks() {
        let window = window();
        assert_eq!(window.copy(11, 14).unwrap(), "bcd");
        assert_eq!(window.copy(10, 13).unwrap(), "abc");
        assert_eq!(window.copy(10, 10).unwrap(), "");
        assert_eq!(window.copy(11, 16), None);
        assert_eq!(window.copy(9, 12), None);
    }
}

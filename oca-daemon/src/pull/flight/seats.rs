//! Where the passengers of a flight read, and how much they took. Pure.

/// The seats of a flight; one that is free is given to the next.
#[derive(Debug, Default)]
pub(super) struct Seats {
    seats: Vec<Option<Seat>>,
    /// The byte after the last one that anybody was given.
    given_to: u64,
    /// The most bytes that one of them has taken.
    taken_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Seat {
    /// What its passenger wants next.
    place: u64,
    /// Where it began to read; `None`: it has not yet.
    began: Option<u64>,
}

impl Seats {
    /// Gives a seat to somebody who wants the bytes from `place` on.
    pub(super) fn take(&mut self, place: u64) -> usize {
        let seat = self.seats.iter().position(Option::is_none).unwrap_or(self.seats.len());
        if seat == self.seats.len() {
            self.seats.push(None);
        }
        self.seats[seat] = Some(Seat { place, began: None });
        seat
    }

    /// The seat is free.
    pub(super) fn leave(&mut self, seat: usize) {
        self.seats[seat] = None;
    }

    /// The answer begins at `start`. Who has not read yet may want it from there: only the answer says.
    pub(super) fn wait_at(&mut self, start: u64) {
        for seat in self.seats.iter_mut().flatten().filter(|seat| seat.began.is_none()) {
            seat.place = start;
        }
    }

    /// A passenger reads at `place`. Whether it has moved.
    pub(super) fn read_at(&mut self, seat: usize, place: u64) -> bool {
        let before = self.seats[seat];
        let began = before.and_then(|seat| seat.began).unwrap_or(place);
        self.seats[seat] = Some(Seat { place, began: Some(began) });
        before.is_none_or(|before| before.place != place)
    }

    /// It is given the bytes from there up to `end`.
    pub(super) fn give(&mut self, seat: usize, end: u64) {
        let began = self.seats[seat].and_then(|seat| seat.began).unwrap_or(end);
        self.given_to = self.given_to.max(end);
        self.taken_bytes = self.taken_bytes.max(end.saturating_sub(began));
    }

    /// What each of them wants next.
    pub(super) fn places(&self) -> impl Iterator<Item = u64> {
        self.seats.iter().flatten().map(|seat| seat.place)
    }

    /// Whether nobody is on board.
    pub(super) fn are_empty(&self) -> bool {
        self.places().next().is_none()
    }

    /// The byte after the last one that anybody was given, those included who have left.
    pub(super) fn given_to(&self) -> u64 {
        self.given_to
    }

    /// The most bytes that one of them has taken, those included who have left.
    pub(super) fn taken_bytes(&self) -> u64 {
        self.taken_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_that_was_left_is_given_to_the_next() {
        let mut seats = Seats::default();
        assert_eq!([seats.take(5), seats.take(6)], [0, 1]);
        seats.leave(0);
        assert_eq!((seats.take(7), seats.places().collect::<Vec<_>>()), (0, vec![7, 6]));
        seats.leave(0);
        seats.leave(1);
        assert!(seats.are_empty());
    }

    #[test]
    fn who_has_not_read_yet_waits_where_the_answer_begins() {
        let mut seats = Seats::default();
        let (reading, waiting) = (seats.take(50), seats.take(60));
        assert!(!seats.read_at(reading, 50), "it is there already");
        seats.wait_at(10);
        assert_eq!(seats.places().collect::<Vec<_>>(), [50, 10]);
        assert!(seats.read_at(waiting, 60));
        assert_eq!(seats.places().collect::<Vec<_>>(), [50, 60]);
    }

    #[test]
    fn what_was_taken_is_what_one_of_them_was_given_and_not_what_it_passed_over() {
        let mut seats = Seats::default();
        let (first, second) = (seats.take(0), seats.take(0));
        assert_eq!((seats.given_to(), seats.taken_bytes()), (0, 0));
        seats.read_at(first, 100);
        assert_eq!((seats.given_to(), seats.taken_bytes()), (0, 0), "it waits there");
        seats.give(first, 110);
        seats.read_at(first, 110);
        seats.give(first, 130);
        seats.read_at(second, 0);
        seats.give(second, 20);
        seats.leave(first);
        assert_eq!((seats.given_to(), seats.taken_bytes()), (130, 30));
    }
}

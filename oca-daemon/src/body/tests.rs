use super::*;
use proptest::prelude::*;

/// A byte of the imaginary file at `offset`.
fn file_byte(offset: u64) -> u8 {
    (offset % 251) as u8
}

fn body_of(parts: impl IntoIterator<Item = Part>) -> ResponseBody {
    let mut body = ResponseBody::default();
    body.begin_with(parts);
    body
}

/// Plays reads and sends of any size, with rewinds in between, and returns the bytes that were sent.
fn play(parts: Vec<Part>, chunks_max: usize, sends: &[usize], pool: &mut ReadBuffers) -> Vec<u8> {
    let mut body = body_of(parts);
    let mut sent = Vec::new();
    // The pool's memory stays zero here: what a slice would hold is told by where it lies.
    for step in 0..100_000 {
        if body.is_sent() {
            return sent;
        }
        if body.pieces_ahead() < 2
            && let Some(range) = body.next_range()
        {
            if step % 5 == 0 {
                body.queue_resident(range.start + 50_000);
                continue;
            }
            let read = PieceRead::of(range, step as u64, chunks_max);
            body.begin(read);
            let buffers = (0..read.chunk_count).map(|_| pool.take().unwrap()).collect();
            body.complete(read, buffers).unwrap();
        }
        let want = sends[step % sends.len()];
        let bytes = first_bytes(&body, want);
        sent.extend_from_slice(&bytes);
        body.advance(bytes.len(), pool);
        if step % 7 == 3 {
            body.rewind(pool);
        }
    }
    panic!("the body never ended");
}

fn first_bytes(body: &ResponseBody, want: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in &body.pieces {
        match piece {
            Piece::Text { bytes: text, sent_bytes } => bytes.extend_from_slice(&text[*sent_bytes..]),
            Piece::Ready { range, .. } | Piece::Resident { range } => {
                bytes.extend((range.start..range.end).map(file_byte));
            }
            Piece::Bytes(pulled) => bytes.extend_from_slice(pulled),
            Piece::Reading { .. } => break,
        }
    }
    bytes.truncate(want);
    bytes
}

/// The next read of a body.
fn next_read(body: &mut ResponseBody, ticket: u64, chunks_max: usize) -> Option<PieceRead> {
    body.next_range().map(|range| PieceRead::of(range, ticket, chunks_max))
}

proptest! {
    #[test]
    fn every_byte_is_sent_once_and_in_order_and_every_buffer_comes_back(
        ranges in proptest::collection::vec((0u64..400_000, 1u64..300_000), 1..4),
        chunks_max in 1usize..=PIECE_CHUNKS_MAX,
        sends in proptest::collection::vec(1usize..200_000, 1..8),
    ) {
        let mut pool = ReadBuffers::new(32 * CHUNK_BYTES).unwrap();
        let mut parts = Vec::new();
        let mut expected = Vec::new();
        for (start, length) in ranges {
            let text = format!("--part {start}\r\n").into_bytes();
            expected.extend_from_slice(&text);
            parts.push(Part::Text(text));
            expected.extend((start..start + length).map(file_byte));
            parts.push(Part::File(ByteRange { start, end: start + length }));
        }
        prop_assert_eq!(play(parts, chunks_max, &sends, &mut pool), expected);
        prop_assert_eq!(pool.free_count(), pool.count());
    }
}

#[test]
fn slices_are_the_parts_of_the_chunks_that_the_range_covers() {
    let mut pool = ReadBuffers::new(4 * CHUNK_BYTES).unwrap();
    let range = ByteRange { start: CHUNK_BYTES - 10, end: 2 * CHUNK_BYTES + 5 };
    let mut body = body_of([Part::File(range)]);
    let read = next_read(&mut body, 1, 8).unwrap();
    assert_eq!((read.first_chunk, read.chunk_count), (0, 3));
    body.begin(read);
    assert_eq!(next_read(&mut body, 1, 8), None);
    let buffers = (0..3).map(|_| pool.take().unwrap()).collect();
    body.complete(read, buffers).unwrap();
    let mut slices = SendSlices::new();
    body.gather(&pool, &mut slices);
    assert_eq!(slices.iter().map(|slice| slice.len()).collect::<Vec<_>>(), [10, CHUNK_BYTES as usize, 5]);
}

/// Found in review: tickets were counted anew for every response, so that after a 503 for a disk that
/// hung, the late read was taken for the first piece of the connection's next response.
#[test]
fn a_late_read_of_an_earlier_response_is_not_taken_for_the_present_one() {
    let mut pool = ReadBuffers::new(4 * CHUNK_BYTES).unwrap();
    let mut earlier = body_of([Part::File(ByteRange { start: 0, end: 10 })]);
    let late = next_read(&mut earlier, 1, 1).unwrap();
    earlier.begin(late);
    let mut present = body_of([Part::File(ByteRange { start: 0, end: 10 })]);
    let read = next_read(&mut present, 2, 1).unwrap();
    present.begin(read);
    let buffers = std::iter::once(pool.take().unwrap()).collect();
    let returned = present.complete(late, buffers).unwrap_err();
    assert!(!present.is_ready() && !present.awaits(late) && present.awaits(read));
    returned.into_iter().for_each(|buffer| pool.give(buffer));
}

#[test]
fn a_read_that_nobody_waits_for_hands_its_buffers_back() {
    let mut pool = ReadBuffers::new(4 * CHUNK_BYTES).unwrap();
    let mut body = body_of([Part::File(ByteRange { start: 0, end: 10 })]);
    let read = next_read(&mut body, 1, 1).unwrap();
    body.begin(read);
    body.rewind(&mut pool);
    let buffers = std::iter::once(pool.take().unwrap()).collect();
    let returned = body.complete(read, buffers).unwrap_err();
    returned.into_iter().for_each(|buffer| pool.give(buffer));
    assert_eq!(next_read(&mut body, 2, 1).unwrap().first_chunk, 0);
}

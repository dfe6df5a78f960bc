//! A neighbour who downloads: large objects over one connection, as fast as they come, without a pause.

use std::io;
use std::time::{Duration, Instant};

use benches::client::Client;

use super::content::Objects;

/// What is looked at at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Downloads until a moment; when each piece was there, and its bytes.
pub(crate) fn download(
    client: &mut Client,
    objects: &Objects,
    began: Instant,
    to: Duration,
) -> io::Result<Vec<(Duration, u64)>> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut came = Vec::new();
    for number in 0.. {
        let ended = client.get_into(objects.target(number), &mut piece, |bytes, _| {
            came.push((began.elapsed(), bytes.len() as u64));
            // Nobody waits for the rest.
            if began.elapsed() < to { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
        });
        match ended {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => break,
            Err(error) => return Err(error),
        }
    }
    Ok(came)
}

/// Bits per second of what came between two moments.
pub(crate) fn bits_per_second(came: &[(Duration, u64)], from: Duration, to: Duration) -> f64 {
    let bytes: u64 = came.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, bytes)| bytes).sum();
    bytes as f64 * 8.0 / (to - from).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_outside_of_the_time_does_not_count() {
        let millis = Duration::from_millis;
        let came = [(millis(999), 1), (millis(1000), 100), (millis(2999), 150), (millis(3000), 1)];
        assert_eq!(bits_per_second(&came, millis(1000), millis(3000)), 1000.0);
    }
}

//! Films of which there are versions: every byte says of which film and which version it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread::sleep;
use std::time::Duration;

use super::MIB;
use super::origin::{Origin, bytes, send_file};

/// Bytes of each: some are held in one block, some in several.
const SIZES: [usize; 6] = [3000, 300_000, 2 * MIB + 500_000, 60_000, 200_000, MIB + 8];

pub const COUNT: usize = SIZES.len();

/// The origin, and which version of each film it has.
pub struct Films {
    pub origin: Origin,
    versions: Arc<[AtomicU64; COUNT]>,
}

impl Films {
    /// Its answers are thought of for some milliseconds: what was true when it was asked may not be when it answers.
    pub fn start() -> Self {
        let versions: Arc<[AtomicU64; COUNT]> = Arc::default();
        let current = Arc::clone(&versions);
        let origin = Origin::start(move |asked, stream| {
            let Some(film) = film_of(&asked.target) else { return false };
            let version = current[film].load(SeqCst);
            sleep(Duration::from_millis(version % 4 * 3));
            let fields = "Cache-Control: max-age=600\r\nContent-Type: video/mp4\r\n";
            send_file(asked, stream, &format!("{film}-{version}"), fields, &body(film, version))
        });
        Self { origin, versions }
    }

    pub fn path(film: usize) -> String {
        format!("/films/{film}.mp4")
    }

    /// There is another version of it now; which.
    pub fn change(&self, film: usize) -> u64 {
        self.versions[film].fetch_add(1, SeqCst) + 1
    }

    /// Of which version an answer is that begins at that byte of a film.
    ///
    /// # Panics
    /// Where it is of none, or of several.
    #[track_caller]
    pub fn version_of(film: usize, start: usize, answer: &[u8]) -> u64 {
        assert!(start.is_multiple_of(8) && answer.len() >= 8, "so that it can be told");
        let word = u64::from_le_bytes(answer[..8].try_into().unwrap());
        let version = (word ^ (start as u64 / 8).wrapping_mul(0x9E37_79B9_7F4A_7C15)) >> 8;
        assert!(version < 100_000, "not a version: {version}");
        assert!(
            body(film, version)[start..start + answer.len()] == *answer,
            "film {film}: bytes of several versions"
        );
        version
    }

    pub fn size(film: usize) -> usize {
        SIZES[film]
    }
}

fn body(film: usize, version: u64) -> Vec<u8> {
    bytes((version << 8) | film as u64, SIZES[film])
}

fn film_of(target: &str) -> Option<usize> {
    target.strip_prefix("/films/")?.strip_suffix(".mp4")?.parse().ok().filter(|&film| film < COUNT)
}

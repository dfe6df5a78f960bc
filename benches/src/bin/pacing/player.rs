//! A player in the middle of a film: it has a full buffer, fetches a segment whenever there is room for one, and says what it is (CTA-5004). It stays
//! at its highest bitrate: whether players choose others because of pacing is not asked here.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use benches::client::Client;

use super::content::Objects;
use super::playback::Playback;

/// What a player keeps in its buffer. From 30 s on the daemon takes it for full.
pub(crate) const BUFFER: Duration = Duration::from_secs(30);

/// What it plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Film {
    /// The highest of its bitrates, in kbit/s.
    pub(crate) kbps: u32,
    /// A segment's length.
    pub(crate) segment: Duration,
    /// What the player says that it finds sufficient (`rtp`), in kbit/s, if it does.
    pub(crate) requested_kbps: Option<u32>,
}

/// One segment that came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fetched {
    /// When it was asked for, since the turn began.
    pub(crate) at: Duration,
    /// Until its last byte was there.
    pub(crate) took: Duration,
}

/// What became of it.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    /// In the order in which they came.
    pub(crate) fetched: Vec<Fetched>,
    /// What was seen.
    pub(crate) playback: Playback,
}

impl Film {
    /// A segment's.
    pub(crate) fn segment_bytes(&self) -> u64 {
        u64::from(self.kbps) * u64::try_from(self.segment.as_millis()).unwrap_or(u64::MAX) / 8
    }

    /// What a request says beside its path: keys in alphabetical order, as a query.
    fn said(&self, held: Duration) -> String {
        // To the nearest 100 ms.
        let held = held.as_millis() / 100 * 100;
        let Self { kbps, segment, requested_kbps } = self;
        let requested = requested_kbps.map_or_else(String::new, |kbps| format!(",rtp={kbps}"));
        let said = format!("bl={held},br={kbps},d={},ot=v{requested},tb={kbps}", segment.as_millis());
        format!("?CMCD={}", said.replace('=', "%3D").replace(',', "%2C"))
    }

    /// Plays until a moment; the last segment may come later.
    pub(crate) fn watch(
        &self,
        client: &mut Client,
        segments: &Objects,
        began: Instant,
        to: Duration,
    ) -> io::Result<Watched> {
        let mut playback = Playback::with(BUFFER.saturating_sub(self.segment));
        let mut fetched = Vec::new();
        while began.elapsed() < to {
            playback.advance(began.elapsed());
            thread::sleep((playback.held() + self.segment).saturating_sub(BUFFER));
            let at = began.elapsed();
            playback.advance(at);
            let target = format!("{}{}", segments.target(fetched.len()), self.said(playback.held()));
            let bytes = client.get(&target)?;
            if bytes != segments.bytes {
                return Err(io::Error::other(format!("a segment has {bytes} bytes, not {}", segments.bytes)));
            }
            let now = began.elapsed();
            playback.advance(now);
            playback.append(self.segment);
            fetched.push(Fetched { at, took: now - at });
        }
        Ok(Watched { fetched, playback })
    }
}

#[cfg(test)]
mod tests {
    use oca_daemon::media::Cmcd;

    use super::*;

    #[test]
    fn the_daemon_reads_what_the_player_says() {
        let film = Film { kbps: 6000, segment: Duration::from_secs(4), requested_kbps: Some(12_000) };
        assert_eq!(film.segment_bytes(), 3_000_000);
        let target = format!("/a{}", film.said(Duration::from_millis(26_123)));
        let cmcd = Cmcd::read(&target, &[]).unwrap();
        assert_eq!((cmcd.bitrate_kbps, cmcd.top_bitrate_kbps), (Some(6000), Some(6000)));
        assert_eq!((cmcd.buffer_millis, cmcd.requested_kbps), (Some(26_100), Some(12_000)));
        assert!(cmcd.is_media());
        let silent = Film { requested_kbps: None, ..film };
        assert_eq!(Cmcd::read(&silent.said(BUFFER), &[]).unwrap().requested_kbps, None);
    }
}

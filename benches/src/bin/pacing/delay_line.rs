//! The length of the way: packets that are held for a fixed time. The kernel's `netem` does this too where it was built in; this does it everywhere alike.
//! It holds what viewers send (requests and acknowledgements); together with what the other direction takes, that is the round trip.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// More are on their way only where something is wrong: an acknowledgement for every other packet of 40 Mbit/s are 34 in 20 ms.
const PACKETS_MAX: usize = 16_384;

/// The longest packet that there is.
const PACKET_BYTES: usize = 65_535;

/// How often it is looked whether it is over.
const GLANCE: Duration = Duration::from_millis(50);

/// Holds packets until it is dropped.
#[derive(Debug)]
pub(crate) struct DelayLine {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Packets on their way, the oldest first.
#[derive(Debug)]
struct Line {
    takes: Duration,
    packets: VecDeque<(Instant, Vec<u8>)>,
}

impl DelayLine {
    /// What is sent into one device comes out of the other that much later.
    pub(crate) fn start(from: File, to: File, takes: Duration) -> io::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let line = Line { takes, packets: VecDeque::new() };
        let carry = move || line.carry(from, to, &over);
        let thread = thread::Builder::new().name("delay-line".to_owned()).spawn(carry)?;
        Ok(Self { is_over, thread: Some(thread) })
    }
}

impl Drop for DelayLine {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) else { return };
        eprintln!("pacing: the delay line failed: {error}");
    }
}

impl Line {
    fn carry(mut self, mut from: File, mut to: File, is_over: &AtomicBool) -> io::Result<()> {
        let mut packet = vec![0; PACKET_BYTES];
        while !is_over.load(Ordering::Relaxed) {
            while let Some(due) = self.due(Instant::now()) {
                // A packet that cannot be delivered is lost, as it would be elsewhere.
                let _ = to.write(&due);
            }
            let patience = Timespec::try_from(self.patience(Instant::now())).map_err(io::Error::other)?;
            poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&patience))?;
            loop {
                match from.read(&mut packet) {
                    Ok(length) => self.take(&packet[..length], Instant::now()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, packet: &[u8], now: Instant) {
        if self.packets.len() < PACKETS_MAX {
            self.packets.push_back((now + self.takes, packet.to_vec()));
        }
    }

    /// The next one that has arrived.
    fn due(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.packets.pop_front_if(|(due, _)| *due <= now).map(|(_, packet)| packet)
    }

    fn patience(&self, now: Instant) -> Duration {
        self.packets.front().map_or(GLANCE, |(due, _)| due.saturating_duration_since(now).min(GLANCE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_out_in_their_order_each_after_the_same_time() {
        let (began, millis) = (Instant::now(), Duration::from_millis);
        let mut line = Line { takes: millis(20), packets: VecDeque::new() };
        line.take(b"a", began);
        line.take(b"b", began + millis(5));
        assert_eq!(line.patience(began + millis(5)), millis(15));
        assert_eq!(line.due(began + millis(19)), None);
        assert_eq!(line.due(began + millis(20)), Some(b"a".to_vec()));
        assert_eq!(line.due(began + millis(20)), None);
        assert_eq!(line.due(began + millis(30)), Some(b"b".to_vec()));
        assert_eq!(line.patience(began + millis(30)), GLANCE);
    }

    #[test]
    fn a_line_that_is_full_loses_packets() {
        let now = Instant::now();
        let mut line = Line { takes: Duration::ZERO, packets: VecDeque::new() };
        (0..=PACKETS_MAX).for_each(|_| line.take(b"a", now));
        assert_eq!(line.packets.len(), PACKETS_MAX);
    }
}

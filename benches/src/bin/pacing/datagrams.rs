//! Small datagrams to the household at a fixed rate, as a call or a game has: how long each waits on its way, and how many are lost. Both ends are on one machine
//! and read one clock, so it is the time of the one way that is measured. The line itself takes 30 µs for such a packet; the rest is queueing.

use std::io;
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use super::household::{APPLIANCE, HOUSEHOLD};

/// One every 10 ms: some hundred in the time of a segment, and a hundredth of a percent of the line.
const EVERY: Duration = Duration::from_millis(10);

/// What each is long: a packet of a call.
const BYTES: usize = 160;

/// A datagram that takes longer counts as lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// The two ends.
#[derive(Debug)]
pub(crate) struct Datagrams {
    /// At the appliance.
    pub(crate) sender: UdpSocket,
    /// In the household.
    pub(crate) receiver: UdpSocket,
}

/// One that came: its number, and when, since the turn began.
pub(crate) type Came = (u32, Duration);

/// What became of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Delays {
    /// Of those that came.
    pub(crate) millis: Vec<f64>,
    /// Of all that were sent.
    pub(crate) lost_percent: f64,
}

/// The end at the appliance; to be opened there.
pub(crate) fn sender() -> io::Result<UdpSocket> {
    UdpSocket::bind((APPLIANCE, 0))
}

/// The end in the household; to be opened there.
pub(crate) fn receiver() -> io::Result<UdpSocket> {
    let receiver = UdpSocket::bind((HOUSEHOLD, 0))?;
    receiver.set_read_timeout(Some(PATIENCE))?;
    Ok(receiver)
}

impl Datagrams {
    /// Sends and receives until a moment.
    pub(crate) fn exchange(self, began: Instant, to: Duration) -> io::Result<(Vec<Duration>, Vec<Came>)> {
        let Self { sender, receiver } = self;
        sender.connect(receiver.local_addr()?)?;
        let receiving = thread::Builder::new().spawn(move || receive(&receiver, began))?;
        let sent = send(&sender, began, to)?;
        let came = receiving.join().map_err(|_| io::Error::other("the thread that receives panicked"))?;
        Ok((sent, came?))
    }
}

/// When each was sent.
fn send(sender: &UdpSocket, began: Instant, to: Duration) -> io::Result<Vec<Duration>> {
    let mut sent = Vec::new();
    let mut packet = [0; BYTES];
    for number in 0_u32.. {
        thread::sleep((EVERY * number).saturating_sub(began.elapsed()));
        let at = began.elapsed();
        if at >= to {
            break;
        }
        packet[..4].copy_from_slice(&number.to_le_bytes());
        sender.send(&packet)?;
        sent.push(at);
    }
    Ok(sent)
}

/// Which came, and when. The end is when none comes any more.
fn receive(receiver: &UdpSocket, began: Instant) -> io::Result<Vec<Came>> {
    let mut came = Vec::new();
    let mut packet = [0; BYTES];
    loop {
        match receiver.recv(&mut packet) {
            Ok(_) => {
                let [a, b, c, d, ..] = packet;
                came.push((u32::from_le_bytes([a, b, c, d]), began.elapsed()));
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(came);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Of those that were sent between two moments.
pub(crate) fn delays(sent: &[Duration], came: &[Came], from: Duration, to: Duration) -> Delays {
    let counts = |at: &Duration| (from..to).contains(at);
    let delay = |(number, at): &Came| {
        let sent = sent.get(*number as usize).filter(|sent| counts(sent))?;
        Some(at.saturating_sub(*sent).as_secs_f64() * 1e3)
    };
    let millis: Vec<f64> = came.iter().filter_map(delay).collect();
    let count = sent.iter().filter(|at| counts(at)).count();
    let lost_percent =
        if count == 0 { 0.0 } else { (1.0 - millis.len() as f64 / count as f64).max(0.0) * 100.0 };
    Delays { millis, lost_percent }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_of_those_that_were_sent_in_time_and_the_rest_is_lost() {
        let millis = Duration::from_millis;
        let sent = [millis(0), millis(10), millis(20), millis(30), millis(40), millis(50)];
        let came = [(0, millis(90)), (1, millis(12)), (3, millis(35)), (4, millis(41)), (5, millis(99))];
        let delays = delays(&sent, &came, millis(10), millis(50));
        assert_eq!(delays, Delays { millis: vec![2.0, 5.0, 1.0], lost_percent: 25.0 });
    }
}

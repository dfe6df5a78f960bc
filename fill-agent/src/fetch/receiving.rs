//! One object on its way from a source.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};

use super::fault::Fault;
use super::object_writer::ObjectWriter;
use super::paced::Meter;
use super::speed_watch::SpeedWatch;
use super::{Failed, Wanted, broken};
use crate::limits::OBJECT_RESTARTS_MAX;
use crate::tally::SourceTally;

/// One object on its way.
pub(super) struct Receiving<'a> {
    pub(super) wanted: Wanted<'a>,
    pub(super) writer: ObjectWriter<'a>,
    pub(super) tally: &'a Arc<SourceTally>,
    /// What it can be resumed by.
    pub(super) validator: Option<String>,
    /// Whether it became another one on the way.
    pub(super) has_changed: bool,
    restarts: u32,
    /// Why it broke off last.
    pub(super) broken: Option<Fault>,
}

impl<'a> Receiving<'a> {
    /// Nothing of it has come.
    pub(super) fn new(wanted: Wanted<'a>, writer: ObjectWriter<'a>, tally: &'a Arc<SourceTally>) -> Self {
        Self { wanted, writer, tally, validator: None, has_changed: false, restarts: 0, broken: None }
    }

    /// Begins anew, from the first byte.
    pub(super) async fn restart(&mut self) -> Result<(), Failed> {
        self.restarts += 1;
        if self.restarts > OBJECT_RESTARTS_MAX {
            let broken = self.broken.take().filter(|_| !self.has_changed);
            return Err(Failed::Source(broken.unwrap_or(Fault::Changed)));
        }
        let received = self.writer.received();
        self.writer.restart().await.map_err(Failed::Disk)?;
        // Where the disk does not let it begin anew, whoever gives the object up counts it.
        self.tally.waste(received);
        Ok(())
    }

    /// Takes the body, and no byte more than the object has. Whether the connection can be used again.
    pub(super) async fn receive(
        &mut self,
        meter: &Meter,
        mut body: Incoming,
        stall_timeout: Duration,
    ) -> Result<bool, Failed> {
        let expected = self.wanted.bytes;
        let mut watch = SpeedWatch::new(stall_timeout);
        loop {
            let (seen, paused, began) = (meter.received(), meter.paused(), Instant::now());
            let frame = meter.within(stall_timeout, body.frame()).await;
            let waited = began.elapsed().saturating_sub(meter.paused().saturating_sub(paused));
            let received = self.writer.received();
            let bytes = match frame {
                Some(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Some(Some(Err(_))) if received == expected => return Ok(false),
                Some(Some(Err(error))) => return Err(Failed::Source(broken(received, &error))),
                Some(None) if received == expected => return Ok(true),
                Some(None) => return Err(Failed::Source(length(expected, received))),
                // Bytes came that are none of the object's: the edges of a chunk, a part of a TLS record.
                None if meter.received() > seen => Bytes::new(),
                None => return Err(Failed::Source(Fault::Stalled(stall_timeout))),
            };
            self.tally.receive(bytes.len() as u64);
            if bytes.len() as u64 > expected - received {
                self.tally.waste(bytes.len() as u64);
                return Err(Failed::Source(Fault::Length { expected, found: "more".to_owned() }));
            }
            self.writer.append(&bytes).await.map_err(Failed::Disk)?;
            watch.observe(bytes.len() as u64, waited).map_err(Failed::Source)?;
        }
    }
}

fn length(expected: u64, received: u64) -> Fault {
    Fault::Length { expected, found: received.to_string() }
}

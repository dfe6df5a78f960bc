//! Whether a source that sends does so fast enough.

use std::time::Duration;

use super::fault::Fault;
use crate::limits::SOURCE_BYTES_PER_SECOND_MIN;

/// How fast a source sends while it is waited for.
pub(super) struct SpeedWatch {
    span: Duration,
    bytes: u64,
    waited: Duration,
}

impl SpeedWatch {
    /// It is judged over spans of so long.
    pub(super) fn new(span: Duration) -> Self {
        Self { span, bytes: 0, waited: Duration::ZERO }
    }

    /// Takes in that so much of the object came after so long a wait. Judges each span of waiting by itself.
    pub(super) fn observe(&mut self, bytes: u64, waited: Duration) -> Result<(), Fault> {
        self.bytes += bytes;
        self.waited += waited;
        if self.waited < self.span {
            return Ok(());
        }
        let bytes_per_second = (self.bytes as f64 / self.waited.as_secs_f64()) as u64;
        (self.bytes, self.waited) = (0, Duration::ZERO);
        if bytes_per_second < SOURCE_BYTES_PER_SECOND_MIN {
            return Err(Fault::Slow { bytes_per_second });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn only_the_time_that_is_waited_counts_and_each_span_by_itself() {
        let mut watch = SpeedWatch::new(10 * SECOND);
        for _ in 0..9 {
            watch.observe(0, SECOND).unwrap();
        }
        watch.observe(10 * SOURCE_BYTES_PER_SECOND_MIN, SECOND).unwrap();
        // What came fast before is no excuse.
        watch.observe(1 << 30, 10 * SECOND).unwrap();
        watch.observe(1, 9 * SECOND).unwrap();
        let slow = watch.observe(0, SECOND);
        assert!(matches!(slow, Err(Fault::Slow { bytes_per_second: 0 })), "{slow:?}");
    }
}

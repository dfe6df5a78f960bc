//! What is written down of a night: a line for everything that an operator would see.

use control_client::units::ByteCount;
use jiff::Timestamp;
use jiff::tz::TimeZone;

pub(crate) struct Diary {
    time_zone: TimeZone,
    lines: Vec<String>,
}

impl Diary {
    pub(crate) fn new(time_zone: &str) -> Self {
        Self { time_zone: TimeZone::get(time_zone).unwrap(), lines: Vec::new() }
    }

    /// With the true time, by the clocks of the site.
    pub(crate) fn note(&mut self, moment: Timestamp, text: &str) {
        let local = moment.to_zoned(self.time_zone.clone());
        self.lines.push(format!("{} {text}", local.strftime("%a %H:%M:%S %Z")));
    }

    pub(crate) fn close(mut self, text: &str) -> String {
        self.lines.push(text.to_owned());
        self.lines.join("\n")
    }
}

pub(crate) fn size(bytes: u64) -> String {
    ByteCount::new(bytes).rounded()
}

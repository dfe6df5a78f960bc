//! Quantities with their units: sizes in bytes (IEC), rates in bits per second (SI), half-open ranges,
//! durations, spans of the day.
//!
//! In files and on the command line a quantity is a number and a unit, `"256 MiB"`, `"1.2 Gbit/s"`, `"30 s"`;
//! one space between them may be left out. `Display` and serde print that same form, exactly: what is printed
//! parses to the same value. Parsing is total: whatever the text, the answer is a value or a
//! [`QuantityError`] that names the accepted units.

mod bit_rate;
mod byte_count;
mod byte_range;
mod daily_window;
pub mod duration;
mod quantity;

pub use bit_rate::BitRate;
pub use byte_count::ByteCount;
pub use byte_range::ByteRange;
pub use daily_window::{DailyWindow, DailyWindowError};
pub use duration::{display_duration, parse_duration, rounded_duration};
pub use quantity::QuantityError;

#[cfg(test)]
mod tests;

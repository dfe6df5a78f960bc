//! The media type of a file, from the end of its name: one table for all that publishes.

pub use control_client::media_type::media_type;

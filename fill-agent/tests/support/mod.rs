//! What the tests of whole runs share: a volume in a temporary folder, a source whose faults are scripted, and stand-ins for
//! the daemon and the control plane that answer as scripted, named so because they are not the real ones.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it, as a module of its own")]

pub mod appliance;
pub mod content;
pub mod scripted_daemon;
pub mod scripted_plane;
pub mod scripted_source;
pub mod tls_front;

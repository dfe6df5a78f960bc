//! sendfile from the page cache: a head, and then as much as the socket takes.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::objects::Objects;
use super::serving::{Disk, Sends, Waits};

/// How much one connection sends before the others have their turns.
const TURN_BYTES: u64 = 2 << 20;

/// The loop.
pub(super) struct Sending;

/// What is being sent, and from where on.
#[derive(Default)]
pub(super) struct Sent {
    object: usize,
    offset: u64,
}

impl Sends for Sending {
    type State = Sent;

    fn accept(&mut self, _socket: &OwnedFd) -> io::Result<Sent> {
        Ok(Sent::default())
    }

    fn receive(&mut self, state: &mut Sent, bytes: &[u8], objects: &Objects) -> io::Result<bool> {
        *state = Sent { object: objects.find(bytes)?, offset: 0 };
        Ok(true)
    }

    fn send(
        &mut self,
        state: &mut Sent,
        socket: &OwnedFd,
        objects: &Objects,
        _disk: &mut Disk<'_>,
    ) -> io::Result<Waits> {
        let object = &objects.all[state.object];
        if state.offset == 0 {
            send(socket, &object.head, SendFlags::MORE | SendFlags::NOSIGNAL)?;
        }
        let most = (object.bytes - state.offset).min(TURN_BYTES);
        match rustix::fs::sendfile(socket, &object.file, Some(&mut state.offset), most as usize) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) if state.offset == object.bytes => Ok(Waits::Request),
            Ok(sent) if (sent as u64) < most => Ok(Waits::Room),
            Ok(_) => Ok(Waits::Turn),
            // Nothing of the body was taken: the head was, and must not be sent again.
            Err(Errno::AGAIN) if state.offset > 0 => Ok(Waits::Room),
            Err(error) => Err(error.into()),
        }
    }
}

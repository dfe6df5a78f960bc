#![expect(unsafe_code, reason = "the kernel reads into memory that is given by its address")]
//! Direct reads, two under way for each connection, CRC32C of every byte, and sends from where it was read.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use cache_store::{ALIGNMENT, CHUNK_BYTES};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::objects::Objects;
use super::serving::{Disk, Sends, Waits};

/// What one read brings.
const PIECE_BYTES: u64 = 512 * 1024;

/// Pieces under way.
const PIECES: usize = 2;

/// The loop.
#[derive(Default)]
pub(super) struct Reading {
    /// So that no checksum is left out because nobody looks at it.
    checksums: u32,
}

/// What is being read and sent.
pub(super) struct Pieces {
    object: usize,
    is_head_sent: bool,
    /// What is asked for next, and sent next.
    read_offset: u64,
    send_offset: u64,
    pieces: [Piece; PIECES],
}

struct Piece {
    memory: Vec<u8>,
    /// Where in `memory` the aligned part begins.
    start: usize,
    offset: u64,
    bytes: usize,
    state: PieceState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PieceState {
    Free,
    Reading,
    Read,
}

impl Sends for Reading {
    type State = Pieces;

    fn accept(&mut self, _socket: &OwnedFd) -> io::Result<Pieces> {
        let pieces = std::array::from_fn(|_| Piece::new());
        Ok(Pieces { object: 0, is_head_sent: false, read_offset: 0, send_offset: 0, pieces })
    }

    fn receive(&mut self, state: &mut Pieces, bytes: &[u8], objects: &Objects) -> io::Result<bool> {
        state.object = objects.find(bytes)?;
        (state.is_head_sent, state.read_offset, state.send_offset) = (false, 0, 0);
        Ok(true)
    }

    fn send(
        &mut self,
        state: &mut Pieces,
        socket: &OwnedFd,
        objects: &Objects,
        disk: &mut Disk<'_>,
    ) -> io::Result<Waits> {
        let object = &objects.all[state.object];
        loop {
            for slot in 0..PIECES {
                if state.pieces[slot].state == PieceState::Free && state.read_offset < object.bytes {
                    let bytes = (object.bytes - state.read_offset).min(PIECE_BYTES);
                    let piece = &mut state.pieces[slot];
                    (piece.state, piece.offset, piece.bytes) =
                        (PieceState::Reading, state.read_offset, bytes as usize);
                    let aligned = bytes.next_multiple_of(ALIGNMENT) as usize;
                    let into = piece.memory[piece.start..].as_mut_ptr();
                    // SAFETY: a piece has room for as much and is left alone while it is `Reading`.
                    unsafe { disk.read(object.file.as_raw_fd(), into, aligned, state.read_offset, slot) }?;
                    state.read_offset += bytes;
                }
            }
            let current = state.pieces.iter_mut().find(|piece| {
                piece.state == PieceState::Read
                    && (piece.offset..piece.offset + piece.bytes as u64).contains(&state.send_offset)
            });
            let Some(piece) = current else { return Ok(Waits::Disk) };
            if !state.is_head_sent {
                send(socket, &object.head, SendFlags::MORE | SendFlags::NOSIGNAL)?;
                state.is_head_sent = true;
            }
            let from = (state.send_offset - piece.offset) as usize;
            let unsent = &piece.memory[piece.start + from..piece.start + piece.bytes];
            match send(socket, unsent, SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    let is_all = sent == unsent.len();
                    state.send_offset += sent as u64;
                    if !is_all {
                        return Ok(Waits::Room);
                    }
                    piece.state = PieceState::Free;
                    if state.send_offset == object.bytes {
                        return Ok(Waits::Request);
                    }
                }
                Err(Errno::AGAIN) => return Ok(Waits::Room),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn read(&mut self, state: &mut Pieces, slot: usize, result: i32) -> io::Result<()> {
        let piece = &mut state.pieces[slot];
        let read = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))?;
        if read < piece.bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for chunk in piece.memory[piece.start..piece.start + piece.bytes].chunks(CHUNK_BYTES as usize) {
            self.checksums = std::hint::black_box(self.checksums ^ crc32c::crc32c(chunk));
        }
        piece.state = PieceState::Read;
        Ok(())
    }

    fn is_reading(&self, state: &Pieces) -> bool {
        state.pieces.iter().any(|piece| piece.state == PieceState::Reading)
    }
}

impl Piece {
    fn new() -> Self {
        let memory = vec![0; (PIECE_BYTES + ALIGNMENT) as usize];
        let start = memory.as_ptr().align_offset(ALIGNMENT as usize);
        Self { memory, start, offset: 0, bytes: 0, state: PieceState::Free }
    }
}

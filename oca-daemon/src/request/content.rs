//! Reading past a request's content (RFC 9112 §6, §7.1). Nothing that is served here takes content; it is
//! discarded, so that the next request on the connection is found where it starts. What is passed upstream is kept.

use super::Cause;
use super::line::is_token_byte;
use crate::limits;

/// How long a request's content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No content, or content of zero bytes.
    None,
    /// So many bytes: 1 to [`limits::CONTENT_BYTES`].
    Length(u64),
    /// Chunks, each with its size, up to one of size zero, then trailer fields.
    Chunked,
}

/// How far the content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All the bytes given were content; there is more to come.
    More,
    /// The content ended after so many of the bytes given; the next request starts there.
    Done {
        /// Bytes of the last slice that were content.
        consumed: usize,
    },
    /// Answer this and close.
    Refused(Cause),
}

/// A state machine over the bytes of a request's content, in slices of any size.
#[derive(Clone, Debug)]
pub struct ContentSkipper {
    state: State,
    content_bytes: u64,
    framing_bytes: u64,
}

/// What the next byte must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Content of known length, so many bytes of which are left.
    Content { left: u64 },
    /// A digit of a chunk's size; after the first, `;`, a space or CR too.
    ChunkSize { size: u64, has_digits: bool },
    /// Spaces between size and `;`.
    ChunkSizeSpace { size: u64 },
    /// Anything in an extension, which is ignored, up to CR.
    ChunkExtension { size: u64 },
    /// The LF of a chunk's first line.
    ChunkLineFeed { size: u64 },
    /// Data of a chunk, so many bytes of which are left.
    ChunkData { left: u64 },
    /// The CR after a chunk's data.
    DataReturn,
    /// The LF after a chunk's data.
    DataLineFeed,
    /// The first byte of a trailer field's line, or the CR of the empty line that ends everything.
    TrailerStart,
    /// A byte of a trailer field's name, or its colon.
    TrailerName,
    /// A byte of a trailer field's value, or CR.
    TrailerValue,
    /// The LF of a trailer field's line.
    TrailerLineFeed,
    /// The last LF.
    LastLineFeed,
    /// After it.
    Done,
}

impl ContentSkipper {
    /// For content framed so; `None` where there is none.
    pub(super) fn new(framing: Framing) -> Option<Self> {
        let state = match framing {
            Framing::None => return None,
            Framing::Length(left) => State::Content { left },
            Framing::Chunked => State::ChunkSize { size: 0, has_digits: false },
        };
        Some(Self { state, content_bytes: 0, framing_bytes: 0 })
    }

    /// Reads past as much of `bytes` as is content. Not to be called again once it was done or refused.
    pub fn skip(&mut self, bytes: &[u8]) -> Progress {
        self.read(bytes, None)
    }

    /// The same; appends the content, at most [`limits::CONTENT_BYTES`], to `kept`.
    pub fn keep(&mut self, bytes: &[u8], kept: &mut Vec<u8>) -> Progress {
        self.read(bytes, Some(kept))
    }

    fn read(&mut self, bytes: &[u8], mut kept: Option<&mut Vec<u8>>) -> Progress {
        let mut consumed = 0;
        while self.state != State::Done {
            let rest = &bytes[consumed..];
            let Some(&byte) = rest.first() else { return Progress::More };
            let step = match self.state {
                State::Content { left } => self.skip_content(left, rest.len()),
                State::ChunkData { left } => self.skip_data(left, rest.len()),
                _ => match self.read_framing(byte) {
                    Ok(()) => {
                        consumed += 1;
                        continue;
                    }
                    Err(cause) => return Progress::Refused(cause),
                },
            };
            if let Some(kept) = &mut kept {
                kept.extend_from_slice(&rest[..step]);
            }
            consumed += step;
        }
        Progress::Done { consumed }
    }

    fn skip_content(&mut self, left: u64, available: usize) -> usize {
        let step = left.min(available as u64);
        self.state = if step == left { State::Done } else { State::Content { left: left - step } };
        step as usize
    }

    fn skip_data(&mut self, left: u64, available: usize) -> usize {
        let step = left.min(available as u64);
        self.state = if step == left { State::DataReturn } else { State::ChunkData { left: left - step } };
        step as usize
    }

    fn read_framing(&mut self, byte: u8) -> Result<(), Cause> {
        self.framing_bytes += 1;
        if self.framing_bytes > limits::CONTENT_FRAMING_BYTES {
            return Err(Cause::ContentTooLarge);
        }
        self.state = self.state.after(byte).ok_or(Cause::Framing)?;
        if let State::ChunkData { left } = self.state {
            self.content_bytes = self.content_bytes.saturating_add(left);
            if self.content_bytes > limits::CONTENT_BYTES {
                return Err(Cause::ContentTooLarge);
            }
        }
        Ok(())
    }
}

impl State {
    /// The grammar of RFC 9112 §7.1, lines ending in CRLF only; `None`: it does not allow this byte.
    fn after(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::ChunkSize { size, .. }, byte) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).map(u64::from)?;
                Self::ChunkSize { size: size.saturating_mul(16).saturating_add(digit), has_digits: true }
            }
            (Self::ChunkSize { size, has_digits: true }, b'\r') => Self::ChunkLineFeed { size },
            (Self::ChunkSize { size, has_digits: true } | Self::ChunkSizeSpace { size }, b' ' | b'\t') => {
                Self::ChunkSizeSpace { size }
            }
            (Self::ChunkSize { size, has_digits: true } | Self::ChunkSizeSpace { size }, b';') => {
                Self::ChunkExtension { size }
            }
            (Self::ChunkExtension { size }, b'\r') => Self::ChunkLineFeed { size },
            (Self::ChunkExtension { size }, byte) if is_text_byte(byte) => Self::ChunkExtension { size },
            (Self::ChunkLineFeed { size: 0 }, b'\n') => Self::TrailerStart,
            (Self::ChunkLineFeed { size }, b'\n') => Self::ChunkData { left: size },
            (Self::DataReturn, b'\r') => Self::DataLineFeed,
            (Self::DataLineFeed, b'\n') => Self::ChunkSize { size: 0, has_digits: false },
            (Self::TrailerStart, b'\r') => Self::LastLineFeed,
            (Self::TrailerStart | Self::TrailerName, byte) if is_token_byte(byte) => Self::TrailerName,
            (Self::TrailerName, b':') => Self::TrailerValue,
            (Self::TrailerValue, b'\r') => Self::TrailerLineFeed,
            (Self::TrailerValue, byte) if is_text_byte(byte) => Self::TrailerValue,
            (Self::TrailerLineFeed, b'\n') => Self::TrailerStart,
            (Self::LastLineFeed, b'\n') => Self::Done,
            _ => return None,
        })
    }
}

/// HTAB, SP, visible ASCII and `obs-text`.
fn is_text_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The end of the content, where every split of `bytes` into slices agrees on it.
    fn skip(framing: Framing, bytes: &[u8]) -> Progress {
        let mut whole = ContentSkipper::new(framing).unwrap();
        let expected = whole.skip(bytes);
        let mut by_byte = ContentSkipper::new(framing).unwrap();
        let mut total = 0;
        for byte in bytes {
            match by_byte.skip(std::slice::from_ref(byte)) {
                Progress::More => total += 1,
                Progress::Done { consumed } => {
                    assert_eq!(expected, Progress::Done { consumed: total + consumed });
                    return expected;
                }
                refused => {
                    assert_eq!(expected, refused);
                    return expected;
                }
            }
        }
        assert_eq!(expected, Progress::More);
        expected
    }

    #[test]
    fn content_of_known_length_ends_after_its_last_byte() {
        assert_eq!(skip(Framing::Length(5), b"12345GET"), Progress::Done { consumed: 5 });
        assert_eq!(skip(Framing::Length(5), b"12345"), Progress::Done { consumed: 5 });
        assert_eq!(skip(Framing::Length(5), b"1234"), Progress::More);
        assert!(ContentSkipper::new(Framing::None).is_none());
    }

    #[test]
    fn chunked_content_ends_after_its_trailers() {
        for content in [
            "0\r\n\r\n",
            "000\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "5;name=value\r\nhello\r\n0;last\r\n\r\n",
            "5 \t;name=\"a;b\"\r\nhello\r\n0\r\n\r\n",
            "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
            "2\r\n\r\n\r\n0\r\n\r\n",
            "0\r\nTrailer: value\r\nOther:\r\n\r\n",
        ] {
            let bytes = [content.as_bytes(), b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(
                skip(Framing::Chunked, &bytes),
                Progress::Done { consumed: content.len() },
                "{content:?}"
            );
            assert_eq!(skip(Framing::Chunked, &bytes[..content.len() - 1]), Progress::More, "{content:?}");
        }
    }

    #[test]
    fn content_that_is_kept_is_the_data_alone_however_it_is_cut() {
        let content = b"5;name=value\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: value\r\n\r\nGET";
        for size in 1..content.len() {
            let (mut skipper, mut kept) = (ContentSkipper::new(Framing::Chunked).unwrap(), Vec::new());
            for slice in content.chunks(size) {
                if skipper.keep(slice, &mut kept) != Progress::More {
                    break;
                }
            }
            assert_eq!(kept, b"hello!", "in slices of {size}");
        }
        let (mut skipper, mut kept) = (ContentSkipper::new(Framing::Length(3)).unwrap(), Vec::new());
        assert_eq!(skipper.keep(b"abcd", &mut kept), Progress::Done { consumed: 3 });
        assert_eq!(kept, b"abc");
    }

    #[test]
    fn chunked_content_that_breaks_the_grammar_is_refused() {
        for content in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "0x5\r\n",
            " 5\r\n",
            "5 \r\n",
            "5\n",
            "5\rh",
            "5;a\n",
            "5;\0\r\n",
            "5\r\nhelloX",
            "5\r\nhello\n",
            "5\r\nhello\rX",
            "5\r\nhello\r\n\r\n",
            "0\r\n\n",
            "0\r\n X: y\r\n",
            "0\r\nX\r\n",
            "0\r\nX : y\r\n",
            "0\r\n: y\r\n",
            "0\r\nX: y\n",
            "0\r\nX: y\r\n z\r\n",
            "0\r\nX: \0\r\n",
            "0\r\n\rX",
        ] {
            assert_eq!(
                skip(Framing::Chunked, content.as_bytes()),
                Progress::Refused(Cause::Framing),
                "{content:?}"
            );
        }
    }

    #[test]
    fn content_beyond_its_limit_is_too_large_as_soon_as_a_chunk_says_so() {
        let too_large = Progress::Refused(Cause::ContentTooLarge);
        assert_eq!(skip(Framing::Chunked, b"10001\r\n"), too_large);
        assert_eq!(skip(Framing::Chunked, b"ffffffffffffffffffffffff\r\n"), too_large);
        assert_eq!(skip(Framing::Chunked, b"10000\r\n"), Progress::More);
        let largest = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
        assert_eq!(
            skip(Framing::Chunked, &[&largest, b"0\r\n\r\n".as_slice()].concat()),
            Progress::Done { consumed: largest.len() + 5 }
        );
        assert_eq!(skip(Framing::Chunked, &[&largest, b"1\r\n".as_slice()].concat()), too_large);
    }

    #[test]
    fn a_flood_of_extensions_trailers_or_tiny_chunks_is_too_large() {
        let too_large = Progress::Refused(Cause::ContentTooLarge);
        let limit = limits::CONTENT_FRAMING_BYTES as usize;
        assert_eq!(skip(Framing::Chunked, format!("5;{}", "a".repeat(limit)).as_bytes()), too_large);
        assert_eq!(
            skip(Framing::Chunked, format!("0\r\n{}", "A: b\r\n".repeat(limit)).as_bytes()),
            too_large
        );
        assert_eq!(skip(Framing::Chunked, "1\r\nx\r\n".repeat(limit).as_bytes()), too_large);
        assert_eq!(skip(Framing::Chunked, "0".repeat(limit + 1).as_bytes()), too_large);
    }
}

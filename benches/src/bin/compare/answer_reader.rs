//! Follows an answer as it comes, head first, then a body of a known length.

use demo::failure::{Failure, Step};

/// Longer than any head here.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How far an answer is.
#[derive(Debug)]
pub(crate) struct AnswerReader {
    expected_bytes: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Head(Vec<u8>),
    Body { left: u64 },
}

/// Whether there is more to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    Whole,
}

impl AnswerReader {
    /// Of a 200 with so many bytes; anything else is a failure.
    pub(crate) fn new(expected_bytes: u64) -> Self {
        Self { expected_bytes, state: State::Head(Vec::new()) }
    }

    /// How much of the body is still to come, once the head is there. It need not be kept: only its length counts.
    pub(crate) fn wants(&self) -> Option<u64> {
        match self.state {
            State::Head(_) => None,
            State::Body { left } => Some(left),
        }
    }

    /// Takes what has come.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Progress, Failure> {
        let left = match &mut self.state {
            State::Body { left } => left.checked_sub(bytes.len() as u64),
            State::Head(head) => {
                head.extend_from_slice(bytes);
                let Some(head_bytes) = end_of_head(head, self.expected_bytes)? else {
                    return Ok(Progress::More);
                };
                self.expected_bytes.checked_sub((head.len() - head_bytes) as u64)
            }
        };
        let left = left.ok_or_else(|| Failure::new("more came than was asked for"))?;
        self.state = State::Body { left };
        Ok(if left == 0 { Progress::Whole } else { Progress::More })
    }
}

fn end_of_head(bytes: &[u8], expected_bytes: u64) -> Result<Option<usize>, Failure> {
    let mut fields = [httparse::EMPTY_HEADER; 48];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head_bytes) = response.parse(bytes).step("an answer's head")? else {
        return if bytes.len() < HEAD_BYTES_MAX {
            Ok(None)
        } else {
            Err(Failure::new("a head without an end"))
        };
    };
    let length = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length: Option<u64> =
        length.and_then(|field| std::str::from_utf8(field.value).ok()?.trim().parse().ok());
    if response.code != Some(200) || length != Some(expected_bytes) {
        let code = response.code.unwrap_or(0);
        return Err(Failure::new(format!(
            "the answer is {code} with {length:?} bytes, not 200 with {expected_bytes}"
        )));
    }
    Ok(Some(head_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef";

    #[test]
    fn an_answer_is_whole_with_its_last_byte_however_it_is_cut() {
        for cut in 1..ANSWER.len() {
            let mut reader = AnswerReader::new(6);
            assert_eq!(reader.take(&ANSWER[..cut]).unwrap(), Progress::More, "{cut}");
            assert_eq!(reader.take(&ANSWER[cut..]).unwrap(), Progress::Whole, "{cut}");
        }
    }

    #[test]
    fn a_status_or_a_length_that_was_not_expected_is_refused() {
        assert!(AnswerReader::new(5).take(ANSWER).is_err());
        assert!(AnswerReader::new(6).take(b"HTTP/1.1 503 No\r\nContent-Length: 6\r\n\r\n").is_err());
        assert!(AnswerReader::new(6).take(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(AnswerReader::new(6).take(&[ANSWER, b"x"].concat()).is_err());
    }
}

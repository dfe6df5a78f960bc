//! Dictionaries of structured fields (RFC 9651), as far as CMCD needs them, and read with more patience than the RFC asks
//! for: a value that is wrong is that value's fault alone. Most names and values are a few bytes long, so they are gone through byte
//! by byte; what may be long is searched.

use smallvec::SmallVec;

/// The members of a dictionary: name and value; the value of a bare name is empty.
pub(super) struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Members<'a> {
    pub(super) fn of(line: &'a [u8]) -> Self {
        Self { rest: line }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let (member, rest) = split_outside(self.rest, b',');
            self.rest = rest;
            let member = member.trim_ascii();
            if !member.is_empty() {
                let equals = member.iter().position(|&byte| byte == b'=').unwrap_or(member.len());
                let (name, value) = member.split_at(equals);
                // An equals sign without a value is not a bare name.
                return Some((name, if value == b"=" { b"=" } else { value.get(1..).unwrap_or_default() }));
            }
        }
    }
}

/// Splits at the first `separator` that is neither in a string nor in a list; what follows is empty where there is none.
pub(super) fn split_outside(bytes: &[u8], separator: u8) -> (&[u8], &[u8]) {
    let mut place = 0;
    while let Some(&byte) = bytes.get(place) {
        place += 1;
        match byte {
            b'"' => place = end_of_string(bytes, place),
            b'(' => place = end_of_list(bytes, place),
            _ if byte == separator => return (&bytes[..place - 1], &bytes[place..]),
            _ => {}
        }
    }
    (bytes, &[])
}

/// Behind the quote that ends the string in which `place` is, or all of it.
fn end_of_string(bytes: &[u8], mut place: usize) -> usize {
    while let Some(skipped) = memchr::memchr2(b'"', b'\\', &bytes[place..]) {
        place += skipped + 1;
        if bytes[place - 1] == b'"' {
            return place;
        }
        // What is escaped ends nothing.
        place = (place + 1).min(bytes.len());
    }
    bytes.len()
}

/// Behind the bracket that ends the list in which `place` is, or all of it.
fn end_of_list(bytes: &[u8], mut place: usize) -> usize {
    while let Some(skipped) = memchr::memchr2(b')', b'"', &bytes[place..]) {
        place += skipped + 1;
        if bytes[place - 1] == b')' {
            return place;
        }
        place = end_of_string(bytes, place);
    }
    bytes.len()
}

/// The value without its parameters.
pub(super) fn bare(value: &[u8]) -> &[u8] {
    split_outside(value, b';').0.trim_ascii()
}

/// A bare name is true; so is `?1`.
pub(super) fn flag(value: &[u8]) -> Option<bool> {
    match bare(value) {
        b"" | b"?1" => Some(true),
        b"?0" => Some(false),
        _ => None,
    }
}

/// A token such as `v`, or a number taken for one; some players put it in quotes.
pub(super) fn token(value: &[u8]) -> Option<&[u8]> {
    let token = bare(value);
    let token = token.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(token);
    let is_token =
        !token.is_empty() && token.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_token.then_some(token)
}

/// A string without its quotes and escapes, all of it printable ASCII. Some players forget the quotes.
pub(super) fn text(value: &[u8]) -> Option<SmallVec<[u8; 64]>> {
    let value = bare(value);
    let Some(quoted) = value.strip_prefix(b"\"") else {
        return token(value).map(SmallVec::from_slice);
    };
    let escaped = quoted.strip_suffix(b"\"")?;
    let text = if memchr::memchr(b'\\', escaped).is_some() {
        unescaped(escaped)?
    } else {
        SmallVec::from_slice(escaped)
    };
    (!text.is_empty() && text.iter().all(|byte| (0x20..0x7f).contains(byte))).then_some(text)
}

/// `None`: it ends with the first half of an escape.
fn unescaped(escaped: &[u8]) -> Option<SmallVec<[u8; 64]>> {
    let mut text = SmallVec::new();
    let mut bytes = escaped.iter();
    while let Some(&byte) = bytes.next() {
        text.push(if byte == b'\\' { *bytes.next()? } else { byte });
    }
    Some(text)
}

/// A number that is not negative, in hundredths; what is finer is cut off. Of a list, the number whose parameter is `of`,
/// else the first. `Some(None)`: the list is empty.
pub(super) fn hundredths(value: &[u8], of: &[u8]) -> Option<Option<u64>> {
    if let Some(number) = decimal(value) {
        return Some(Some(number)); // as nearly all of them are
    }
    let Some(list) = bare(value).strip_prefix(b"(") else { return decimal(bare(value)).map(Some) };
    let mut items = list.strip_suffix(b")")?.split(|&byte| byte == b' ').filter(|item| !item.is_empty());
    let Some(first) = items.next() else { return Some(None) };
    let is_meant = |item: &&[u8]| !of.is_empty() && split_outside(item, b';').1 == of;
    let item = if is_meant(&first) { first } else { items.find(is_meant).unwrap_or(first) };
    decimal(bare(item)).map(Some)
}

/// Up to ten digits, and a fraction: more than any bitrate in kbit/s or time in ms.
fn decimal(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (whole, rest) = text.split_at(digits);
    let fraction = match rest {
        [] => &[],
        [b'.', fraction @ ..] if fraction.iter().all(u8::is_ascii_digit) => fraction,
        _ => return None,
    };
    if !(1..=10).contains(&digits) {
        return None;
    }
    let whole = whole.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    let digit = |place: usize| fraction.get(place).map_or(0, |digit| u64::from(digit - b'0'));
    let hundredths = whole * 100 + digit(0) * 10 + digit(1);
    (whole <= u64::from(u32::MAX)).then_some(hundredths)
}

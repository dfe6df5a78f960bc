//! The rules of paths and of chunked content, written a second time, for clearness alone: what the daemon reads byte by byte, in
//! place and within bounds, must come out as it does here.

/// Directory and object that a request target names (RFC 3986 §5.2.4, §6.2.2), of a target whose form and characters are valid.
pub(crate) fn location(target: &str) -> Option<(String, String)> {
    let path = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => &rest[rest.find('/')?..],
        _ => target,
    };
    let path = path.split('?').next()?;
    let mut components: Vec<Vec<u8>> = Vec::new();
    let mut last: &[u8] = b"";
    let decoded: Vec<Vec<u8>> = path.split('/').skip(1).map(decode).collect::<Option<_>>()?;
    for component in &decoded {
        last = component;
        match last {
            b"." => {}
            b".." => drop(components.pop()?),
            name => components.push(name.to_vec()),
        }
    }
    let object = String::from_utf8(components.pop()?).ok()?;
    let names =
        components.into_iter().map(|name| String::from_utf8(name).ok()).collect::<Option<Vec<_>>>()?;
    if matches!(last, b"" | b"." | b"..") || names.iter().any(String::is_empty) {
        return None;
    }
    Some((format!("/{}", names.join("/")), object))
}

/// One component without its escapes; `None` where one is broken, or stands for a slash or a control byte.
fn decode(component: &str) -> Option<Vec<u8>> {
    let mut pieces = component.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let digits = piece.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        let byte = u8::from_str_radix(digits, 16).ok()?;
        if byte == b'/' || byte.is_ascii_control() {
            return None;
        }
        bytes.push(byte);
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    Some(bytes)
}

/// Where chunked content ends (RFC 9112 §7.1), if all of it is there and valid; of whatever length.
pub(crate) fn chunked_end(content: &[u8]) -> Option<usize> {
    let mut end = 0;
    loop {
        let line = line(content, end)?;
        end += line.len() + 2;
        let size = match line.iter().position(|&byte| byte == b';') {
            Some(place) => line[..place].trim_ascii_end(),
            None => line,
        };
        if size.is_empty() || !size.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let size = usize::from_str_radix(str::from_utf8(size).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        end = end.checked_add(size)?;
        if content.get(end..)?.first_chunk() != Some(b"\r\n") {
            return None;
        }
        end += 2;
    }
    loop {
        let line = line(content, end)?;
        end += line.len() + 2;
        if line.is_empty() {
            return Some(end);
        }
        let name = &line[..line.iter().position(|&byte| byte == b':')?];
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        if name.is_empty() || !name.iter().all(is_token) {
            return None;
        }
    }
}

/// The line that starts there, without its CRLF; `None` where it does not end, or holds a control byte other than HTAB.
fn line(content: &[u8], start: usize) -> Option<&[u8]> {
    let rest = content.get(start..)?;
    let line = &rest[..rest.windows(2).position(|pair| pair == b"\r\n")?];
    line.iter().all(|&byte| byte == b'\t' || !byte.is_ascii_control()).then_some(line)
}

/// An attribute list (RFC 8216, section 4.2), with values as they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attributes<'a>(Vec<(&'a str, String)>);

impl<'a> Attributes<'a> {
    /// `None` where it is none.
    pub(super) fn parse(mut text: &'a str) -> Option<Self> {
        let mut attributes = Vec::new();
        text = text.trim();
        while !text.is_empty() {
            let (name, rest) = text.split_once('=')?;
            let end = match rest.strip_prefix('"') {
                Some(quoted) => quoted.find('"')? + 2,
                None => rest.find(',').unwrap_or(rest.len()),
            };
            let (value, rest) = rest.split_at(end);
            attributes.push((name.trim(), value.to_owned()));
            text = match rest.trim_start() {
                "" => "",
                rest => rest.strip_prefix(',')?.trim_start(),
            };
        }
        Some(Self(attributes))
    }

    /// The value, without its quotation marks where it has them.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| *known == name)?;
        Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
    }

    /// Gives an attribute a quoted value, which holds no quotation mark and no line break.
    pub(super) fn set_quoted(&mut self, name: &'a str, value: &str) {
        let value = format!("\"{value}\"");
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }

    /// The list as text.
    pub(super) fn text(&self) -> String {
        let parts: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        parts.join(",")
    }
}

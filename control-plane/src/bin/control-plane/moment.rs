use std::str::FromStr;

use jiff::Timestamp;

/// A moment as an operator writes it, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) u64);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(seconds) = text.parse() {
            return Ok(Self(seconds));
        }
        let moment: Timestamp = text
            .parse()
            .map_err(|error| format!("{error}; write 2026-12-24T18:00:00Z, or seconds since 1970"))?;
        u64::try_from(moment.as_second()).map(Self).map_err(|_| "a moment before 1970".to_owned())
    }
}

/// A moment, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaybeMoment(pub(crate) Option<u64>);

impl FromStr for MaybeMoment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|Moment(at)| Self(Some(at))) }
    }
}

/// A moment as an operator reads it.
pub(crate) fn written(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map_or_else(|| seconds.to_string(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_with_their_zone_or_in_seconds() {
        assert_eq!("0".parse(), Ok(Moment(0)));
        assert_eq!("1970-01-02T00:00:00Z".parse(), Ok(Moment(86_400)));
        assert_eq!("1970-01-02T01:00:00+01:00".parse(), Ok(Moment(86_400)));
        assert!("tomorrow".parse::<Moment>().is_err());
        assert!("1969-01-01T00:00:00Z".parse::<Moment>().is_err());
        assert_eq!("none".parse(), Ok(MaybeMoment(None)));
        assert_eq!("86400".parse(), Ok(MaybeMoment(Some(86_400))));
        assert_eq!(written(86_400), "1970-01-02T00:00:00Z");
    }
}

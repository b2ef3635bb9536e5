//! Ids of server-sent events: which stream, and which place in it.

use std::fmt;

/// The largest number: what Redis' scripts can count exactly.
const NUMBER_MAX: u64 = 1 << 53;

/// An event's id as clients repeat it in `Last-Event-ID` (2025-11-25, Transports, "Resumability and
/// Redelivery"): `<stream>-<number>`. It is good only within its session, because a stream is looked up
/// there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventId<'a> {
    /// The stream's name: letters and digits.
    pub stream: &'a str,
    /// The event's place; 0 is before the first.
    pub number: u64,
}

impl<'a> EventId<'a> {
    /// Reads an id. `None` when this server cannot have given it.
    #[must_use]
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (stream, number) = text.rsplit_once('-')?;
        let named = !stream.is_empty() && stream.bytes().all(|byte| byte.is_ascii_alphanumeric());
        // `+7` and `007` parse as numbers, but are nothing that was given out.
        let number: u64 = number
            .parse()
            .ok()
            .filter(|n: &u64| *n <= NUMBER_MAX && n.to_string() == number)?;
        named.then_some(Self { stream, number })
    }
}

impl fmt::Display for EventId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.stream, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_the_trip_to_the_client() {
        let id = EventId {
            stream: "get",
            number: 12,
        };
        assert_eq!(EventId::parse(&id.to_string()), Some(id));
    }

    #[test]
    fn what_was_never_given_out_is_refused() {
        for bad in [
            "",
            "get",
            "-1",
            "get-",
            "get--1",
            "get-+1",
            "get-01",
            "a b-1",
            "get-1x",
            "a:b-1",
            "get-99999999999999999999",
            "get-18446744073709551615",
        ] {
            assert_eq!(EventId::parse(bad), None, "{bad}");
        }
    }
}

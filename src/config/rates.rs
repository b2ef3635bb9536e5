//! Rates of requests: how many may come in a time, and how many at once.

use std::fmt;
use std::time::Duration;

use ::config::ValueKind;

use super::read::{self, ExpectedWords};

/// The smallest burst. A client that begins sends `initialize`, `notifications/initialized`, a few lists and a
/// `GET`, all at once.
const BURST_MIN: u32 = 10;
/// The largest number in a rate: 1,000,000 a second is one for each microsecond, by which rates are counted.
const NUMBER_MAX: u32 = 1_000_000;
/// How long an empty bucket may take to be full again.
const FULL_WITHIN: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The units of time, by the letter that stands for each.
const UNITS: [(&str, Duration); 3] = [
    ("s", Duration::from_secs(1)),
    ("m", Duration::from_secs(60)),
    ("h", Duration::from_secs(60 * 60)),
];

/// `[limit]`: rates of requests, over all nodes. `None` is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitSettings {
    /// Requests of one principal.
    pub principal: Option<Rate>,
    /// Requests from one address; of IPv6 from one /64.
    pub address: Option<Rate>,
    /// Messages of one session.
    pub session: Option<Rate>,
    /// Sessions that one principal opens.
    pub initialize_principal: Option<Rate>,
    /// Sessions that one address opens.
    pub initialize_address: Option<Rate>,
    /// Credentials that one address brings and that are not known.
    pub failures_address: Option<Rate>,
}

/// A rate: a bucket that holds `burst` tokens, and gets `count` in each `per`. In a time t no more than
/// `burst` + t × `count` / `per` are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    per: Duration,
    burst: u32,
}

impl Rate {
    /// So many in that time, and so many at once: 1 to 1,000,000 in a second, a minute or an hour, and 10 to
    /// 1,000,000 at once, which must not take more than 30 days to come again. `None` for anything else.
    #[must_use]
    pub fn new(count: u32, per: Duration, burst: u32) -> Option<Self> {
        let rate = Self { count, per, burst };
        let fits = (1..=NUMBER_MAX).contains(&count)
            && (BURST_MIN..=NUMBER_MAX).contains(&burst)
            && UNITS.iter().any(|(_, unit)| *unit == per);
        (fits && Duration::from_micros(rate.time_us(burst)) <= FULL_WITHIN).then_some(rate)
    }

    /// How many tokens come in each [`period_us`](Self::period_us).
    #[must_use]
    pub const fn count(self) -> u32 {
        self.count
    }

    /// A second, a minute or an hour, in microseconds.
    #[must_use]
    pub fn period_us(self) -> u64 {
        self.per.as_secs() * 1_000_000
    }

    /// How many tokens a full bucket holds.
    #[must_use]
    pub const fn burst(self) -> u32 {
        self.burst
    }

    /// How long so many tokens take to come, in microseconds, rounded up.
    #[must_use]
    pub fn time_us(self, tokens: u32) -> u64 {
        // At most 1e6 x 3.6e9 = 3.6e15, which a u64 holds, and a double exactly.
        (u64::from(tokens) * self.period_us()).div_ceil(u64::from(self.count).max(1))
    }

    /// How many tokens come in so many microseconds: no more than a full bucket holds.
    #[must_use]
    pub fn tokens_in(self, time_us: u64) -> u32 {
        let most = time_us.min(self.time_us(self.burst));
        let tokens = most * u64::from(self.count) / self.period_us().max(1);
        u32::try_from(tokens).unwrap_or(self.burst).min(self.burst)
    }

    /// Reads what [`Display`](fmt::Display) writes.
    fn parse(text: &str) -> Option<Self> {
        let (rate, burst) = text.trim().split_once(char::is_whitespace)?;
        let (count, unit) = rate.split_once('/')?;
        let (_, per) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
        let burst = burst.trim_start().strip_prefix("burst")?;
        let burst = burst.strip_prefix(char::is_whitespace)?;
        Self::new(count.parse().ok()?, per, burst.trim().parse().ok()?)
    }
}

/// `50/s burst 200`
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.into_iter().find(|(_, per)| *per == self.per);
        let unit = unit.map_or("?", |(name, _)| name);
        write!(f, "{}/{unit} burst {}", self.count, self.burst)
    }
}

/// A rate; empty for none.
pub(super) fn rate(value: &ValueKind) -> Result<Option<Rate>, ExpectedWords> {
    let expected = format!(
        "empty for no limit, or a rate with its burst, such as \"50/s burst 200\": 1 to {NUMBER_MAX} a second (/s), minute (/m) or \
         hour (/h), and a burst of {BURST_MIN} to {NUMBER_MAX}, which must not take more than {} to come again (a smaller burst \
         would refuse clients that just begin)",
        read::spell(FULL_WITHIN)
    );
    let text = read::text(value, &expected, |text| {
        text.trim().is_empty() || Rate::parse(text).is_some()
    })?;
    Ok(Rate::parse(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Rate>, ExpectedWords> {
        rate(&ValueKind::String(text.into()))
    }

    #[test]
    fn a_rate_is_read_as_it_is_written() {
        assert_eq!(read(""), Ok(None));
        for text in [
            "50/s burst 200",
            "1/m burst 10",
            "300/h burst 10000",
            "1000000/s burst 10",
        ] {
            let rate = read(text).unwrap().unwrap();
            assert_eq!(rate.to_string(), text);
        }
        let spaced = read("  50/s   burst   200 ").unwrap().unwrap();
        assert_eq!(spaced.to_string(), "50/s burst 200");
    }

    /// T29: a tight burst would refuse the handshake of a client that just begins.
    #[test]
    fn what_is_no_rate_or_would_refuse_every_client_is_refused_in_words() {
        for text in [
            "50",
            "50/s",
            "50/s 200",
            "50/d burst 200",
            "0/s burst 10",
            "50/s burst 9",
            "50/s burst 0",
            "-1/s burst 10",
            "1.5/s burst 10",
            "1000001/s burst 10",
            "50/s burst 1000001",
            "1/h burst 1000",
            "50/sburst 200",
            "50/s burst200",
            "50 /s burst 200",
            "off",
        ] {
            let told = read(text).unwrap_err();
            assert!(told.contains("50/s burst 200"), "{text}: {told}");
        }
        assert!(rate(&ValueKind::I64(50)).is_err());
    }

    #[test]
    fn tokens_and_their_time_are_counted_so_that_no_token_comes_too_early() {
        for text in [
            "7/s burst 10",
            "300000/s burst 1000000",
            "3/h burst 10",
            "1000000/s burst 10",
        ] {
            let rate = Rate::parse(text).unwrap();
            for tokens in [1, 2, 3, 7, 9, 10] {
                let time = rate.time_us(tokens);
                assert_eq!(rate.tokens_in(time), tokens, "{text}");
                assert!(rate.tokens_in(time - 1) < tokens, "{text}");
            }
            assert_eq!(rate.tokens_in(u64::MAX), rate.burst());
        }
    }
}

//! Medians and percentiles.

use std::time::Duration;

use serde::Serialize;

/// The value in the middle; of an even number, the lower of the two. 0 without values.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
        .get(values.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or_default()
}

/// How long things took, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Latency {
    /// How many were measured.
    pub count: usize,
    /// Half took no longer.
    pub p50_us: f64,
    /// 90 of 100 took no longer.
    pub p90_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
    /// None took longer.
    pub max_us: f64,
}

impl Latency {
    /// Sums up.
    #[must_use]
    pub fn of(mut taken: Vec<Duration>) -> Self {
        taken.sort_unstable();
        let at = |percent: usize| {
            let index = (taken.len() * percent).div_ceil(100).saturating_sub(1);
            taken.get(index).map_or(0.0, |taken| taken.as_secs_f64() * 1e6)
        };
        Self {
            count: taken.len(),
            p50_us: at(50),
            p90_us: at(90),
            p99_us: at(99),
            max_us: at(100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let latency = Latency::of((1..=200).rev().map(Duration::from_micros).collect());
        assert_eq!((latency.p50_us, latency.p90_us), (100.0, 180.0));
        assert_eq!((latency.p99_us, latency.max_us), (198.0, 200.0));
        assert_eq!(Latency::of(Vec::new()).max_us, 0.0);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.0);
        assert_eq!(median([]), 0.0);
    }
}

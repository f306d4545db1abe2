//! Ranges of time that one query asks for: days of UTC by themselves, halved only when needed.

use chrono::{DateTime, NaiveTime, SubsecRound as _, TimeDelta, Utc};
use handler::clock::rfc3339;
use serde::{Deserialize, Serialize};

/// Neighbours overlap by so much on either side: nobody says whether the end that is asked for is included.
pub(super) const OVERLAP: TimeDelta = TimeDelta::seconds(5);
/// The shortest window that is made by halving.
const MIN_LENGTH: TimeDelta = TimeDelta::minutes(1);

/// From a time on, before another; open where there is none.
pub(crate) type Range = (Option<DateTime<Utc>>, Option<DateTime<Utc>>);

/// A half-open range of CreationTime, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Included.
    pub(crate) from: DateTime<Utc>,
    /// Not included.
    pub(crate) to: DateTime<Utc>,
}

impl Window {
    /// The days of a range, the first and the last as far as the range goes.
    pub(crate) fn days(from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Self> {
        let (mut start, to) = (from.trunc_subsecs(0), to.trunc_subsecs(0));
        let mut days = Vec::new();
        while start < to {
            let end = next_day(start).min(to);
            days.push(Self { from: start, to: end });
            start = end;
        }
        days
    }

    /// The two halves, if it can be halved.
    pub(super) fn halves(self) -> Option<[Self; 2]> {
        let half = (self.to - self.from) / 2;
        if half < MIN_LENGTH {
            return None;
        }
        let middle = (self.from + half).trunc_subsecs(0);
        Some([Self { to: middle, ..self }, Self { from: middle, ..self }])
    }

    /// What the query asks for.
    pub(super) fn asked(self) -> Self {
        Self { from: self.from - OVERLAP, to: self.to + OVERLAP }
    }

    /// True for a time in what the query asks for, whatever it makes of its end.
    pub(super) fn is_asked(self, time: DateTime<Utc>) -> bool {
        let asked = self.asked();
        // CreationTime has no part of a second, and what was searched for may have.
        asked.from - TimeDelta::seconds(1) <= time && time <= asked.to
    }

    /// True if another lies within it.
    pub(super) fn holds(self, other: Self) -> bool {
        self.from <= other.from && other.to <= self.to
    }

    /// True if a part of it is in a range.
    pub(super) fn touches(self, (from, to): Range) -> bool {
        from.is_none_or(|from| from < self.to) && to.is_none_or(|to| self.from < to)
    }

    /// The day that it lies in.
    pub(super) fn day(self) -> String {
        self.from.format("%Y-%m-%d").to_string()
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", rfc3339(self.from), rfc3339(self.to))
    }
}

/// The first moment of a day.
pub(super) fn first_moment(time: DateTime<Utc>) -> DateTime<Utc> {
    time.date_naive().and_time(NaiveTime::MIN).and_utc()
}

/// The first moment of the next day.
pub(crate) fn next_day(time: DateTime<Utc>) -> DateTime<Utc> {
    first_moment(time) + TimeDelta::days(1)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use handler::clock::parse_utc;

    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        parse_utc(text).unwrap()
    }

    #[test]
    fn a_range_is_cut_at_midnight_without_a_gap() {
        let days = Window::days(time("2026-11-18T10:00:00Z"), time("2026-11-20T12:00:00Z"));
        let shown: Vec<_> = days.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "2026-11-18T10:00:00.000Z/2026-11-19T00:00:00.000Z",
                "2026-11-19T00:00:00.000Z/2026-11-20T00:00:00.000Z",
                "2026-11-20T00:00:00.000Z/2026-11-20T12:00:00.000Z"
            ]
        );
    }

    #[test]
    fn neighbours_both_ask_for_the_seconds_between_them() {
        let days = Window::days(time("2026-11-18T00:00:00Z"), time("2026-11-20T00:00:00Z"));
        let [one, other] = [days[0], days[1]].map(Window::asked);
        assert_eq!((other.from, one.to), (time("2026-11-18T23:59:55Z"), time("2026-11-19T00:00:05Z")));
        assert!([days[0], days[1]].iter().all(|day| day.is_asked(time("2026-11-19T00:00:00Z"))));
    }

    #[test]
    fn halving_leaves_nothing_out_and_ends_at_a_minute() {
        let mut window = Window { from: time("2026-11-18T00:00:00Z"), to: time("2026-11-19T00:00:00Z") };
        let mut halvings = 0;
        while let Some([one, other]) = window.halves() {
            assert_eq!((one.from, one.to, other.to), (window.from, other.from, window.to));
            window = one;
            halvings += 1;
        }
        assert_eq!(halvings, 10);
        assert!(window.to - window.from >= MIN_LENGTH);
    }
}

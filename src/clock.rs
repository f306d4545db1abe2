//! The one clock: the machine's time, corrected by what the service says the time is. Everything that compares with the
//! service's times asks here. Times as text too.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use chrono::{DateTime, NaiveDateTime, SubsecRound, TimeDelta, Utc};

/// The service's time as far as its answers have told it; until then the machine's.
#[derive(Debug, Default)]
pub struct Clock {
    /// Service minus machine, in seconds.
    offset: AtomicI64,
    is_told: AtomicBool,
}

impl Clock {
    /// Now, by the service's clock.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        Utc::now() + self.skew()
    }

    /// How far the service's clock is ahead of the machine's.
    #[must_use]
    pub fn skew(&self) -> TimeDelta {
        TimeDelta::seconds(self.offset.load(Ordering::Relaxed))
    }

    /// Whether the service has told its time in this process: until then [`Clock::now`] is a guess, and no state may rest
    /// on it.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.is_told.load(Ordering::Relaxed)
    }

    /// Learns from an answer's `Date` header, whose resolution is a second.
    pub fn learn(&self, service: DateTime<Utc>) {
        let offset = (service - Utc::now().trunc_subsecs(0)).num_seconds();
        // A second either way is the header's rounding and the way here, not skew.
        let offset = if offset.abs() <= 1 { 0 } else { offset };
        self.offset.store(offset, Ordering::Relaxed);
        self.is_told.store(true, Ordering::Relaxed);
    }
}

/// A time as state and logs have it: UTC, RFC 3339, milliseconds.
#[must_use]
pub fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// A time as the API writes it: RFC 3339, or without a zone, which is UTC.
#[must_use]
pub fn parse_utc(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text)
        .map(|at| at.to_utc())
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map(|at| at.and_utc()))
        .ok()
}

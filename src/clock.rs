//! The one clock: the machine's time, corrected by what the service says the time is. Everything that compares with the
//! service's times asks here. Times as text too.

use std::{
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, NaiveDate, NaiveDateTime, SubsecRound, TimeDelta, Utc};

/// A time that is further than this from the machine's and from what was told before needs a second witness.
const JUMP: TimeDelta = TimeDelta::hours(1);

/// The service's time as far as its answers have told it; until then the machine's.
#[derive(Debug, Default)]
pub struct Clock(Mutex<Told>);

/// Offsets are the service's time minus the machine's.
#[derive(Debug, Default)]
struct Told {
    offset: TimeDelta,
    is_known: bool,
    /// A jump that one witness told and no other has confirmed yet.
    doubt: Option<(TimeDelta, Witness)>,
}

/// The kinds of answer that tell the time. One kind does not confirm itself: a front end whose clock is wrong would vouch
/// for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// Of a call about subscriptions.
    Subscriptions,
    /// A page of a listing.
    Listing,
    /// A content blob.
    Content,
    /// An answer of Graph's audit search, for who collects history.
    Search,
}

/// The reason why no state may rest on the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeUncertain {
    /// No answer told it.
    #[error("the service has not told its time")]
    Untold,
    /// It is over an hour from what was known, and nothing confirms it.
    #[error(
        "the service's time is in doubt, so nothing is moved and nothing is given up: an answer says {}, and what was known is {}; \
         is a proxy's clock wrong, or this machine's?",
        rfc3339(*.told), rfc3339(*.known)
    )]
    Doubtful {
        /// The time in an answer.
        told: DateTime<Utc>,
        /// By what was told before, or else the machine.
        known: DateTime<Utc>,
    },
}

impl Clock {
    /// Now, by the service's clock.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        Utc::now() + self.skew()
    }

    /// The time by which the service's clock is ahead of the machine's.
    #[must_use]
    pub fn skew(&self) -> TimeDelta {
        self.told().offset
    }

    /// True if the service has told its time in this process, and no answer since has told another. Until then [`Clock::now`] is
    /// a guess: no checkpoint moves by it, and nothing is given up.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        self.certain().is_ok()
    }

    /// The same as an error.
    ///
    /// # Errors
    /// The service has not told its time, or told one that nothing has confirmed.
    pub fn certain(&self) -> Result<(), TimeUncertain> {
        let told = self.told();
        match told.doubt {
            None if told.is_known => Ok(()),
            None => Err(TimeUncertain::Untold),
            Some((offset, _)) => Err(TimeUncertain::Doubtful { told: Utc::now() + offset, known: Utc::now() + told.offset }),
        }
    }

    /// True if any answer told a time in this process, believed or not.
    #[must_use]
    pub fn is_known(&self) -> bool {
        let told = self.told();
        told.is_known || told.doubt.is_some()
    }

    /// A jump that needs a second witness: how far ahead of the machine, and who told it.
    #[must_use]
    pub fn doubt(&self) -> Option<(TimeDelta, Witness)> {
        self.told().doubt
    }

    /// The offset that an answer's `Date` header tells, which has a resolution of a second. To be asked for when the answer
    /// arrives; whether it is believed is decided by [`Clock::learn`], once the answer is known to be the service's own.
    #[must_use]
    pub fn offset(service: DateTime<Utc>) -> TimeDelta {
        let offset = TimeDelta::seconds((service - Utc::now().trunc_subsecs(0)).num_seconds());
        // A second either way is the header's rounding and the way here, not skew.
        if offset.abs() <= TimeDelta::seconds(1) { TimeDelta::zero() } else { offset }
    }

    /// Learns from one of the service's own answers. True if it is believed.
    pub fn learn(&self, offset: TimeDelta, witness: Witness) -> bool {
        let mut told = self.told();
        let is_near = |other: TimeDelta| (offset - other).abs() <= JUMP;
        let is_confirmed = told.doubt.is_some_and(|(doubt, by)| by != witness && is_near(doubt));
        let is_believed = is_near(TimeDelta::zero()) || (told.is_known && is_near(told.offset)) || is_confirmed;
        *told = match is_believed {
            true => Told { offset, is_known: true, doubt: None },
            false => Told { doubt: Some((offset, witness)), ..*told },
        };
        is_believed
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    plain_utc(text).or_else(|| {
        DateTime::parse_from_rfc3339(text)
            .map(|at| at.to_utc())
            .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map(|at| at.and_utc()))
            .ok()
    })
}

/// Nearly every record's time is of this form, `2026-11-20T10:00:00`, and is read several times as fast by itself.
fn plain_utc(text: &str) -> Option<DateTime<Utc>> {
    let bytes: &[u8; 19] = text.as_bytes().try_into().ok()?;
    let number = |digits: Range<usize>| {
        bytes[digits].iter().try_fold(0_u32, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0')))
    };
    let has_marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')].iter().all(|(at, mark)| bytes[*at] == *mark);
    let year = number(0..4).filter(|_| has_marks)?;
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, number(5..7)?, number(8..10)?)?;
    Some(date.and_hms_opt(number(11..13)?, number(14..16)?, number(17..19)?)?.and_utc())
}

/// A time as HTTP has it in `Date` and `Retry-After`. <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7>
pub(crate) fn parse_http_date(text: &str) -> Option<DateTime<Utc>> {
    httpdate::parse_http_date(text).ok().map(DateTime::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: TimeDelta = TimeDelta::hours(1);

    #[test]
    fn a_time_reads_the_same_in_its_usual_form_as_in_any_other() {
        for time in ["2026-11-20T10:00:00", "2024-02-29T23:59:59", "0000-01-01T00:00:00", "9999-12-31T00:00:00"] {
            let other = DateTime::parse_from_rfc3339(&format!("{time}Z")).unwrap();
            assert_eq!((plain_utc(time), parse_utc(time)), (Some(other.to_utc()), Some(other.to_utc())));
        }
        // A leap second is no usual form.
        assert_eq!((plain_utc("2016-12-31T23:59:60"), parse_utc("2016-12-31T23:59:60").is_some()), (None, true));
        for time in ["2026-11-20 10:00:00", "2026-13-20T10:00:00", "2026-02-29T10:00:00", "2026-11-20T24:00:00", "+026-11-20T10:00:00"] {
            assert_eq!(plain_utc(time), None, "{time}");
        }
    }

    #[test]
    fn a_jump_is_believed_when_another_kind_of_answer_tells_it_too() {
        let clock = Clock::default();
        assert!(!clock.is_certain());
        for _ in 0..2 {
            assert!(!clock.learn(HOUR * 700, Witness::Subscriptions));
            assert_eq!((clock.is_certain(), clock.skew()), (false, TimeDelta::zero()));
        }
        assert!(clock.learn(HOUR * 700 - TimeDelta::minutes(1), Witness::Listing));
        assert_eq!((clock.is_certain(), clock.skew()), (true, HOUR * 700 - TimeDelta::minutes(1)));
        // What is near what was told, or near the machine, needs no other.
        assert!(clock.learn(HOUR * 701 - TimeDelta::minutes(1), Witness::Content));
        assert!(clock.learn(-HOUR, Witness::Content));
        assert_eq!((clock.is_certain(), clock.skew()), (true, -HOUR));
    }

    #[test]
    fn one_answer_that_tells_another_time_is_a_doubt_until_the_next() {
        let clock = Clock::default();
        assert!(clock.learn(TimeDelta::minutes(10), Witness::Listing));
        assert!(!clock.learn(HOUR * 24, Witness::Listing));
        assert_eq!((clock.is_certain(), clock.skew()), (false, TimeDelta::minutes(10)));
        assert!(!clock.learn(HOUR * 48, Witness::Content), "another time is no second witness");
        assert!(clock.learn(TimeDelta::minutes(10), Witness::Listing));
        assert!(clock.is_certain());
    }
}

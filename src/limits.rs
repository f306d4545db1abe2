//! Times, sizes and counts that bound what the handler does, with what must hold between them, checked when it is compiled.

use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::Instant;

/// `functionTimeout` in `host.json`: past it the host kills the process and every invocation in it.
const HOST_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// No new work starts after this.
const WORK: Duration = Duration::from_secs(8 * 60);
/// Time after [`WORK`] for putting unfinished content back on the queue.
const SETTLING: Duration = Duration::from_secs(75);

/// An invocation is answered by then, whatever keeps it: a function that does not look at the time, for example.
pub const ANSWER: Duration = Duration::from_secs(575);

/// A content blob that was queued longer ago and is not finished is queued again: its message or its instance is gone.
pub const OVERDUE: TimeDelta = TimeDelta::hours(1);
/// The longest delay with which StoreEvents puts a content blob back.
pub const MAX_DELAY: Duration = Duration::from_secs(30 * 60);
/// The longest delay that the service may ask for.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(55 * 60);

/// A refusal that a wrong setting brings as well is believed if it is said again this long after the first time; the content blob
/// is put off for as long.
pub const DOUBT: TimeDelta = TimeDelta::minutes(61);
/// The service's clock is known as closely as this: a `Date` header has a resolution of a second, and travels.
pub const CLOCK_RESOLUTION: TimeDelta = TimeDelta::seconds(2);
/// The time that an item is tried after its message was put, if it tells no expiry of its own, as a bare URI.
pub const HAND_MADE_LIFE: TimeDelta = TimeDelta::days(7);

/// Bytes of an answer of the API that is read whole, decompressed: a page of a listing.
pub const MAX_PAGE_BYTES: usize = 32 * 1024 * 1024;
/// Content blobs in a listing. A window that has more is halved.
pub const MAX_LISTED: usize = 200_000;
/// Pages of one listing beyond which something must be wrong.
pub const MAX_PAGES: usize = 10_000;
/// Bytes of an answer that Azure's SDKs read whole: tokens, errors, blobs of the state.
pub const MAX_SDK_ANSWER_BYTES: usize = 128 * 1024 * 1024;
/// Bytes of an error's body.
pub const MAX_ERROR_BODY: usize = 16 * 1024;

const _: () = assert!(DOUBT.num_seconds() > OVERDUE.num_seconds(), "the journal counts a doubt as queued when its time is over");
const _: () = assert!(WORK.as_secs() + SETTLING.as_secs() < ANSWER.as_secs(), "the function would not come to its own end");
const _: () = assert!(ANSWER.as_secs() + 20 < HOST_TIMEOUT.as_secs(), "the host would kill the process first");
const _: () = assert!((MAX_DELAY.as_secs() as i64) < OVERDUE.num_seconds(), "what is put back would be queued twice");
const _: () = assert!((MAX_RETRY_AFTER.as_secs() as i64) < OVERDUE.num_seconds(), "what is put back would be queued twice");

/// An invocation's time.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    /// No new work starts after this; what was not reached is put back or left to the next run.
    pub work: Instant,
    /// That must be done by then.
    pub end: Instant,
}

impl Deadline {
    /// Of an invocation that began at this time.
    #[must_use]
    pub fn after(began: Instant) -> Self {
        let work = began + WORK;
        Self { work, end: work + SETTLING }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_gives_an_invocation_the_time_that_is_counted_on() {
        let host: serde_json::Value = serde_json::from_str(include_str!("../host.json")).unwrap();
        let parts: Vec<u64> = host["functionTimeout"].as_str().unwrap().split(':').map(|part| part.parse().unwrap()).collect();
        let [hours, minutes, seconds] = parts[..] else { panic!("functionTimeout is {parts:?}") };
        assert_eq!(HOST_TIMEOUT.as_secs(), hours * 3600 + minutes * 60 + seconds);
    }
}

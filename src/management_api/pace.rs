//! The pace of calls: nothing is held back until the service says that calls come too fast; then they are spaced out, and
//! draw together again over minutes. One pace for the whole process, since the allowance is the tenant's.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// The spacing of 2,000 calls a minute, which is the least that a tenant is allowed.
/// <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference#api-throttling>
const ALLOWANCE: Duration = Duration::from_millis(30);
/// A fortieth of that: as many instances as the deployment allows, each at its slowest, keep the tenant's allowance together.
/// What is still too fast then is put off by the retry loop and the queue.
const SLOWEST: Duration = Duration::from_millis(1200);
/// After each such time without complaint the spacing shrinks by a quarter.
const RECOVERY: Duration = Duration::from_secs(30);

/// The pace; none as long as there was no complaint.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Option<Slowed>>);

#[derive(Debug)]
struct Slowed {
    spacing: Duration,
    /// When the spacing was last changed.
    since: Instant,
    /// The next call's turn.
    next: Instant,
}

impl Pace {
    /// Waits for the caller's turn; answers when that was.
    pub(super) async fn turn(&self) -> Instant {
        let turn = self.next_turn(Instant::now());
        sleep_until(turn).await;
        turn
    }

    /// Halves the pace for a call that was sent at this time. Complaints about calls from before the last change are old news.
    pub(super) fn halve(&self, sent: Instant) {
        let mut pace = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pace.as_ref().is_some_and(|slowed| sent < slowed.since) {
            return;
        }
        let (spacing, next) = pace.as_ref().map_or((ALLOWANCE, sent), |slowed| (slowed.spacing, slowed.next));
        let spacing = (spacing * 2).min(SLOWEST);
        tracing::warn!(spacing_milliseconds = spacing.as_millis(), "the service says that calls come too fast; they are spaced out");
        let now = Instant::now();
        // Turns that were given out already stand.
        *pace = Some(Slowed { spacing, since: now, next: next.max(now + spacing) });
    }

    fn next_turn(&self, now: Instant) -> Instant {
        let mut pace = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slowed) = pace.as_mut() else { return now };
        while now >= slowed.since + RECOVERY {
            slowed.since += RECOVERY;
            slowed.spacing = slowed.spacing * 3 / 4;
        }
        if slowed.spacing < ALLOWANCE {
            *pace = None;
            return now;
        }
        let turn = slowed.next.max(now);
        slowed.next = turn + slowed.spacing;
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The spacing of calls that all want to be made at this time.
    fn spacing(pace: &Pace, now: Instant) -> Duration {
        let first = pace.next_turn(now);
        pace.next_turn(now) - first
    }

    #[test]
    fn nothing_is_held_back_without_a_complaint() {
        let (pace, now) = (Pace::default(), Instant::now());
        assert!((0..10_000).all(|_| pace.next_turn(now) == now));
    }

    #[test]
    fn each_complaint_halves_the_pace_down_to_a_fortieth_and_old_news_do_not() {
        let pace = Pace::default();
        for milliseconds in [60, 120, 240, 480, 960, 1200, 1200] {
            pace.halve(Instant::now());
            assert_eq!(spacing(&pace, Instant::now()), Duration::from_millis(milliseconds));
        }
        let pace = Pace::default();
        let sent = Instant::now();
        pace.halve(sent);
        pace.halve(sent - Duration::from_millis(1));
        assert_eq!(spacing(&pace, Instant::now()), Duration::from_millis(60));
    }

    #[test]
    fn all_instances_at_their_slowest_keep_the_tenants_allowance_together() {
        let template = include_str!("../../infra/main.bicep");
        let instances = template.split_once("param maximumInstances int = ").unwrap().1.lines().next().unwrap();
        assert!(ALLOWANCE * instances.parse().unwrap() <= SLOWEST, "{instances} instances");
    }

    #[test]
    fn turns_that_were_given_out_before_a_complaint_are_not_given_out_twice() {
        let (pace, now) = (Pace::default(), Instant::now());
        pace.halve(now);
        let last = (0..10).map(|_| pace.next_turn(now)).last().unwrap();
        pace.halve(Instant::now());
        assert!(pace.next_turn(Instant::now()) > last);
    }

    #[test]
    fn the_pace_recovers_over_minutes_until_nothing_is_held_back() {
        let pace = Pace::default();
        pace.halve(Instant::now());
        let after = |seconds| Instant::now() + Duration::from_secs(seconds);
        assert_eq!(spacing(&pace, after(29)), Duration::from_millis(60));
        assert_eq!(spacing(&pace, after(31)), Duration::from_millis(45));
        assert_eq!(spacing(&pace, after(91)), Duration::ZERO);
    }
}

//! Plans the windows that a run lists, from the checkpoint, the sweeps that ran, and now. Pure; [`super`] lists them.

use chrono::{DateTime, DurationRound, SubsecRound, TimeDelta, Utc};

use crate::{
    management_api::{LISTABLE, SETTLE, Window},
    state::{Sweeps, hour_of},
};

/// Distance that a plan keeps from the oldest listable time, so that the window can still be listed when its turn comes.
const EDGE: TimeDelta = TimeDelta::minutes(5);
/// Distance kept at the moment of listing: clocks differ, and requests take their time.
const LAST_EDGE: TimeDelta = TimeDelta::seconds(30);
/// Listed again at every run, for what became visible late.
const OVERLAP: TimeDelta = TimeDelta::hours(2);
/// Listed again hourly.
const SWEEP: TimeDelta = TimeDelta::hours(26);
const SWEEP_EVERY: TimeDelta = TimeDelta::hours(1);
/// All that can be listed is listed again this often.
const DEEP_SWEEP_EVERY: TimeDelta = TimeDelta::hours(12);
/// The longest window that the API takes. One that has more than a listing holds, or takes too much of a run, is halved.
const MAX_WINDOW: TimeDelta = TimeDelta::hours(24);

/// The windows of a run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Windows that move the checkpoint, oldest first; then those that only sweep, oldest first.
    pub(super) windows: Vec<Window>,
    /// The sweep among them, if one is due.
    pub(super) sweeping: Option<Sweeping>,
    /// The sweeps' times when every window is complete.
    pub(super) sweeps: Sweeps,
}

/// A sweep under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sweeping {
    /// True if it goes back as far as can be listed.
    pub(super) is_deep: bool,
    /// Everything before this is listed.
    reached: DateTime<Utc>,
}

impl Sweeping {
    /// After a complete window; what lies behind one that is not complete does not count.
    pub(super) fn past(self, window: Window) -> Self {
        if window.start == self.reached { Self { reached: window.end, ..self } } else { self }
    }

    /// The sweeps' times when this one is cut off here.
    pub(super) fn note(self, sweeps: Sweeps) -> Sweeps {
        let reached = Some(self.reached);
        if self.is_deep { Sweeps { deep_sweep_reached: reached, ..sweeps } } else { Sweeps { sweep_reached: reached, ..sweeps } }
    }
}

/// The oldest contentCreated that is planned for, in whole seconds.
pub(super) fn oldest_listable(now: DateTime<Utc>) -> DateTime<Utc> {
    (now - LISTABLE + EDGE).trunc_subsecs(0)
}

/// The part of a window that can still be listed when its turn comes: all of it, unless minutes went by since it was planned.
pub(super) fn still_listable(window: Window, now: DateTime<Utc>) -> Window {
    let oldest = (now - LISTABLE + LAST_EDGE).trunc_subsecs(0);
    Window { start: window.start.max(oldest), ..window }
}

/// The sweep that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sweep {
    None,
    /// Of the last 26 hours.
    Recent,
    /// Of all that can be listed.
    Full,
}

impl Sweep {
    fn due(ran: Sweeps, now: DateTime<Utc>) -> Self {
        let is_due = |last: Option<DateTime<Utc>>, every| last.is_none_or(|last| now - last >= every || last > now);
        match () {
            () if is_due(ran.deep_sweep, DEEP_SWEEP_EVERY) => Self::Full,
            () if is_due(ran.sweep, SWEEP_EVERY) => Self::Recent,
            () => Self::None,
        }
    }

    /// The time that a run lists back.
    fn reach(self) -> TimeDelta {
        match self {
            Self::None => OVERLAP,
            Self::Recent => SWEEP,
            Self::Full => LISTABLE,
        }
    }

    /// Where an earlier run had to stop sweeping.
    fn reached(self, ran: Sweeps) -> Option<DateTime<Utc>> {
        match self {
            Self::None => None,
            Self::Recent => ran.sweep_reached,
            Self::Full => ran.deep_sweep_reached,
        }
    }

    /// The sweeps' times when this one is complete. A full sweep is a recent one as well.
    fn done(self, ran: Sweeps, now: DateTime<Utc>) -> Sweeps {
        let recent = Sweeps { sweep: Some(now), sweep_reached: None, ..ran };
        match self {
            Self::None => ran,
            Self::Recent => recent,
            Self::Full => Sweeps { deep_sweep: Some(now), deep_sweep_reached: None, ..recent },
        }
    }
}

/// Forward from the checkpoint, and back as far as the overlap or the sweep that is due reaches.
pub(super) fn plan(checkpoint: DateTime<Utc>, ran: Sweeps, now: DateTime<Utc>) -> Plan {
    let sweep = Sweep::due(ran, now);
    // Neither what cannot be listed any more, nor what is from before the start that was chosen.
    let oldest = oldest_listable(now).max(ran.not_before.map_or(DateTime::UNIX_EPOCH, |start| start.trunc_subsecs(0)));
    let on_grid = |at| hour_of(at).max(oldest);
    let end = (now - SETTLE).trunc_subsecs(0);
    // What only sweeps is cut off from what moves the checkpoint: if a window of the one fails, the other goes on.
    let forward = on_grid(checkpoint).min(on_grid(now - OVERLAP));
    let behind = on_grid(now - sweep.reach()).max(sweep.reached(ran).unwrap_or(oldest)).min(forward);
    Plan {
        windows: tile(forward, end).into_iter().chain(tile(behind, forward)).collect(),
        sweeping: (sweep != Sweep::None).then_some(Sweeping { is_deep: sweep == Sweep::Full, reached: behind }),
        sweeps: sweep.done(ran, now),
    }
}

/// Cuts a range at midnights, UTC. A contentId can be a range itself, so the same cuts should come again at each run: a range
/// starts on a whole hour, and each further window at midnight. The last one is at least as long as the overlap if all is: what is
/// new is listed by one call, and packed together, at any time of day.
pub fn tile(start: DateTime<Utc>, end: DateTime<Utc>) -> Vec<Window> {
    let mut windows = Vec::new();
    let mut from = start;
    while from < end {
        let next = from.duration_trunc(MAX_WINDOW).unwrap_or(from) + MAX_WINDOW;
        let to = match () {
            () if end - from <= MAX_WINDOW => end,
            () if end - next < OVERLAP => next - OVERLAP,
            () => next,
        };
        windows.push(Window { start: from, end: to });
        from = to;
    }
    windows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::parse_utc;

    fn at(text: &str) -> DateTime<Utc> {
        parse_utc(text).unwrap()
    }

    fn swept(now: DateTime<Utc>) -> Sweeps {
        Sweeps { sweep: Some(now - TimeDelta::minutes(5)), deep_sweep: Some(now - TimeDelta::minutes(5)), ..Sweeps::default() }
    }

    #[test]
    fn a_run_in_steady_state_lists_one_window_that_overlaps_the_last_two_hours() {
        let now = at("2026-11-20T10:08:20.7Z");
        let plan = plan(at("2026-11-20T10:03:15Z"), swept(now), now);
        assert_eq!(plan.windows, [Window { start: at("2026-11-20T08:00:00Z"), end: at("2026-11-20T10:08:15Z") }]);
        assert_eq!(plan.sweeps, swept(now));
    }

    #[test]
    fn a_window_at_the_edge_stays_whole_for_minutes_and_then_gives_way() {
        let now = at("2026-11-20T10:08:20Z");
        let first = plan(oldest_listable(now), Sweeps::default(), now).windows[0];
        assert_eq!(still_listable(first, now + TimeDelta::minutes(4)), first);
        let late = now + TimeDelta::minutes(6);
        assert_eq!(still_listable(first, late), Window { start: late - LISTABLE + LAST_EDGE, ..first });
    }

    #[test]
    fn the_first_run_lists_seven_days_in_windows_cut_at_midnight() {
        let now = at("2026-11-20T10:08:20Z");
        let plan = plan(oldest_listable(now), Sweeps::default(), now);
        assert_eq!(plan.windows.len(), 8);
        assert_eq!(plan.windows[0].start, at("2026-11-13T10:13:20Z"));
        assert_eq!(plan.windows[1].start, at("2026-11-14T00:00:00Z"));
        assert_eq!(plan.sweeps, Sweeps { sweep: Some(now), deep_sweep: Some(now), ..Sweeps::default() });
    }

    #[test]
    fn a_sweep_that_is_due_lists_what_moves_the_checkpoint_first() {
        let now = at("2026-11-20T10:08:20Z");
        let ran = Sweeps { sweep: Some(now - TimeDelta::hours(2)), ..swept(now) };
        let plan = plan(at("2026-11-20T10:03:15Z"), ran, now);
        let starts: Vec<_> = plan.windows.iter().map(|window| window.start).collect();
        assert_eq!(starts, ["2026-11-20T08:00:00Z", "2026-11-19T08:00:00Z"].map(at));
        assert_eq!(plan.sweeps.sweep, Some(now));
    }

    #[test]
    fn what_is_new_is_in_one_window_at_any_time_of_day() {
        for minute in 0..24 * 60 {
            let now = at("2026-11-20T00:00:07Z") + TimeDelta::minutes(minute);
            assert_eq!(plan(now - TimeDelta::minutes(5), swept(now), now).windows.len(), 1, "{now}");
            let first_run = plan(oldest_listable(now), Sweeps::default(), now).windows;
            let last = first_run.last().unwrap();
            assert!(last.start <= last.end - OVERLAP, "{last:?}");
        }
    }

    #[test]
    fn a_sweep_that_was_cut_off_goes_on_after_its_last_complete_window() {
        let now = at("2026-11-20T10:08:20Z");
        let ran = Sweeps { deep_sweep: None, ..swept(now) };
        let first = plan(at("2026-11-20T10:03:15Z"), ran, now);
        let complete = [first.windows[0], first.windows[1], first.windows[2], first.windows[4]];
        let cut_off = complete.into_iter().fold(first.sweeping.unwrap(), Sweeping::past).note(ran);
        assert_eq!(cut_off, Sweeps { deep_sweep_reached: Some(first.windows[3].start), ..ran });
        let second = plan(at("2026-11-20T10:03:15Z"), cut_off, now);
        assert_eq!(second.windows[1..], first.windows[3..]);
        assert_eq!(second.sweeps, first.sweeps);
    }

    proptest! {
        #[test]
        fn windows_tile_without_hole_or_overlap_within_what_the_api_allows(
            now in 1_700_000_000_000_i64..1_900_000_000_000,
            behind in 0_i64..700_000,
            sweep in proptest::option::of(0_i64..100_000),
            deep in proptest::option::of(0_i64..100_000),
        ) {
            let now = DateTime::from_timestamp_millis(now).unwrap();
            let ago = |seconds| now - TimeDelta::seconds(seconds);
            let checkpoint = ago(behind).max(oldest_listable(now));
            let mut windows = plan(checkpoint, Sweeps { sweep: sweep.map(ago), deep_sweep: deep.map(ago), ..Sweeps::default() }, now).windows;
            windows.sort_by_key(|window| window.start);
            let (Some(first), Some(last)) = (windows.first(), windows.last()) else { panic!("no window") };
            prop_assert!(first.start <= checkpoint && first.start >= now - LISTABLE);
            prop_assert_eq!(last.end, (now - SETTLE).trunc_subsecs(0));
            prop_assert!(windows.windows(2).all(|pair| pair[0].end == pair[1].start));
            for window in &windows {
                prop_assert!(window.start < window.end && window.end - window.start <= MAX_WINDOW);
                prop_assert_eq!(window.start.timestamp_subsec_nanos() + window.end.timestamp_subsec_nanos(), 0);
            }
        }
    }
}

//! Which windows a run lists: pure functions of the checkpoint, the sweeps that ran, and now. Listing them is next door.

use chrono::{DateTime, Days, NaiveTime, SubsecRound, TimeDelta, Utc};

use crate::{
    activity::{LISTABLE, Window},
    state::{Sweeps, hour_of},
};

/// The newest seconds are left for the next run: a listing may still be settling there.
const SETTLE: TimeDelta = TimeDelta::seconds(5);
/// Kept from the oldest listable time, so that it is still listable when its turn comes.
const EDGE: TimeDelta = TimeDelta::minutes(5);
/// What is left of that edge at the last moment: clocks differ, and requests take their time.
const LAST_EDGE: TimeDelta = TimeDelta::seconds(30);
/// Listed again at every run, for what became visible late.
const OVERLAP: TimeDelta = TimeDelta::hours(2);
/// Listed again hourly.
const SWEEP: TimeDelta = TimeDelta::hours(26);
const SWEEP_EVERY: TimeDelta = TimeDelta::hours(1);
/// All that can be listed is listed again this often.
const DEEP_SWEEP_EVERY: TimeDelta = TimeDelta::hours(12);

/// What a run lists.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Windows that move the checkpoint, oldest first; then those that only sweep, oldest first.
    pub(super) windows: Vec<Window>,
    /// What the sweeps' times become when every window is complete.
    pub(super) sweeps: Sweeps,
}

/// The oldest contentCreated that is planned for, in whole seconds.
pub(super) fn oldest_listable(now: DateTime<Utc>) -> DateTime<Utc> {
    (now - LISTABLE + EDGE).trunc_subsecs(0)
}

/// What of a window can still be asked for when its turn comes: all of it, unless minutes went by since it was planned.
pub(super) fn still_listable(window: Window, now: DateTime<Utc>) -> Window {
    let oldest = (now - LISTABLE + LAST_EDGE).trunc_subsecs(0);
    Window { start: window.start.max(oldest), ..window }
}

/// Forward from the checkpoint, and back as far as the overlap or a sweep that is due reaches.
pub(super) fn plan(checkpoint: DateTime<Utc>, ran: Sweeps, now: DateTime<Utc>) -> Plan {
    let due = |last: Option<DateTime<Utc>>, every| last.is_none_or(|last| now - last >= every || last > now);
    let deep = due(ran.deep_sweep, DEEP_SWEEP_EVERY);
    let sweep = deep || due(ran.sweep, SWEEP_EVERY);
    let back = match (deep, sweep) {
        (true, _) => LISTABLE,
        (false, true) => SWEEP,
        (false, false) => OVERLAP,
    };
    let oldest = oldest_listable(now);
    let on_grid = |at| hour_of(at).max(oldest);
    let end = (now - SETTLE).trunc_subsecs(0);
    // What only sweeps is cut off from what moves the checkpoint: trouble in the one holds back nothing of the other.
    let forward = on_grid(checkpoint).min(on_grid(now - OVERLAP));
    let behind = on_grid(now - back).min(forward);
    Plan {
        windows: tile(forward, end).into_iter().chain(tile(behind, forward)).collect(),
        sweeps: Sweeps { sweep: if sweep { Some(now) } else { ran.sweep }, deep_sweep: if deep { Some(now) } else { ran.deep_sweep } },
    }
}

/// Cuts a range at every UTC midnight. A contentId can be a range itself, so the same cuts should come again at each run:
/// a range starts on a whole hour, and each further window on a midnight.
fn tile(start: DateTime<Utc>, end: DateTime<Utc>) -> Vec<Window> {
    let mut windows = Vec::new();
    let mut from = start;
    while from < end {
        let midnight = (from.date_naive() + Days::new(1)).and_time(NaiveTime::MIN).and_utc();
        let to = midnight.min(end);
        windows.push(Window { start: from, end: to });
        from = to;
    }
    windows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::activity::parse_utc;

    fn at(text: &str) -> DateTime<Utc> {
        parse_utc(text).unwrap()
    }

    fn swept(now: DateTime<Utc>) -> Sweeps {
        Sweeps { sweep: Some(now - TimeDelta::minutes(5)), deep_sweep: Some(now - TimeDelta::minutes(5)) }
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
        assert_eq!(plan.sweeps, Sweeps { sweep: Some(now), deep_sweep: Some(now) });
    }

    #[test]
    fn a_sweep_that_is_due_lists_what_moves_the_checkpoint_first() {
        let now = at("2026-11-20T10:08:20Z");
        let ran = Sweeps { sweep: Some(now - TimeDelta::hours(2)), ..swept(now) };
        let plan = plan(at("2026-11-20T10:03:15Z"), ran, now);
        let starts: Vec<_> = plan.windows.iter().map(|window| window.start).collect();
        assert_eq!(starts, [at("2026-11-20T08:00:00Z"), at("2026-11-19T08:00:00Z"), at("2026-11-20T00:00:00Z")]);
        assert_eq!(plan.sweeps.sweep, Some(now));
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
            let mut windows = plan(checkpoint, Sweeps { sweep: sweep.map(ago), deep_sweep: deep.map(ago) }, now).windows;
            windows.sort_by_key(|window| window.start);
            let (Some(first), Some(last)) = (windows.first(), windows.last()) else { panic!("no window") };
            prop_assert!(first.start <= checkpoint && first.start >= now - LISTABLE);
            prop_assert_eq!(last.end, (now - SETTLE).trunc_subsecs(0));
            prop_assert!(windows.windows(2).all(|pair| pair[0].end == pair[1].start));
            for window in &windows {
                prop_assert!(window.start < window.end && window.end - window.start <= TimeDelta::hours(24));
                prop_assert_eq!(window.start.timestamp_subsec_nanos() + window.end.timestamp_subsec_nanos(), 0);
            }
        }
    }
}

//! Readings of a window's queries, joined by id: a window is proven only when two readings in a row each had every record that any
//! of them had. Holds a few bytes a record, never the record.

use std::collections::{BTreeMap, BTreeSet};

use super::clean::{Key, Record};
use super::ledger::Pass;
use super::window::Window;

/// Ids of rows without a record that are named.
const MAX_NAMED: usize = 20;

/// All records that any reading of a window had.
#[derive(Default)]
pub(super) struct Union {
    records: BTreeMap<Key, Seen>,
    /// Of records that were not asked for: they prove nothing.
    outside: BTreeSet<Key>,
    oddities: Oddities,
    /// Of the records, in the window itself and not only in its overlap with a neighbour.
    inside: u64,
    current: u8,
    /// Of the reading under way.
    count: u64,
    sum: u128,
    rows: u64,
    pages: u64,
    /// Different records of the reading before.
    before: Option<u64>,
}

/// What is remembered of a record.
struct Seen {
    body: [u8; 7],
    /// The last reading that had it.
    reading: u8,
}

/// What was odd, each record counted once.
#[derive(Clone, Debug, Default)]
pub(super) struct Oddities {
    pub(super) unlike: u64,
    pub(super) outside: u64,
    pub(super) no_object: u64,
    /// Records that came with another body.
    pub(super) bodies: BTreeSet<Key>,
    /// Envelopes without a record, by their ids.
    pub(super) nothing: BTreeSet<String>,
    pub(super) nothing_count: u64,
}

impl Union {
    /// Begins a reading from the first page.
    pub(super) fn begin(&mut self) {
        self.current = self.current.wrapping_add(1);
        (self.count, self.sum, self.rows, self.pages) = (0, 0, 0, 0);
    }

    /// A page of so many rows came.
    pub(super) fn page(&mut self, rows: usize) {
        self.pages += 1;
        self.rows += rows as u64;
    }

    /// Takes a record in. True if no reading had it before.
    pub(super) fn take(&mut self, record: &Record, window: Window) -> bool {
        if record.event.is_some_and(|event| !window.is_asked(event)) {
            let is_new = self.outside.insert(record.key);
            self.oddities.outside += u64::from(is_new);
            return is_new;
        }
        let is_new = match self.records.get_mut(&record.key) {
            None => {
                self.records.insert(record.key, Seen { body: record.body, reading: self.current });
                self.inside += u64::from(record.event.is_none_or(|event| window.from <= event && event < window.to));
                self.oddities.unlike += u64::from(record.is_unlike);
                self.oddities.no_object += u64::from(record.is_no_object);
                true
            }
            Some(seen) => {
                if seen.body != record.body {
                    self.oddities.bodies.insert(record.key);
                }
                if seen.reading == self.current {
                    return false;
                }
                seen.reading = self.current;
                false
            }
        };
        self.count += 1;
        self.sum = self.sum.wrapping_add(u128::from_be_bytes(record.key));
        is_new
    }

    /// An envelope held nothing.
    pub(super) fn nothing(&mut self, id: &str) {
        if self.oddities.nothing.len() < MAX_NAMED {
            self.oddities.nothing.insert(id.to_owned());
        }
        self.oddities.nothing_count = self.oddities.nothing_count.max(self.oddities.nothing.len() as u64);
    }

    /// Ends a reading that came to its last page. True beside it if this and the one before were both whole.
    pub(super) fn end(&mut self) -> (Pass, bool) {
        let all = self.records.len() as u64;
        let is_whole = self.count == all;
        let is_settled = is_whole && self.before == Some(all);
        self.before = Some(self.count);
        let pass = Pass { pages: self.pages, rows: self.rows, ids: self.count, digest: format!("{:032x}", self.sum), is_whole };
        (pass, is_settled)
    }

    /// A reading that broke off is no reading.
    pub(super) fn broke_off(&mut self) {
        self.before = None;
    }

    /// Different records.
    pub(super) fn len(&self) -> u64 {
        self.records.len() as u64
    }

    /// Different records of the window itself.
    pub(super) fn inside(&self) -> u64 {
        self.inside
    }

    pub(super) fn oddities(&self) -> &Oddities {
        &self.oddities
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use handler::clock::parse_utc;

    use super::*;

    fn window() -> Window {
        Window { from: parse_utc("2026-11-20T00:00:00Z").unwrap(), to: parse_utc("2026-11-21T00:00:00Z").unwrap() }
    }

    fn record(number: u8) -> Record {
        Record { text: String::new(), key: [number; 16], body: [0; 7], event: None, is_unlike: false, is_no_object: false }
    }

    fn read(union: &mut Union, numbers: impl IntoIterator<Item = u8>) -> (Pass, bool) {
        union.begin();
        for number in numbers {
            union.take(&record(number), window());
        }
        union.end()
    }

    #[test]
    fn two_whole_readings_in_a_row_settle_it_in_whatever_order_they_came() {
        let mut union = Union::default();
        let (one, is_settled) = read(&mut union, [3, 1, 2, 1]);
        assert!(one.is_whole && !is_settled);
        let (other, is_settled) = read(&mut union, [1, 2, 3]);
        assert!(is_settled);
        assert_eq!((one.digest, one.ids), (other.digest, other.ids));
    }

    #[test]
    fn a_reading_that_leaves_rows_out_is_found_whichever_it_is() {
        let mut union = Union::default();
        assert!(!read(&mut union, [1, 2]).1);
        assert!(!read(&mut union, [1, 2, 3]).1, "the first was not whole");
        assert!(!read(&mut union, [1, 3]).1);
        assert!(!read(&mut union, [2, 3]).1, "as many, and others");
        assert!(!read(&mut union, [1, 2, 3]).1);
        assert!(read(&mut union, [1, 2, 3]).1);
    }

    #[test]
    fn what_was_not_asked_for_proves_nothing_and_another_body_is_told() {
        let mut union = Union::default();
        union.begin();
        assert!(union.take(&Record { event: parse_utc("2026-11-22T00:00:00Z"), ..record(1) }, window()));
        assert!(union.take(&record(2), window()));
        assert!(!union.take(&Record { body: [1; 7], ..record(2) }, window()));
        assert_eq!((union.end().0.ids, union.oddities().outside, union.oddities().bodies.len()), (1, 1, 1));
    }
}

//! A long series of records, of which each is made when it is served: content for measurements that would not fit in memory.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

/// Records that are told apart by a number. The same number is the same record, and some numbers repeat an earlier record.
#[derive(Debug)]
pub struct Series {
    /// JSON texts of records, with `{id}` and `{time}` in the place of their Id and CreationTime.
    templates: Vec<String>,
    /// How many of a hundred records repeat an earlier one.
    repeats: u64,
    /// When the first record was created, and how much later each further one.
    start: DateTime<Utc>,
    step: TimeDelta,
}

impl Series {
    /// A series of records shaped like these. Those that are no JSON object are left out.
    pub fn new(shapes: &[String], repeats: u64, start: DateTime<Utc>, step: TimeDelta) -> Self {
        let template = |shape: &String| {
            let mut record: Value = serde_json::from_str(shape).ok()?;
            let fields = record.as_object_mut()?;
            fields.insert("Id".to_owned(), "{id}".into());
            fields.insert("CreationTime".to_owned(), "{time}".into());
            Some(record.to_string())
        };
        Self { templates: shapes.iter().filter_map(template).collect(), repeats, start, step }
    }

    /// Which record stands at a place of the series: its own, or an earlier one anywhere before it.
    fn original(&self, mut number: u64) -> u64 {
        while number > 0 && spread(number) % 100 < self.repeats {
            number = spread(number ^ u64::MAX) % number;
        }
        number
    }

    /// The record at a place of the series.
    pub fn record(&self, number: u64) -> String {
        let number = self.original(number);
        let Some(template) = self.templates.get(number as usize % self.templates.len().max(1)) else { return "{}".to_owned() };
        let time = self.start + self.step * i32::try_from(number).unwrap_or(i32::MAX);
        let id = format!("{:08x}-0000-4000-8000-{number:012x}", spread(number) as u32);
        template.replace("{id}", &id).replace("{time}", &time.format("%Y-%m-%dT%H:%M:%S").to_string())
    }
}

/// Spreads numbers as if by chance: splitmix64.
fn spread(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn so_many_of_a_hundred_repeat_an_earlier_record() {
        let shapes = [r#"{"Id":"a","CreationTime":"b","X":1}"#.to_owned()];
        for (repeats, expected) in [(0, 10_000..=10_000), (44, 5_400..=5_800)] {
            let series = Series::new(&shapes, repeats, Utc::now(), TimeDelta::milliseconds(50));
            let records: HashSet<String> = (0..10_000).map(|number| series.record(number)).collect();
            assert!(expected.contains(&records.len()), "{} of {repeats}", records.len());
        }
    }
}

//! The timer's schedule, an NCRONTAB expression. The host reads it; it is checked here because a typo in it silences the
//! collector.
//! <https://learn.microsoft.com/azure/azure-functions/functions-bindings-timer#ncrontab-expressions>

use chrono::Utc;
use croner::parser::{CronParser, Seconds, Year};

use super::vars::Vars;

const MONTHS: [&str; 12] =
    ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];
const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

/// The six fields: names of values, the first value, the last one.
const FIELDS: [(&[&str], u8, u8); 6] = [(&[], 0, 59), (&[], 0, 59), (&[], 0, 23), (&[], 1, 31), (&MONTHS, 1, 12), (&WEEKDAYS, 0, 6)];

pub(super) fn read(vars: &mut Vars<'_>) -> Option<String> {
    vars.parsed("SCHEDULE", "0 */5 * * * *", "an NCRONTAB expression of six fields", |text: &String| is_ncrontab(text))
}

/// True if the host accepts an expression, and there is a time at which it fires.
fn is_ncrontab(text: &str) -> bool {
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return false;
    }
    let fields: Option<Vec<String>> =
        fields.iter().zip(FIELDS).map(|(field, (names, first, last))| cron_field(field, names, first, last)).collect();
    // NCRONTAB fires on days that fit both the day and the weekday; most other dialects are content with one.
    let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Disallowed).dom_and_dow(true).build();
    fields
        .and_then(|fields| parser.parse(&fields.join(" ")).ok())
        .is_some_and(|schedule| schedule.find_next_occurrence(&Utc::now(), false).is_ok())
}

/// A field in the form that all dialects share: names as numbers, ranges upwards.
fn cron_field(field: &str, names: &[&str], first: u8, last: u8) -> Option<String> {
    let parts = field.split(',').map(|part| {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let range = match range.split_once('-') {
            _ if range == "*" => "*".to_owned(),
            None => value(range, names, first, last)?.to_string(),
            Some((from, to)) => {
                let (from, to) = (value(from, names, first, last)?, value(to, names, first, last)?);
                // NCRONTAB turns a range around that runs backwards.
                format!("{}-{}", from.min(to), from.max(to))
            }
        };
        match step {
            None => Some(range),
            // NCRONTAB reads `5/10` as `5-59/10`.
            Some(step) if is_number(step) && is_number(&range) => Some(format!("{range}-{last}/{step}")),
            Some(step) => is_number(step).then(|| format!("{range}/{step}")),
        }
    });
    parts.collect::<Option<Vec<_>>>().map(|parts| parts.join(","))
}

/// A number, or the beginning of a name.
fn value(text: &str, names: &[&str], first: u8, last: u8) -> Option<u8> {
    let value = if is_number(text) {
        text.parse().ok()?
    } else {
        let text = text.to_ascii_lowercase();
        let at = names.iter().position(|name| !text.is_empty() && name.starts_with(&text))?;
        first + u8::try_from(at).ok()?
    };
    (first..=last).contains(&value).then_some(value)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_that_the_host_takes_is_taken() {
        for text in [
            "0 */5 * * * *",
            "*/30 * * * * *",
            "0 0 9-17 * * *",
            "0 0 17-9 * * *",
            "0 30 9 * Jan Mon",
            "0 30 9 * january-MARCH Monday,fri",
            "0 0,30 8/2 1,15 * *",
            "  0  0 5 1-31/5 * 0 ",
            "0 0 0 29 2 *",
            "0 0 0 13 * Fri",
        ] {
            assert!(is_ncrontab(text), "{text}");
        }
    }

    /// Taken out: by its shape alone, `99 99 99 99 99 99` passes, and the timer never fires.
    #[test]
    fn a_schedule_that_the_host_refuses_or_that_never_comes_is_refused() {
        for text in [
            "",
            "every day",
            "*/5 * * * *",
            "0 */5 * * * * *",
            "00:05:00",
            "@hourly",
            "99 99 99 99 99 99",
            "* * * * * MONN",
            "60 0 0 * * *",
            "0 0 24 * * *",
            "0 0 0 0 * *",
            "0 0 0 * 13 *",
            // 7 is no Sunday for NCRONTAB, and these signs are other dialects'.
            "0 0 0 * * 7",
            "0 0 0 ? * *",
            "0 0 0 L * *",
            "0 0 0 * * 5#1",
            "0 0 0 15W * *",
            "0 0 +5 * * *",
            "0 Jan 0 * * *",
            "0 */ * * * *",
            "0 , * * * *",
            "0 1- * * * *",
            // These days do not come.
            "0 0 0 30 2 *",
            "0 0 0 31 Apr,Jun,Sep,Nov *",
        ] {
            assert!(!is_ncrontab(text), "{text}");
        }
    }
}

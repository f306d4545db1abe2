//! The lines that the handler prints while it serves: JSON, each on the stream by which the Functions host tells how loud it is.
//! <https://learn.microsoft.com/azure/azure-functions/functions-custom-handlers>

use std::{
    fmt,
    io::{self, Write, stderr, stdout},
};

use tracing::{Level, Metadata};
use tracing_subscriber::{Layer, filter::Targets, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};

/// Sends what is logged from now on to its stream. The host logs a line of stdout as Information, whatever it says, and a line of
/// stderr as Warning if it holds the word "warn", else as Error.
pub fn start() {
    let levels = Targets::new().with_default(Level::WARN).with_target("handler", Level::INFO);
    let lines =
        tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(Streams).log_internal_errors(false).with_filter(levels);
    tracing_subscriber::registry().with(lines).init();
    // Where it was, and not what it says: that may be a record's text.
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(at, "a panic, which is a fault of the handler's own");
    }));
}

/// Prints a line of JSON that the host is to log as Information. A reader who has gone is no trouble: the work is done.
pub fn information(line: &str) {
    let _ = writeln!(stdout(), "{line}");
}

/// A count of something, as a sentence has it.
pub(crate) fn counted<N: PartialEq + From<u8> + fmt::Display>(count: N, what: &str) -> String {
    let s = if count == N::from(1) { "" } else { "s" };
    format!("{count} {what}{s}")
}

/// Chooses the stream by the level.
struct Streams;

impl MakeWriter<'_> for Streams {
    type Writer = Stream;

    fn make_writer(&self) -> Stream {
        Stream(Level::INFO)
    }

    fn make_writer_for(&self, line: &Metadata<'_>) -> Stream {
        Stream(*line.level())
    }
}

/// Takes one whole line.
struct Stream(Level);

impl Write for Stream {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.0 {
            Level::ERROR => stderr().write_all(&without_warn(line))?,
            // Its level is the word.
            Level::WARN => stderr().write_all(line)?,
            _ => stdout().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// JSON that parses to the same, and in which nobody finds the word "warn" in any letter case: its first letter is escaped.
fn without_warn(json: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(json.len());
    for (at, byte) in json.iter().enumerate() {
        match byte {
            b'w' | b'W' if json[at..].get(..4).is_some_and(|word| word.eq_ignore_ascii_case(b"warn")) => {
                escaped.extend(format!("\\u00{byte:02x}").bytes());
            }
            _ => escaped.push(*byte),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    proptest! {
        #[test]
        fn an_error_that_speaks_of_a_warning_is_no_warning_and_says_the_same(text in r#"([wW][aA][rR][nN]|[wWaArRnN\\"/u07\n]|.){0,20}"#) {
            let said = json!({"error": text, text.as_str(): [text.as_str()]});
            let printed = String::from_utf8(without_warn(said.to_string().as_bytes())).unwrap();
            prop_assert!(!printed.to_lowercase().contains("warn"), "{printed}");
            prop_assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), said);
        }
    }

    #[test]
    fn the_first_letter_of_the_word_is_escaped_and_nothing_else() {
        let printed = without_warn(br#"{"a":"Warned: WARN warn wa rn"}"#);
        assert_eq!(String::from_utf8(printed).unwrap(), r#"{"a":"\u0057arned: \u0057ARN \u0077arn wa rn"}"#);
    }
}

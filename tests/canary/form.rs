//! Records that hold a matched value, in any form that a list of choices leads to. The property and the fuzz target share them.

/// Decisions, read off some bytes; when those are used up, always the first.
pub(crate) struct Choices<'a>(pub(crate) &'a [u8]);

impl Choices<'_> {
    /// One of so many.
    fn next(&mut self, count: u8) -> u8 {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                byte % count
            }
            None => 0,
        }
    }
}

/// The JSON text of a record that holds this value as one that data loss prevention matched.
pub(crate) fn record(choices: &mut Choices<'_>, canary: &str) -> String {
    let mut value = matched(choices, canary);
    for _ in 0..choices.next(6) {
        value = wrapped(choices, &value);
    }
    let own = ["", r#""Id":"5c7e0f5e","#, r#""CreationTime":"2026-11-20T10:00:00","#][usize::from(choices.next(3))];
    format!(r#"{{{own}"Operation":"DlpRuleMatch","Field":{value}}}"#)
}

/// An object with a member that names matched values.
fn matched(choices: &mut Choices<'_>, canary: &str) -> String {
    let value = text(choices, canary);
    let context = text(choices, &format!("before {canary} after"));
    let element = match choices.next(5) {
        0 => value,
        1 => format!(r#"{{"Name":{value},"Value":{context}}}"#),
        2 => format!(r#"{{"Value":{value} , "Context":{context}}}"#),
        3 => format!("[{value}]"),
        _ => format!(r#"{{"x":{{"y":[{value}]}}}}"#),
    };
    let all = match choices.next(5) {
        0 => format!("[{element}]"),
        1 => format!("[ {element}, {element} ]"),
        2 => text(choices, &format!("[{element}]")),
        3 if element.starts_with('{') => text(choices, &element),
        _ => element,
    };
    let name = ["DetectedValues", "detectedValues", "DETECTEDVALUES"][usize::from(choices.next(3))];
    let detected = text(choices, name);
    let endpoint = text(choices, "SensitiveInformationDetectionsInfo");
    match choices.next(4) {
        0 | 1 => format!("{{{detected}:{all}}}"),
        2 => format!(r#"{{"Count":1,{endpoint}:{{{detected}:{all}}}}}"#),
        _ => format!(r#"{{"Count":1,{endpoint}:{all}}}"#),
    }
}

/// The value inside another.
fn wrapped(choices: &mut Choices<'_>, value: &str) -> String {
    match choices.next(7) {
        0 => format!(r#"{{"A":{value}}}"#),
        1 => format!("[1, {value}]"),
        2 => text(choices, value),
        3 => text(choices, &format!("alert {value}")),
        4 => text(choices, &format!("{value} and so on")),
        // Cut off, as services do with what is too long for a field.
        5 => text(choices, value.trim_end_matches(['}', ']', '"'])),
        _ => format!(r#"{{"A":1,"B":{value},"B":null}}"#),
    }
}

/// A JSON string, some of its letters escaped.
fn text(choices: &mut Choices<'_>, content: &str) -> String {
    let step = usize::from(choices.next(5));
    let mut json = String::from('"');
    for (at, letter) in content.chars().enumerate() {
        match letter {
            letter if letter.is_ascii() && step > 0 && at % (step * step) == 0 => json.push_str(&format!("\\u{:04x}", u32::from(letter))),
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            letter if letter.is_control() => json.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => json.push(letter),
        }
    }
    json.push('"');
    json
}

/// Whether a text holds this one, plain or with any of its letters in escapes, in however many layers.
pub(crate) fn holds(text: &str, canary: &str) -> bool {
    let mut flat = text.to_owned();
    loop {
        if flat.contains(canary) {
            return true;
        }
        let next = without_escapes(&flat);
        if next == flat {
            return false;
        }
        flat = next;
    }
}

/// One layer of escapes less: `\u0041` is its letter, any other backslash is gone.
fn without_escapes(text: &str) -> String {
    let (mut rest, mut read) = (text, String::with_capacity(text.len()));
    while let Some(at) = rest.find('\\') {
        read.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let letter = rest.strip_prefix('u').and_then(|digits| u32::from_str_radix(digits.get(..4)?, 16).ok()).and_then(char::from_u32);
        match letter {
            Some(letter) => {
                read.push(letter);
                rest = &rest[5..];
            }
            None => {
                // What is escaped is taken as it is, or two backslashes would become none.
                if let Some(letter) = rest.chars().next() {
                    read.push(letter);
                    rest = &rest[letter.len_utf8()..];
                }
            }
        }
    }
    read.push_str(rest);
    read
}

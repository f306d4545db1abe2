//! Writes texts as JSON strings to the end of other JSON.

use std::fmt::Write;

/// Writes a text as a JSON string.
pub(super) fn write_quoted(json: &mut String, text: &str) {
    json.push('"');
    // Without a way out, which the compiler makes one pass over many bytes at once.
    if text.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
        json.push_str(text);
    } else {
        write_escaped(json, text);
    }
    json.push('"');
}

fn write_escaped(json: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| !is_plain(byte)) {
        json.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => json.push_str("\\\""),
            b'\\' => json.push_str("\\\\"),
            // Writing into a string cannot fail.
            control => _ = write!(json, "\\u{control:04x}"),
        }
        rest = &rest[at + 1..];
    }
    json.push_str(rest);
}

const fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte != b'"' && byte != b'\\'
}

//! Text as it is: characters that a reader cannot see, or that turn around what is read, are shown by their number.

use std::borrow::Cow;

/// Whether a character has no look of its own, or changes that of others: controls, what joins or parts without a mark, what
/// changes the direction, fillers, variation selectors and tags. The page's `visible.ts` has the same.
/// <https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters>, <https://www.unicode.org/reports/tr36/>
pub(crate) fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// `a\u{202e}b` for what would look like something else.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// JSON that says the same, its hidden characters as escapes: they can stand within its strings only.
pub(crate) fn visible_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_hidden) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_hidden(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| shown.push_str(&format!("\\u{unit:04x}")));
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_cannot_be_seen_is_shown_and_all_else_stays() {
        assert_eq!(visible("gpj\u{202e}.exe\u{200b}\n"), "gpj\\u{202e}.exe\\u{200b}\\u{a}");
        for plain in ["megan@contoso.example", "Žaneta Müller, 山田太郎, محمد", "👩 C:\\x y"] {
            assert!(matches!(visible(plain), Cow::Borrowed(text) if text == plain), "{plain}");
        }
    }

    #[test]
    fn json_says_the_same_as_before() {
        let value = json!({"a\u{202e}": "x\u{e0041}\u{9b}\u{feff}y", "b": ["\n"]});
        let shown = visible_json(&value.to_string()).into_owned();
        assert!(!shown.contains(is_hidden), "{shown}");
        assert_eq!(serde_json::from_str::<Value>(&shown).ok(), Some(value));
    }
}

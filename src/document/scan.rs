//! Finds the fields of a JSON object in one pass that takes nothing but valid JSON. What it takes is what `serde_json` takes, which
//! tests hold it to; it is several times as fast, since it makes nothing of the values.

use std::borrow::Cow;

use memchr::memchr2;
use smallvec::SmallVec;

use super::records::{MAX_NUMBER, RecordFlags};

/// A pass over a JSON text.
pub(super) struct Scan<'a> {
    json: &'a str,
    at: usize,
    /// Somewhere stands a control character; in a string it would be wrong. Nearly all records have none.
    has_controls: bool,
    flags: RecordFlags,
}

impl<'a> Scan<'a> {
    pub(super) fn new(json: &'a str) -> Self {
        // Without a way out, which the compiler makes one pass over many bytes at once.
        let has_controls = json.bytes().fold(false, |found, byte| found | (byte < b' '));
        Self { json, at: 0, has_controls, flags: RecordFlags::default() }
    }

    /// Hands out the name and the value of each field, and both as they stand, with what is between them. None where the text is no
    /// object, or no valid JSON.
    pub(super) fn object(mut self, field: impl FnMut(Cow<'a, str>, &'a str, &'a str)) -> Option<()> {
        self.object_here(field)?;
        self.peek().is_none().then_some(())
    }

    /// The same of the object that begins at a position, whatever follows it; returns that object and what was noticed of it.
    pub(super) fn object_at(&mut self, at: usize, field: impl FnMut(Cow<'a, str>, &'a str, &'a str)) -> Option<(&'a str, RecordFlags)> {
        self.at = at;
        self.flags = RecordFlags { depth: 1, ..RecordFlags::default() };
        self.object_here(field)?;
        Some((&self.json[at..self.at], self.flags))
    }

    fn object_here(&mut self, mut field: impl FnMut(Cow<'a, str>, &'a str, &'a str)) -> Option<()> {
        if self.next()? != b'{' {
            return None;
        }
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            self.peek()?;
            let whole = self.at;
            let name = self.name()?;
            self.peek()?;
            let start = self.at;
            self.value()?;
            field(name, &self.json[start..self.at], &self.json[whole..self.at]);
            match self.next()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// A name and its colon.
    fn name(&mut self) -> Option<Cow<'a, str>> {
        if self.next()? != b'"' {
            return None;
        }
        let start = self.at;
        let has_escapes = self.string()?;
        let name = &self.json[start..self.at - 1];
        // One that is no valid Unicode is refused.
        let name = if has_escapes { Cow::Owned(serde_json::from_str(&self.json[start - 1..self.at]).ok()?) } else { Cow::Borrowed(name) };
        (self.next()? == b':').then_some(name)
    }

    /// A value, however deep it nests.
    fn value(&mut self) -> Option<()> {
        let mut closing: SmallVec<[u8; 32]> = SmallVec::new();
        loop {
            let is_opened = match self.next()? {
                b'"' => self.string().map(|_| false)?,
                b'{' => {
                    closing.push(b'}');
                    true
                }
                b'[' => {
                    closing.push(b']');
                    true
                }
                b't' => self.word("rue")?,
                b'f' => self.word("alse")?,
                b'n' => self.word("ull")?,
                first @ (b'-' | b'0'..=b'9') => self.number(first)?,
                _ => return None,
            };
            if is_opened {
                self.flags.depth = self.flags.depth.max(closing.len() + 1);
                let last = *closing.last()?;
                if self.peek()? != last {
                    if last == b'}' {
                        self.any_name()?;
                    }
                    continue;
                }
            }
            // A value has ended, and with it perhaps what it is in.
            loop {
                let Some(last) = closing.last().copied() else { return Some(()) };
                match self.next()? {
                    b',' if last == b'}' => break self.any_name()?,
                    b',' => break,
                    byte if byte == last => drop(closing.pop()),
                    _ => return None,
                }
            }
        }
    }

    /// A name inside a value, which nobody asks for.
    fn any_name(&mut self) -> Option<()> {
        if self.next()? != b'"' {
            return None;
        }
        self.string()?;
        (self.next()? == b':').then_some(())
    }

    /// The rest of a string, after its first quote. True if it has escapes.
    fn string(&mut self) -> Option<bool> {
        let (start, mut has_escapes) = (self.at, false);
        loop {
            let rest = &self.json.as_bytes()[self.at..];
            let found = memchr2(b'"', b'\\', rest)?;
            self.at += found + 1;
            if rest[found] == b'"' {
                let is_plain = !self.has_controls || self.json.as_bytes()[start..self.at].iter().all(|byte| *byte >= b' ');
                return is_plain.then_some(has_escapes);
            }
            has_escapes = true;
            let rest = &rest[found + 1..];
            self.at += match rest.first()? {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 1,
                b'u' if rest.get(1..5)?.iter().all(u8::is_ascii_hexdigit) => {
                    self.flags.surrogates |= matches!(rest[1..3], [b'd' | b'D', b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F']);
                    5
                }
                _ => return None,
            };
        }
    }

    /// The rest of `true`, `false` or `null`.
    fn word(&mut self, rest: &str) -> Option<bool> {
        self.json.as_bytes()[self.at..].starts_with(rest.as_bytes()).then(|| {
            self.at += rest.len();
            false
        })
    }

    /// The rest of a number.
    fn number(&mut self, first: u8) -> Option<bool> {
        let start = self.at - 1;
        let first = if first == b'-' { self.byte()? } else { first };
        match first {
            // No other digit follows a zero.
            b'0' => {}
            b'1'..=b'9' => drop(self.digits()),
            _ => return None,
        }
        if self.here() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.here() {
            self.flags.long_numbers = true;
            self.at += 1;
            if let Some(b'+' | b'-') = self.here() {
                self.at += 1;
            }
            self.digits()?;
        }
        self.flags.long_numbers |= self.at - start > MAX_NUMBER;
        Some(false)
    }

    /// One digit or more.
    fn digits(&mut self) -> Option<()> {
        let count = self.json.as_bytes()[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        (count > 0).then_some(())
    }

    fn here(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    fn byte(&mut self) -> Option<u8> {
        self.here().inspect(|_| self.at += 1)
    }

    /// The next byte that is no space; stays before it.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.here() {
            self.at += 1;
        }
        self.here()
    }

    /// The same, and goes behind it.
    fn next(&mut self) -> Option<u8> {
        self.peek().inspect(|_| self.at += 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::value::RawValue;

    use super::*;

    /// Names and values as they stand; none of what is refused.
    type Found = Option<Vec<(String, String)>>;

    /// What this finds, and what `serde_json` finds.
    fn both(json: &str) -> (Found, Found) {
        let mut found = Vec::new();
        let is_valid = Scan::new(json).object(|name, value, _| found.push((name.into_owned(), value.to_owned()))).is_some();
        (is_valid.then_some(found), by_serde_json(json))
    }

    fn by_serde_json(json: &str) -> Found {
        #[derive(Deserialize)]
        struct Name(String);
        struct Members(Vec<(String, String)>);
        impl<'de> Deserialize<'de> for Members {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Object;
                impl<'de> serde::de::Visitor<'de> for Object {
                    type Value = Members;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                        let mut members = Vec::new();
                        while let Some(Name(name)) = map.next_key()? {
                            members.push((name, map.next_value::<&RawValue>()?.get().to_owned()));
                        }
                        Ok(Members(members))
                    }
                }
                deserializer.deserialize_map(Object)
            }
        }
        serde_json::from_str::<Members>(json).ok().map(|members| members.0)
    }

    #[test]
    fn fields_come_in_their_order_with_their_values_as_they_stand() {
        let (found, expected) =
            both(" {\"a\" : [1, {\"b\":[]} ] ,\"\\u0041\\n\":\"x\\\"y\",\"a\":-0.5e+3,\"d\":{},\"e\":[[]],\"\":null}\n");
        assert_eq!(found.as_ref().unwrap()[0], ("a".to_owned(), "[1, {\"b\":[]} ]".to_owned()));
        assert_eq!(found.as_ref().unwrap()[1], ("A\n".to_owned(), "\"x\\\"y\"".to_owned()));
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_object_or_no_valid_json_is_refused() {
        for json in [
            "",
            " ",
            "[]",
            "1",
            "{",
            "}",
            "{}}",
            "{} x",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{\"a\":1 \"b\":2}",
            "{a:1}",
            "{\"a\":[}",
            "{\"a\":[1,]}",
            "{\"a\":[,1]}",
            "{\"a\":{\"b\"}}",
            "{\"a\":{\"b\":1,}}",
            "{\"a\":[1}",
            "{\"a\":{]}",
            "{\"a\":01}",
            "{\"a\":-}",
            "{\"a\":1.}",
            "{\"a\":.5}",
            "{\"a\":1e}",
            "{\"a\":+1}",
            "{\"a\":tru}",
            "{\"a\":nul}",
            "{\"a\":True}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12g4\"}",
            "{\"a\":\"\\u12",
            "{\"a\":\"\\",
            "{\"a\":\"\n\"}",
            "{\"a\t\":1}",
            "{\"a\":\"b}",
            "{\"\\ud800\":1}",
            "{\"a\":1}\u{0}",
            "\u{feff}{}",
            "{\"a\":NaN}",
            "{\"a\":1 2}",
            "{\"a\":\"b\"\"c\"}",
        ] {
            assert_eq!(both(json), (None, None), "{json}");
        }
    }

    #[test]
    fn a_value_may_nest_however_deep_it_likes() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(200_000), "]".repeat(200_000));
        let (found, expected) = both(&deep);
        assert_eq!(found, expected);
        assert_eq!(found.unwrap()[0].1.len(), 400_001);
    }

    proptest! {
        #[test]
        fn it_finds_what_serde_json_finds_in_any_text(text in r#"[{}\[\],:"\\ \n\t0-9.eE+\-tfnrual/u\x00é]{0,40}"#) {
            for json in [format!("{{{text}}}"), format!("{{\"a\":{text}}}"), format!("{{\"a\":[{text}],\"b\":{{\"c\":\"{text}\"}}}}"), text] {
                let (found, expected) = both(&json);
                prop_assert_eq!(found, expected, "{}", json);
            }
        }

        #[test]
        fn it_finds_what_was_written(record in proptest::collection::btree_map(".{0,8}", ".{0,20}", 0..6), is_pretty in any::<bool>()) {
            let json = if is_pretty { serde_json::to_string_pretty(&record) } else { serde_json::to_string(&record) }.unwrap();
            let (found, expected) = both(&json);
            prop_assert_eq!(&found, &expected);
            let back: BTreeMap<String, String> = found.unwrap().into_iter().map(|(name, value)| (name, serde_json::from_str(&value).unwrap())).collect();
            prop_assert_eq!(back, record);
        }
    }
}

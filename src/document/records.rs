//! Cuts a content blob's body into records while it is still arriving: holds one record at a time, never the blob.

use memchr::memchr2;

/// The longest record taken. The largest seen in the field are tens of kilobytes; this bounds memory, not content.
const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;

/// What was noticed of a record on the way, so that the many plain ones need no second look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// Levels of objects and arrays, the record's own included.
    pub depth: usize,
    /// An escape of a surrogate occurs; whether it stands alone is not known yet.
    pub surrogates: bool,
    /// A number occurs that a double may change: one of over 15 characters, or with an exponent.
    pub long_numbers: bool,
}

/// Why a body is no array of records. Positions, never content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Something else stands where the array should.
    #[error("it is no JSON array")]
    NoArray,
    /// It ends before its closing bracket.
    #[error("it is cut short")]
    CutShort,
    /// An element of the array, counted from 0, is no object.
    #[error("element {0} of the array is no JSON object")]
    NoObject(usize),
    /// More stands behind the closing bracket.
    #[error("something follows the array")]
    Trailing,
    /// A record, counted from 0, is longer than is taken.
    #[error("record {0} is longer than 16 MiB")]
    TooLong(usize),
}

/// The cutter. Fed chunks in order; hands out each record as soon as its last byte is there.
#[derive(Debug, Default)]
pub struct Splitter {
    place: Place,
    /// The part of a record that earlier chunks held.
    pending: Vec<u8>,
    element: Element,
    records: usize,
    /// Bytes of a byte order mark seen.
    mark: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    BeforeArray,
    FirstElement,
    NextElement,
    InElement,
    AfterElement,
    AfterArray,
}

/// Where the cutter stands within a record.
#[derive(Clone, Copy, Debug, Default)]
struct Element {
    depth: usize,
    text: Text,
    number: usize,
    traits: Traits,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Text {
    #[default]
    Outside,
    Inside,
    AfterBackslash,
    /// After `\u`.
    Escape,
    /// After `\ud`: the next digit tells a surrogate.
    EscapeD,
}

impl Splitter {
    /// Takes the next chunk; calls `record` for every record that it completes.
    ///
    /// # Errors
    /// What arrived is no array of objects. Records handed out before stay handed out.
    pub fn push(&mut self, chunk: &[u8], mut record: impl FnMut(&[u8], Traits)) -> Result<(), BodyError> {
        let (mut at, mut start) = (0, 0);
        while at < chunk.len() {
            if self.place != Place::InElement {
                if self.between(chunk[at])? {
                    start = at;
                } else {
                    at += 1;
                    continue;
                }
            }
            match self.element.scan(&chunk[at..]) {
                Some(length) => {
                    at += length;
                    self.complete(&chunk[start..at], &mut record);
                }
                None => at = chunk.len(),
            }
        }
        if self.place == Place::InElement {
            self.pending.extend_from_slice(&chunk[start..]);
            if self.pending.len() > MAX_RECORD_BYTES {
                return Err(BodyError::TooLong(self.records));
            }
        }
        Ok(())
    }

    /// Ends the body.
    ///
    /// # Errors
    /// It ended before its closing bracket did.
    pub fn finish(self) -> Result<usize, BodyError> {
        match self.place {
            Place::AfterArray => Ok(self.records),
            Place::BeforeArray => Err(BodyError::NoArray),
            _ => Err(BodyError::CutShort),
        }
    }

    /// One byte outside of records; true where a record begins with it.
    fn between(&mut self, byte: u8) -> Result<bool, BodyError> {
        if byte.is_ascii_whitespace() {
            return Ok(false);
        }
        self.place = match (self.place, byte) {
            (Place::BeforeArray, b'[') => Place::FirstElement,
            (Place::BeforeArray, byte) if b"\xef\xbb\xbf".get(self.mark) == Some(&byte) => {
                self.mark += 1;
                Place::BeforeArray
            }
            (Place::BeforeArray, _) => return Err(BodyError::NoArray),
            (Place::FirstElement | Place::AfterElement, b']') => Place::AfterArray,
            (Place::FirstElement | Place::NextElement, b'{') => {
                self.element = Element::default();
                Place::InElement
            }
            (Place::FirstElement | Place::NextElement, _) => return Err(BodyError::NoObject(self.records)),
            (Place::AfterElement, b',') => Place::NextElement,
            (Place::AfterElement, _) => return Err(BodyError::NoArray),
            (Place::AfterArray, _) => return Err(BodyError::Trailing),
            (Place::InElement, _) => Place::InElement,
        };
        Ok(self.place == Place::InElement)
    }

    fn complete(&mut self, tail: &[u8], record: &mut impl FnMut(&[u8], Traits)) {
        if self.pending.is_empty() {
            record(tail, self.element.traits);
        } else {
            self.pending.extend_from_slice(tail);
            record(&self.pending, self.element.traits);
            self.pending.clear();
        }
        self.records += 1;
        self.place = Place::AfterElement;
    }
}

impl Element {
    /// Scans on; the count of bytes up to and with the record's last, or none if it goes on beyond.
    fn scan(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            if self.text == Text::Inside {
                // Most of a record is text: jump to where it may end.
                at += memchr2(b'"', b'\\', &bytes[at..])?;
            }
            let byte = bytes[at];
            at += 1;
            if self.text != Text::Outside {
                self.within_text(byte);
            } else if self.outside_text(byte) {
                return Some(at);
            }
        }
        None
    }

    fn within_text(&mut self, byte: u8) {
        self.text = match (self.text, byte) {
            (Text::Inside, b'"') => Text::Outside,
            (Text::Inside, b'\\') => Text::AfterBackslash,
            (Text::AfterBackslash, b'u') => Text::Escape,
            (Text::Escape, b'd' | b'D') => Text::EscapeD,
            (Text::EscapeD, b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.traits.surrogates = true;
                Text::Inside
            }
            // A quote here is no hexadecimal digit: the text ends, and the parser will refuse it.
            (Text::Escape | Text::EscapeD, b'"') => Text::Outside,
            _ => Text::Inside,
        };
    }

    /// True at the record's closing bracket.
    fn outside_text(&mut self, byte: u8) -> bool {
        match byte {
            b'0'..=b'9' | b'-' | b'+' | b'.' => {
                self.number += 1;
                self.traits.long_numbers |= self.number > 15;
                return false;
            }
            b'e' | b'E' if self.number > 0 => {
                self.traits.long_numbers = true;
                return false;
            }
            b'"' => self.text = Text::Inside,
            b'{' | b'[' => {
                self.depth += 1;
                self.traits.depth = self.traits.depth.max(self.depth);
            }
            b'}' | b']' => {
                self.depth -= 1;
                return self.depth == 0;
            }
            _ => {}
        }
        self.number = 0;
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Records of a body that arrives in chunks of a size.
    fn split(body: &[u8], size: usize) -> Result<Vec<(String, Traits)>, BodyError> {
        let (mut splitter, mut records) = (Splitter::default(), Vec::new());
        for chunk in body.chunks(size.max(1)) {
            splitter.push(chunk, |record, traits| records.push((String::from_utf8_lossy(record).into_owned(), traits)))?;
        }
        let count = splitter.finish()?;
        assert_eq!(count, records.len());
        Ok(records)
    }

    #[test]
    fn a_body_is_cut_the_same_however_it_arrives() {
        let body = "\u{feff} [ {\"a\":\"}]\\\"\\\\\"} ,\n{\"b\":[{},[]],\"c\":1e5},{} ] \r\n".as_bytes();
        let whole = split(body, body.len()).unwrap();
        let texts: Vec<_> = whole.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts, [r#"{"a":"}]\"\\"}"#, r#"{"b":[{},[]],"c":1e5}"#, "{}"]);
        assert_eq!(whole[1].1, Traits { depth: 3, surrogates: false, long_numbers: true });
        for size in 1..body.len() {
            assert_eq!(split(body, size).unwrap(), whole, "chunks of {size}");
        }
        assert_eq!(split(b"[]", 1).unwrap(), []);
    }

    #[test]
    fn a_body_that_is_no_whole_array_of_objects_is_refused() {
        for (body, expected) in [
            ("", BodyError::NoArray),
            ("<html>", BodyError::NoArray),
            ("{\"error\":{}}", BodyError::NoArray),
            ("[", BodyError::CutShort),
            ("[{\"a\":1}", BodyError::CutShort),
            ("[{\"a\":1},", BodyError::CutShort),
            ("[{\"a\":\"]", BodyError::CutShort),
            ("[{\"a\":1},]", BodyError::NoObject(1)),
            ("[1]", BodyError::NoObject(0)),
            ("[null]", BodyError::NoObject(0)),
            ("[{}{}]", BodyError::NoArray),
            ("[{}] x", BodyError::Trailing),
        ] {
            assert_eq!(split(body.as_bytes(), 3).unwrap_err(), expected, "{body}");
        }
    }

    #[test]
    fn what_needs_a_second_look_is_noticed() {
        let traits = |record: &str| split(format!("[{record}]").as_bytes(), 2).unwrap()[0].1;
        assert!(traits(r#"{"a":"\ud83d"}"#).surrogates);
        assert!(traits(r#"{"a":"\uDE00"}"#).surrogates);
        assert!(!traits(r#"{"a":"\u00d8 \\ud83d"}"#).surrogates);
        assert!(traits(r#"{"a":1234567890123456}"#).long_numbers);
        assert!(!traits(r#"{"a":123456789012345,"b":true,"c":"1234567890123456"}"#).long_numbers);
    }

    proptest! {
        #[test]
        fn every_array_of_objects_comes_out_as_it_went_in(
            records in proptest::collection::vec(proptest::collection::btree_map(".{0,8}", ".{0,20}", 0..4), 0..8),
            size in 1_usize..40,
        ) {
            let body = serde_json::to_vec(&records).unwrap();
            let cut = split(&body, size).unwrap();
            let back: Vec<std::collections::BTreeMap<String, String>> = cut.iter().map(|(text, _)| serde_json::from_str(text).unwrap()).collect();
            prop_assert_eq!(back, records);
        }

        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200), size in 1_usize..50) {
            let _ = split(&body, size);
        }
    }
}

//! Cuts a content blob's body into records while it is still arriving: holds one record at a time, never the blob.

use memchr::memchr2;

use super::{
    fields::{Field, Fields},
    scan::Scan,
    skim::{Skim, Skimmed},
};

/// The longest record taken. The largest seen in the field are tens of kilobytes; this bounds memory, not content.
const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;
/// Longer numbers may be changed by a double.
pub(super) const MAX_NUMBER: usize = 15;

/// A record that was cut out, or what stands in its place.
pub struct Record<'a> {
    /// As they came.
    pub bytes: &'a [u8],
    /// What was noticed on the way.
    pub flags: RecordFlags,
    /// The same as text, and all its fields, where they were read on the way.
    pub(super) read: Option<(&'a str, Vec<Field<'a>>)>,
}

impl<'a> Record<'a> {
    /// Of bytes of which nothing is known but the flags.
    #[must_use]
    pub fn new(bytes: &'a [u8], flags: RecordFlags) -> Self {
        Self { bytes, flags, read: None }
    }
}

/// Traits of a record that were noticed on the way, so that the many plain ones need no second look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordFlags {
    /// Levels of objects and arrays, the record's own included.
    pub depth: usize,
    /// An escape of a surrogate occurs; whether it stands alone is not known yet.
    pub surrogates: bool,
    /// A number occurs that a double may change: one of over 15 characters, or with an exponent.
    pub long_numbers: bool,
    /// True if it is a record at all.
    pub kind: Kind,
}

/// The kind of element that stands where a record should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// An object.
    #[default]
    Record,
    /// Anything else: null, a number, a text, a list.
    Value,
    /// Something longer than is held. What is handed out is an object of its small fields; this is the SHA-256 of all of it.
    Oversized([u8; 32]),
}

/// The reason why a body is no array of records. Positions, never content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Something else stands where the array should.
    #[error("it is no JSON array")]
    NoArray,
    /// It ends before its closing bracket.
    #[error("it is cut short")]
    CutShort,
    /// More stands behind the closing bracket.
    #[error("something follows the array")]
    Trailing,
}

/// The cutter. Fed chunks in order; hands out each record as soon as its last byte is there.
#[derive(Debug, Default)]
pub struct Splitter {
    place: Place,
    /// The part of a record that earlier chunks held.
    pending: Vec<u8>,
    /// In its place, of a record that is too long to be held.
    skim: Option<Skim>,
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
    /// A number, `true`, `false` or `null`: it ends where something else begins.
    is_bare: bool,
    flags: RecordFlags,
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
    /// Takes the next chunk; calls `record` for every element of the array that it completes.
    ///
    /// # Errors
    /// The body is no array. Records handed out before stay handed out.
    pub fn push(&mut self, chunk: &[u8], mut record: impl FnMut(Record<'_>)) -> Result<(), BodyError> {
        let mut scan = Scan::new(valid(chunk));
        let (mut at, mut start) = (0, 0);
        while at < chunk.len() {
            if self.place != Place::InElement {
                if !self.between(chunk[at])? {
                    at += 1;
                    continue;
                }
                // Nearly all records lie whole in their chunk and are valid: one pass cuts them out and reads their fields.
                if let Some(whole) = Fields::of_record(&mut scan, at).filter(|whole| whole.bytes.len() <= MAX_RECORD_BYTES) {
                    at += whole.bytes.len();
                    record(whole);
                    self.completed();
                    continue;
                }
                start = at;
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
            self.hold(&chunk[start..]);
        }
        Ok(())
    }

    /// Keeps the part of an element until the rest comes; of one that is too long only what can be skimmed off.
    fn hold(&mut self, part: &[u8]) {
        match &mut self.skim {
            Some(skim) => skim.push(part),
            None => self.pending.extend_from_slice(part),
        }
        if self.pending.len() > MAX_RECORD_BYTES {
            let mut skim = Skim::default();
            skim.push(&std::mem::take(&mut self.pending));
            self.skim = Some(skim);
        }
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
            (Place::FirstElement | Place::NextElement, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z') => {
                self.element = Element::beginning(byte);
                Place::InElement
            }
            (Place::FirstElement | Place::NextElement, _) => return Err(BodyError::NoArray),
            (Place::AfterElement, b',') => Place::NextElement,
            (Place::AfterElement, _) => return Err(BodyError::NoArray),
            (Place::AfterArray, _) => return Err(BodyError::Trailing),
            (Place::InElement, _) => Place::InElement,
        };
        Ok(self.place == Place::InElement)
    }

    fn complete(&mut self, tail: &[u8], record: &mut impl FnMut(Record<'_>)) {
        let flags = self.element.flags;
        let is_split = !self.pending.is_empty() || self.skim.is_some();
        if is_split || tail.len() > MAX_RECORD_BYTES {
            self.hold(tail);
        }
        match self.skim.take() {
            Some(skim) => {
                let Skimmed { json, digest } = skim.finish();
                record(Record::new(&json, RecordFlags { kind: Kind::Oversized(digest), ..flags }));
            }
            None if is_split => {
                record(Record::new(&self.pending, flags));
                self.pending.clear();
            }
            None => record(Record::new(tail, flags)),
        }
        self.completed();
    }

    fn completed(&mut self) {
        self.records += 1;
        self.place = Place::AfterElement;
    }
}

/// The part of a chunk before what is no valid text, or the first half of a letter at its end.
fn valid(chunk: &[u8]) -> &str {
    let length = str::from_utf8(chunk).map_or_else(|error| error.valid_up_to(), str::len);
    str::from_utf8(&chunk[..length]).unwrap_or_default()
}

impl Element {
    fn beginning(byte: u8) -> Self {
        let kind = if byte == b'{' { Kind::Record } else { Kind::Value };
        Self { is_bare: !matches!(byte, b'{' | b'[' | b'"'), flags: RecordFlags { kind, ..RecordFlags::default() }, ..Self::default() }
    }

    /// Scans on; the count of bytes up to and with the element's last, or none if it goes on beyond.
    fn scan(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.is_bare {
            return self.scan_bare(bytes);
        }
        let mut at = 0;
        while at < bytes.len() {
            match self.text {
                Text::Outside => self.outside_text(bytes[at]),
                Text::Inside => {
                    // Most of a record is text: jump to where it may end.
                    at += memchr2(b'"', b'\\', &bytes[at..])?;
                    self.text = if bytes[at] == b'"' { Text::Outside } else { Text::AfterBackslash };
                }
                _ => self.within_escape(bytes[at]),
            }
            at += 1;
            if self.depth == 0 && self.text == Text::Outside {
                return Some(at);
            }
        }
        None
    }

    /// The same of a number or a word, which ends before the byte that is no part of it.
    fn scan_bare(&mut self, bytes: &[u8]) -> Option<usize> {
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b':' | b'"' | b'[' | b']' | b'{' | b'}');
        let end = bytes.iter().position(is_end);
        for byte in &bytes[..end.unwrap_or(bytes.len())] {
            self.outside_text(*byte);
        }
        end
    }

    fn within_escape(&mut self, byte: u8) {
        self.text = match (self.text, byte) {
            (Text::AfterBackslash, b'u') => Text::Escape,
            (Text::Escape, b'd' | b'D') => Text::EscapeD,
            (Text::EscapeD, b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.flags.surrogates = true;
                Text::Inside
            }
            // A quote here is no hexadecimal digit: the text ends, and the parser will refuse it.
            (Text::Escape | Text::EscapeD, b'"') => Text::Outside,
            _ => Text::Inside,
        };
    }

    fn outside_text(&mut self, byte: u8) {
        match byte {
            b'0'..=b'9' | b'-' | b'+' | b'.' => {
                self.number += 1;
                self.flags.long_numbers |= self.number > MAX_NUMBER;
                return;
            }
            b'e' | b'E' if self.number > 0 => {
                self.flags.long_numbers = true;
                return;
            }
            b'"' => self.text = Text::Inside,
            b'{' | b'[' => {
                self.depth += 1;
                self.flags.depth = self.flags.depth.max(self.depth);
            }
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        self.number = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Records of a body that arrives in chunks of a size.
    fn split(body: &[u8], size: usize) -> Result<Vec<(String, RecordFlags)>, BodyError> {
        let (mut splitter, mut records) = (Splitter::default(), Vec::new());
        for chunk in body.chunks(size.max(1)) {
            splitter.push(chunk, |record| records.push((String::from_utf8_lossy(record.bytes).into_owned(), record.flags)))?;
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
        assert_eq!(whole[1].1, RecordFlags { depth: 3, long_numbers: true, ..RecordFlags::default() });
        for size in 1..body.len() {
            assert_eq!(split(body, size).unwrap(), whole, "chunks of {size}");
        }
        assert_eq!(split(b"[]", 1).unwrap(), []);
    }

    #[test]
    fn a_body_that_is_no_whole_array_is_refused() {
        for (body, expected) in [
            ("", BodyError::NoArray),
            ("<html>", BodyError::NoArray),
            ("{\"error\":{}}", BodyError::NoArray),
            ("[", BodyError::CutShort),
            ("[{\"a\":1}", BodyError::CutShort),
            ("[{\"a\":1},", BodyError::CutShort),
            ("[{\"a\":\"]", BodyError::CutShort),
            ("[{\"a\":1},]", BodyError::NoArray),
            ("[,1]", BodyError::NoArray),
            ("[1", BodyError::CutShort),
            ("[1 2]", BodyError::NoArray),
            ("[1{}]", BodyError::NoArray),
            ("[\"a\"", BodyError::CutShort),
            ("[}", BodyError::NoArray),
            ("[{}{}]", BodyError::NoArray),
            ("[{}] x", BodyError::Trailing),
        ] {
            assert_eq!(split(body.as_bytes(), 3).unwrap_err(), expected, "{body}");
        }
    }

    #[test]
    fn what_needs_a_second_look_is_noticed() {
        let flags = |record: &str| split(format!("[{record}]").as_bytes(), 2).unwrap()[0].1;
        assert!(flags(r#"{"a":"\ud83d"}"#).surrogates);
        assert!(flags(r#"{"a":"\uDE00"}"#).surrogates);
        assert!(!flags(r#"{"a":"\u00d8 \\ud83d"}"#).surrogates);
        assert!(flags(r#"{"a":1234567890123456}"#).long_numbers);
        assert!(!flags(r#"{"a":123456789012345,"b":true,"c":"1234567890123456"}"#).long_numbers);
    }

    #[test]
    fn what_is_no_object_is_handed_out_as_it_stands_however_it_arrives() {
        let body = r#"[null, -1.5e3 ,"a]\"\ud800",[1,{"b":[2]}],true,{"c":"},["},[],"",12345678901234567]"#;
        let whole = split(body.as_bytes(), body.len()).unwrap();
        let texts: Vec<_> = whole.iter().map(|(text, _)| text.as_str()).collect();
        let expected =
            ["null", "-1.5e3", r#""a]\"\ud800""#, r#"[1,{"b":[2]}]"#, "true", r#"{"c":"},["}"#, "[]", r#""""#, "12345678901234567"];
        assert_eq!(texts, expected);
        let is_record: Vec<_> = whole.iter().map(|(_, flags)| flags.kind == Kind::Record).collect();
        assert_eq!(is_record, [false, false, false, false, false, true, false, false, false]);
        assert!(whole[2].1.surrogates && whole[1].1.long_numbers && whole[8].1.long_numbers && whole[3].1.depth == 3);
        for size in 1..body.len() {
            assert_eq!(split(body.as_bytes(), size).unwrap(), whole, "chunks of {size}");
        }
    }

    #[test]
    fn what_is_too_long_is_skimmed_and_its_neighbours_are_handed_out() {
        let large = "x".repeat(MAX_RECORD_BYTES);
        let body = format!(r#"[{{"Id":"a"}},{{"Id":"b","Large":"{large}","After":1}},["{large}"],"{large}",{{"Id":"c"}}]"#);
        for size in [64 * 1024, 1_000_003, body.len()] {
            let records = split(body.as_bytes(), size).unwrap();
            let texts: Vec<_> = records.iter().map(|(text, _)| text.as_str()).collect();
            assert_eq!(texts, [r#"{"Id":"a"}"#, r#"{"Id":"b","After":1}"#, "{}", "{}", r#"{"Id":"c"}"#], "{size}");
            assert!(matches!(records[1].1.kind, Kind::Oversized(_)) && records[4].1.kind == Kind::Record);
            assert_ne!(records[2].1.kind, records[3].1.kind);
        }
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

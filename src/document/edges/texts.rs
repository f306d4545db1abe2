//! The texts of a record: one walk over all of its values, at any depth, that keeps what some row asks for and what may name
//! something. Linear in the record's length, and bounded.

use std::{borrow::Cow, cell::Cell, sync::LazyLock};

use memchr::{memchr, memchr_iter, memchr2, memmem};
use smallvec::SmallVec;

use super::tree::{NOWHERE, Place, ROOT, Tree};
use crate::document::fields::Fields;

/// Most texts of one field that are looked at. Real fields have a few hundred.
const MAX_LOOKED_AT: usize = 20_000;
/// Most texts that are kept of one field, and of a record. What stands in the record itself is always kept.
const MAX_KEPT: usize = 2_000;
const MAX_KEPT_OF_ALL: usize = 8_000;
/// JSON that stands in a text may hold such a text itself; deeper ones are not opened.
const MAX_OPENED: u8 = 6;
/// Longer texts name nothing.
const MAX_TEXT: usize = 2_048;
/// Shorter JSON is walked as fast as it is searched.
const SHORT_JSON: usize = 160;
/// Names under which a GUID is an application's.
const APP_NAMES: [&str; 4] = ["AppId", "ClientAppId", "ApplicationId", "AadAppId"];

/// The record as an object, for the texts that stand in it directly.
pub(super) const RECORD: u32 = 0;

/// A text of a record, or a number as it stands.
#[derive(Debug)]
pub(super) struct Text<'a> {
    /// The object that it is in; texts of a list of names and values are in the object that holds the list.
    pub(super) object: u32,
    /// The name of its field or property.
    pub(super) name: Cow<'a, str>,
    pub(super) text: Cow<'a, str>,
    /// A row has read it.
    pub(super) is_read: Cell<bool>,
}

/// The result of the walk.
#[derive(Debug, Default)]
pub(super) struct Texts<'a> {
    pub(super) all: Vec<Text<'a>>,
    /// Where rows ask for each; `NOWHERE`: it is here because it may name something.
    places: Vec<Place>,
    /// For each place of the tree, whether something stands there.
    seen: Vec<bool>,
}

impl<'a> Texts<'a> {
    pub(super) fn of(tree: &Tree, fields: &Fields<'a>) -> Self {
        let texts = Self { all: Vec::with_capacity(24), places: Vec::with_capacity(24), seen: vec![false; tree.len()] };
        let mut walk = Walk { tree, texts, objects: RECORD, looked_at: 0, max_kept: 0 };
        for field in &fields.0 {
            walk.field(field.name.clone(), field.value);
        }
        walk.texts
    }

    /// True if a record has something at a place: an object or a list, too.
    pub(super) fn has(&self, place: Place) -> bool {
        self.seen.get(usize::from(place)).copied().unwrap_or(false)
    }

    /// The texts at a place, in their order.
    pub(super) fn at(&self, place: Place) -> impl Iterator<Item = &Text<'a>> {
        let places = if self.has(place) { &self.places[..] } else { &[] };
        places.iter().zip(&self.all).filter(move |(other, _)| **other == place).map(|(_, text)| text)
    }

    /// All texts, each with its place.
    pub(super) fn placed(&self) -> impl Iterator<Item = (Place, &Text<'a>)> {
        self.places.iter().copied().zip(&self.all)
    }

    /// The first text at a place.
    pub(super) fn first(&self, place: Place) -> Option<&str> {
        self.at(place).next().map(|text| &*text.text)
    }

    /// The text at a place that is in the same object as another.
    pub(super) fn beside(&self, object: u32, place: Place) -> Option<&str> {
        self.at(place).find(|text| text.object == object).map(|text| &*text.text)
    }
}

/// An object or a list that the walk is in.
struct Frame<'j> {
    is_object: bool,
    place: Place,
    name: &'j str,
    object: u32,
    /// The object that holds the list that this object is an element of.
    outer: u32,
    /// In an object: the name before the value that comes next.
    key: Option<&'j str>,
    /// In an element of a list of names and values: its name.
    property: &'j str,
    has_new_value: bool,
}

/// Where a value stands.
#[derive(Clone, Copy)]
struct Position<'j> {
    name: &'j str,
    place: Place,
    object: u32,
}

struct Walk<'t, 'a> {
    tree: &'t Tree,
    texts: Texts<'a>,
    objects: u32,
    looked_at: usize,
    max_kept: usize,
}

impl<'a> Walk<'_, 'a> {
    fn field(&mut self, name: Cow<'a, str>, value: &'a str) {
        (self.looked_at, self.max_kept) = (0, (self.texts.all.len() + MAX_KEPT).min(MAX_KEPT_OF_ALL));
        let place = self.tree.child(ROOT, &name);
        if place == NOWHERE && value.len() > SHORT_JSON && !may_name_within(value) {
            return;
        }
        match name {
            Cow::Borrowed(name) => self.value(value, Position { name, place, object: RECORD }, 0, Cow::Borrowed),
            Cow::Owned(name) => self.value(value, Position { name: &name, place, object: RECORD }, 0, |text| Cow::Owned(text.to_owned())),
        }
    }

    /// Walks JSON; `keep` makes what is kept of it outlive it.
    fn value<'j>(&mut self, json: &'j str, start: Position<'j>, opened: u8, keep: fn(&'j str) -> Cow<'a, str>) {
        let bytes = json.as_bytes();
        if bytes.first() == Some(&b'"') && self.looked_at < MAX_LOOKED_AT {
            // All of it is one string, as most values are.
            return self.string(json, memchr(b'\\', bytes).is_some(), start, opened, keep);
        }
        let mut frames: SmallVec<[Frame<'j>; 6]> = SmallVec::new();
        let mut at = 0;
        while at < bytes.len() && self.looked_at < MAX_LOOKED_AT {
            match bytes[at] {
                b'"' => {
                    let (end, has_escapes) = end_of_string(bytes, at + 1);
                    let quoted = &json[at..(end + 1).min(json.len())];
                    at = end + 1;
                    if let Some(frame) = frames.last_mut().filter(|frame| frame.is_object && frame.key.is_none()) {
                        frame.key = Some(inside(quoted));
                        continue;
                    }
                    let position = self.position(&mut frames, start, quoted);
                    self.string(quoted, has_escapes, position, opened, keep);
                }
                opening @ (b'{' | b'[') => {
                    let is_object = opening == b'{';
                    let position = self.position(&mut frames, start, "");
                    self.see(position.place);
                    self.objects += u32::from(is_object);
                    let object = if is_object { self.objects } else { position.object };
                    let Position { name, place, object: outer } = position;
                    frames.push(Frame { is_object, place, name, object, outer, key: None, property: "", has_new_value: false });
                    at += 1;
                }
                b'}' | b']' => {
                    frames.pop();
                    at += 1;
                }
                b'-' | b'0'..=b'9' | b'a'..=b'z' => {
                    let length =
                        bytes[at..].iter().take_while(|byte| !matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t')).count();
                    let position = self.position(&mut frames, start, "");
                    if !bytes[at].is_ascii_lowercase() && position.place != NOWHERE {
                        self.keep(position, keep(position.name), keep(&json[at..at + length]));
                    }
                    at += length;
                }
                _ => at += 1,
            }
        }
    }

    /// Where the value stands that comes next, and in an object forgets its name.
    fn position<'j>(&self, frames: &mut [Frame<'j>], start: Position<'j>, quoted: &'j str) -> Position<'j> {
        let Some(frame) = frames.last_mut() else { return start };
        let Frame { is_object, place, name, object, .. } = *frame;
        let Some(key) = frame.key.take().filter(|_| is_object) else { return Position { name, place, object } };
        if !frame.property.is_empty() && is_value(key) {
            let property = frame.property;
            let mut below = self.tree.child(place, property);
            if key.len() == "NewValue".len() {
                // The old value is what a record is about only where it has no new one.
                let says_nothing = inside(quoted).trim_matches(|c: char| c.is_whitespace() || "\\\"[]".contains(c)).is_empty();
                let is_old = key.as_bytes()[0].eq_ignore_ascii_case(&b'o');
                if is_old && frame.has_new_value {
                    below = NOWHERE;
                }
                frame.has_new_value |= !is_old && !says_nothing;
            }
            return Position { name: property, place: below, object: frame.outer };
        }
        if is_name(key) {
            frame.property = inside(quoted);
        }
        Position { name: key, place: self.tree.child(place, key), object }
    }

    fn string<'j>(&mut self, quoted: &'j str, has_escapes: bool, position: Position<'j>, opened: u8, keep: fn(&'j str) -> Cow<'a, str>) {
        self.looked_at += 1;
        let raw = inside(quoted);
        let is_asked_for = position.place != NOWHERE;
        let may_hold = matches!(raw.as_bytes().first(), Some(b'{' | b'[' | b'\\' | b' ')) && opened < MAX_OPENED;
        let may_name = || may_hold || hint(position.name, raw).is_some();
        if raw.is_empty() || !(is_asked_for || may_name()) {
            return;
        }
        if !is_asked_for && raw.len() > SHORT_JSON && !may_name_within(raw) {
            return;
        }
        if !has_escapes {
            return match may_hold.then(|| json_in(raw)).flatten() {
                Some(json) => self.value(json, position, opened + 1, keep),
                None => self.text(position, keep(position.name), keep(raw)),
            };
        }
        let Some(text) = unescaped(quoted) else { return };
        match json_in(&text).filter(|_| opened < MAX_OPENED) {
            // What is kept of it must outlive the text that was made here.
            Some(json) => self.value(json, position, opened + 1, |text| Cow::Owned(text.to_owned())),
            None => self.text(position, keep(position.name), Cow::Owned(text)),
        }
    }

    /// A text that holds no JSON: it may still be a command line, or have tags.
    fn text(&mut self, position: Position<'_>, name: Cow<'a, str>, text: Cow<'a, str>) {
        if self.tree.has_children(position.place) {
            if text.starts_with('-') {
                arguments(&text, |name, value| self.part(position, name, value));
            } else if text.starts_with('<') {
                tags(&text, |name, value| self.part(position, name, value));
            }
        }
        if position.place != NOWHERE || hint(&name, &text).is_some() {
            self.keep(position, name, text);
        }
    }

    fn part(&mut self, position: Position<'_>, name: &str, text: &str) {
        self.looked_at += 1;
        let place = self.tree.child(position.place, name);
        if place != NOWHERE && self.looked_at < MAX_LOOKED_AT {
            self.keep(Position { place, ..position }, Cow::Owned(name.to_owned()), Cow::Owned(text.to_owned()));
        }
    }

    fn keep(&mut self, position: Position<'_>, name: Cow<'a, str>, text: Cow<'a, str>) {
        let is_of_record = position.object == RECORD && position.place != NOWHERE && self.looked_at <= 1;
        if (self.texts.all.len() < self.max_kept || is_of_record) && !text.is_empty() {
            self.see(position.place);
            self.texts.places.push(position.place);
            self.texts.all.push(Text { object: position.object, name, text, is_read: Cell::new(false) });
        }
    }

    fn see(&mut self, place: Place) {
        if let Some(seen) = self.texts.seen.get_mut(usize::from(place)) {
            *seen = true;
        }
    }
}

/// A string's content, its escapes as they stand.
fn inside(quoted: &str) -> &str {
    let inside = quoted.strip_prefix('"').unwrap_or(quoted);
    inside.strip_suffix('"').unwrap_or(inside)
}

/// Where a string ends that begins at a position, and whether it has escapes.
fn end_of_string(bytes: &[u8], mut at: usize) -> (usize, bool) {
    let mut has_escapes = false;
    while let Some(next) = memchr2(b'"', b'\\', &bytes[at.min(bytes.len())..]) {
        if bytes[at + next] == b'"' {
            return (at + next, has_escapes);
        }
        has_escapes = true;
        at += next + 2;
    }
    (bytes.len(), has_escapes)
}

/// A string's text. None where it is no valid string.
fn unescaped(quoted: &str) -> Option<String> {
    let mut rest = inside(quoted);
    let mut text = String::with_capacity(rest.len());
    while let Some(at) = memchr(b'\\', rest.as_bytes()) {
        text.push_str(&rest[..at]);
        text.push(match rest.as_bytes().get(at + 1)? {
            b'/' => '/',
            b'\\' => '\\',
            b'"' => '"',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            _ => return serde_json::from_str(quoted).ok(),
        });
        rest = &rest[at + 2..];
    }
    text.push_str(rest);
    Some(text)
}

fn is_name(key: &str) -> bool {
    match key.len() {
        3 => key.eq_ignore_ascii_case("Key"),
        4 => key.eq_ignore_ascii_case("Name"),
        _ => false,
    }
}

fn is_value(key: &str) -> bool {
    match key.len() {
        5 => key.eq_ignore_ascii_case("Value"),
        8 => key.eq_ignore_ascii_case("NewValue") || key.eq_ignore_ascii_case("OldValue"),
        _ => false,
    }
}

/// The JSON that a text holds: an object, a list or a string.
fn json_in(text: &str) -> Option<&str> {
    let json = text.trim();
    let last = match json.as_bytes().first()? {
        b'{' => b'}',
        b'[' => b']',
        b'"' => b'"',
        _ => return None,
    };
    let ends_well = json.len() > 1 && json.as_bytes().last() == Some(&last);
    // `"A" [SMTP:a@b.c]; "B"` is no string, `[2001:db8::1]` no list.
    let is_json = match last {
        b'"' => end_of_string(json.as_bytes(), 1).0 == json.len() - 1,
        b']' => json[1..].trim_start().starts_with(['"', '{', '[', ']']),
        _ => true,
    };
    (ends_well && is_json).then_some(json)
}

/// The arguments of a command line: `-Name "value" -Other ("one","two")`.
fn arguments(line: &str, mut take: impl FnMut(&str, &str)) {
    let mut rest = line;
    while let Some(start) = rest.strip_prefix('-') {
        let (name, value) = start.split_once(' ').unwrap_or((start, ""));
        let value = value.trim_start();
        let end = match value.as_bytes().first() {
            Some(b'"') => value.find("\" -").map(|at| at + 1),
            Some(b'(') => value.find(") -").map(|at| at + 1),
            Some(b'-') => Some(0),
            _ => value.find(" -"),
        };
        let end = end.unwrap_or(value.len());
        let whole = &value[..end];
        match whole.strip_prefix('(').and_then(|list| list.strip_suffix(')')) {
            Some(list) => list.split(',').for_each(|one| take(name, one.trim_matches(['"', ' ']))),
            None => take(name, whole.trim_matches(['"', ' '])),
        }
        rest = value[end..].trim_start();
    }
}

/// The tags of a text and what is between them: `<Added to group>Owners</Added to group>`.
fn tags(text: &str, mut take: impl FnMut(&str, &str)) {
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('<').and_then(|(_, start)| start.split_once('>')) {
        match after.split_once('<') {
            Some((value, _)) if !name.starts_with('/') && !value.trim().is_empty() => take(name, value.trim()),
            _ => {}
        }
        rest = after;
    }
}

/// The kinds of name that a text may wholly be, by what is seen at once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hint {
    At,
    Http,
    App,
    Ip,
}

/// The hint that a text under a name gives.
pub(super) fn hint(name: &str, text: &str) -> Option<Hint> {
    let bytes = text.as_bytes();
    if bytes.len() < 3 || bytes.len() > MAX_TEXT {
        return None;
    }
    let first = bytes[0];
    if first | 0x20 == b'h' && bytes.len() > 12 && bytes[..4].eq_ignore_ascii_case(b"http") {
        return Some(Hint::Http);
    }
    // Without a way out, which the compiler makes one pass over many bytes at once.
    if bytes.iter().fold(false, |found, byte| found | (*byte == b'@')) {
        return Some(Hint::At);
    }
    let is_of_ip = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':' | b'[' | b']');
    if !(is_of_ip(&first) || matches!(first, b' ' | b'{')) || bytes.len() > 64 {
        return None;
    }
    if (36..=38).contains(&bytes.len()) && APP_NAMES.iter().any(|app| name.eq_ignore_ascii_case(app)) {
        return Some(Hint::App);
    }
    let length = bytes.iter().take_while(|byte| is_of_ip(byte) || **byte == b' ').count();
    let is_ip = length == bytes.len() || bytes[length] == b'%';
    (is_ip && bytes.iter().any(|byte| matches!(byte, b'.' | b':'))).then_some(Hint::Ip)
}

/// Words of which one stands in a text that holds an address or an application's id.
static WORDS: LazyLock<[memmem::Finder<'static>; 3]> = LazyLock::new(|| ["http", "ppId", "pplicationId"].map(memmem::Finder::new));

/// True if something in a JSON text may name something, seen without opening it.
fn may_name_within(json: &str) -> bool {
    let bytes = json.as_bytes();
    let is_number = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_hexdigit);
    // Of an IPv4 address a number stands between two dots; of an IPv6 address one or nothing between two colons.
    let has_numbers = |mark: u8| {
        memchr_iter(mark, bytes).any(|at| {
            let length = bytes[at + 1..].iter().take(4).take_while(|byte| byte.is_ascii_hexdigit()).count();
            bytes.get(at + 1 + length) == Some(&mark) && (is_number(at.checked_sub(1)) || length > 0 || mark == b':')
        })
    };
    memchr(b'@', bytes).is_some() || WORDS.iter().any(|word| word.find(bytes).is_some()) || has_numbers(b'.') || has_numbers(b':')
}

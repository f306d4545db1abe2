//! Finds names of people and machines in a text by their form: addresses of mail, which accounts have too; personal OneDrive sites and
//! home folders; Windows accounts and SIDs; IP addresses. Also where they stand in escapes of JSON, of addresses or of XML, one in
//! the other, and in base64.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};

/// Escapes in escapes that are looked into.
const MAX_LAYERS: usize = 5;
/// Letters of base64 that are looked into: shorter ones hold no name.
const MIN_BASE64: usize = 16;
/// Accounts of the service, in lower case.
const SERVICES: [&str; 1] = ["app@sharepoint"];

/// A name, and the bytes of the text where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) at: Range<usize>,
    pub(super) name: Name,
}

/// What a token is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// The name without escapes.
    Text(String),
    /// An IP address, and whether its pseudonym needs brackets here.
    Address { address: IpAddr, has_brackets: bool },
}

/// All names in a text, in order; none overlaps another. Each depends on the text alone.
pub(super) fn names(text: &str) -> Vec<Found> {
    if !may_hold_names(text) {
        return Vec::new();
    }
    let mut layers = vec![Layer::of(text)];
    while layers.len() < MAX_LAYERS
        && let Some(deeper) = layers.last().and_then(Layer::without_escapes)
    {
        layers.push(deeper);
    }
    let mut found: Vec<Found> = Vec::new();
    // The deepest first: what an escape means is truer than how it looks.
    for layer in layers.iter().rev() {
        for name in layer.names() {
            if !found.iter().any(|known| known.at.start < name.at.end && name.at.start < known.at.end) {
                found.push(name);
            }
        }
    }
    found.sort_by_key(|found| found.at.start);
    found
}

/// Whether these bytes of a text are a word of it.
pub(super) fn word(text: &str, at: &Range<usize>) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    !is_part(text[..at.start].chars().next_back()) && !is_part(text[at.end..].chars().next())
}

/// Nearly all texts end here.
fn may_hold_names(text: &str) -> bool {
    text.len() >= 3
        && (text.len() >= MIN_BASE64 || text.bytes().any(|byte| matches!(byte, b'@' | b'%' | b'\\' | b'&' | b'.' | b':' | b'/')))
}

/// A text, its escapes read, and where each of its letters stands in the text as it came.
struct Layer {
    letters: Vec<char>,
    places: Vec<(usize, usize)>,
    /// The text as it came.
    is_raw: bool,
}

impl Layer {
    fn of(text: &str) -> Self {
        let places = text.char_indices().map(|(at, letter)| (at, at + letter.len_utf8())).collect();
        Self { letters: text.chars().collect(), places, is_raw: true }
    }

    /// With one layer of escapes read; none where there are none.
    fn without_escapes(&self) -> Option<Self> {
        if !self.letters.iter().any(|letter| matches!(letter, '%' | '\\' | '&')) {
            return None;
        }
        let mut inner =
            Self { letters: Vec::with_capacity(self.letters.len()), places: Vec::with_capacity(self.letters.len()), is_raw: false };
        let (mut at, mut is_other) = (0, false);
        while at < self.letters.len() {
            let (letters, length) = self.escape(at).unwrap_or_else(|| (vec![self.letters[at]], 1));
            is_other |= length > 1;
            let place = (self.places[at].0, self.places[at + length - 1].1);
            for letter in letters {
                inner.letters.push(letter);
                inner.places.push(place);
            }
            at += length;
        }
        is_other.then_some(inner)
    }

    /// The letters that an escape means, and how many it is written in.
    fn escape(&self, at: usize) -> Option<(Vec<char>, usize)> {
        match self.letters[at] {
            '%' => self.percent(at),
            '\\' => match *self.letters.get(at + 1)? {
                'u' => self.unicode(at),
                letter @ ('"' | '\\' | '/') => Some((vec![letter], 2)),
                'n' | 'r' | 't' | 'b' | 'f' => Some((vec!['\n'], 2)),
                _ => None,
            },
            '&' => self.entity(at),
            _ => None,
        }
    }

    /// The bytes of one letter, as `%C3%BC`.
    fn percent(&self, at: usize) -> Option<(Vec<char>, usize)> {
        let mut bytes = Vec::new();
        while bytes.len() < 4 && self.letters.get(at + 3 * bytes.len()) == Some(&'%') {
            let Some(byte) = self.hexadecimal(at + 3 * bytes.len() + 1, 2) else { break };
            bytes.push(u8::try_from(byte).ok()?);
            if let Ok(letter) = str::from_utf8(&bytes) {
                return Some((letter.chars().collect(), 3 * bytes.len()));
            }
        }
        None
    }

    /// `\u0040`, or a pair that means one letter.
    fn unicode(&self, at: usize) -> Option<(Vec<char>, usize)> {
        let unit = |at: usize| u16::try_from(self.hexadecimal(at + 2, 4)?).ok();
        let first = unit(at)?;
        if let Some(Ok(letter)) = char::decode_utf16([first]).next() {
            return Some((vec![letter], 6));
        }
        let second = (self.letters.get(at + 6..at + 8)? == ['\\', 'u']).then(|| unit(at + 6))??;
        let letter = char::decode_utf16([first, second]).next()?.ok()?;
        Some((vec![letter], 12))
    }

    /// `&#64;`, `&#x40;` and `&amp;`.
    fn entity(&self, at: usize) -> Option<(Vec<char>, usize)> {
        let length = self.letters[at..].iter().take(10).position(|letter| *letter == ';')? + 1;
        let name: String = self.letters[at + 1..at + length - 1].iter().collect();
        let number = name.strip_prefix('#').and_then(|number| match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => number.parse().ok(),
        });
        let letter = match name.as_str() {
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            "lt" => '<',
            "gt" => '>',
            _ => char::from_u32(number?)?,
        };
        Some((vec![letter], length))
    }

    fn hexadecimal(&self, at: usize, digits: usize) -> Option<u32> {
        let digits: String = self.letters.get(at..at + digits)?.iter().collect();
        if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) { u32::from_str_radix(&digits, 16).ok() } else { None }
    }

    fn names(&self) -> Vec<Found> {
        let mut found = Vec::new();
        self.windows_account(&mut found);
        for at in 0..self.letters.len() {
            match self.letters[at] {
                '@' => self.mail(at, &mut found),
                'p' | 'P' => self.folder(at, "personal", true, &mut found),
                'u' | 'U' => self.folder(at, "users", false, &mut found),
                'c' | 'C' => self.folder(at, "cn=recipients/cn=", false, &mut found),
                's' | 'S' => self.sid(at, &mut found),
                letter if letter.is_ascii_hexdigit() || letter == ':' => self.address(at, &mut found),
                _ => {}
            }
            // `c` begins an address as well.
            if matches!(self.letters[at], 'c' | 'C') {
                self.address(at, &mut found);
            }
        }
        self.base64(&mut found);
        found
    }

    fn text(&self, at: Range<usize>) -> String {
        self.letters[at].iter().collect()
    }

    fn push(&self, at: Range<usize>, name: Name, found: &mut Vec<Found>) {
        let place = self.places[at.start].0..self.places[at.end - 1].1;
        if !found.iter().any(|known| known.at.start < place.end && place.start < known.at.end) {
            found.push(Found { at: place, name });
        }
    }

    fn push_text(&self, at: Range<usize>, found: &mut Vec<Found>) {
        self.push(at.clone(), Name::Text(self.text(at)), found);
    }

    /// Whether this word, without regard to letter case, stands here and begins no sooner.
    fn begins(&self, at: usize, word: &str) -> bool {
        let is_start = at == 0 || !self.letters[at - 1].is_alphanumeric();
        is_start
            && word
                .chars()
                .enumerate()
                .all(|(next, letter)| self.letters.get(at + next).is_some_and(|here| here.eq_ignore_ascii_case(&letter)))
    }

    /// The address around an `@`. A guest's has the home tenant's in it: `megan_fabrikam.com#EXT#@contoso.onmicrosoft.com`.
    fn mail(&self, at: usize, found: &mut Vec<Found>) {
        const GUEST: [char; 5] = ['#', 'E', 'X', 'T', '#'];
        let is_local = |letter: char| letter.is_alphanumeric() || "._+-'~!$*^`".contains(letter);
        let is_domain = |letter: char| letter.is_alphanumeric() || "-._".contains(letter);
        let mut start = at;
        if start >= 5 && self.letters[start - 5..start].iter().zip(GUEST).all(|(here, letter)| here.eq_ignore_ascii_case(&letter)) {
            start -= 5;
        }
        while start > 0 && is_local(self.letters[start - 1]) {
            start -= 1;
        }
        while start < at && matches!(self.letters[start], '\'' | '`' | '.' | '-' | '*') {
            start += 1;
        }
        let mut end = at + 1;
        while end < self.letters.len() && is_domain(self.letters[end]) {
            end += 1;
        }
        while end > at + 1 && !self.letters[end - 1].is_alphanumeric() {
            end -= 1;
        }
        if start == at || end == at + 1 {
            return;
        }
        let (local, domain) = (self.text(start..at), self.text(at + 1..end));
        let is_app = SERVICES.contains(&format!("{local}@{domain}").to_lowercase().as_str())
            || (uuid::Uuid::try_parse(&local).is_ok() && uuid::Uuid::try_parse(&domain).is_ok());
        if !is_app {
            self.push_text(start..end, found);
        }
    }

    /// The name behind `personal/`, `users\` or another word that a person's own folder stands behind.
    fn folder(&self, at: usize, word: &str, is_site: bool, found: &mut Vec<Found>) {
        if !self.begins(at, word) {
            return;
        }
        let mut start = at + word.len();
        if !word.ends_with('=') {
            if !matches!(self.letters.get(start), Some('/' | '\\')) {
                return;
            }
            // In a path within a text, a backslash may be doubled.
            while matches!(self.letters.get(start), Some('/' | '\\')) {
                start += 1;
            }
        }
        let is_end = |letter: char| letter.is_whitespace() || letter.is_control() || "/\\?#\"'<>|,;&()[]{}:*".contains(letter);
        let length = self.letters[start..].iter().take_while(|letter| !is_end(**letter)).count();
        let name = self.text(start..start + length);
        let is_nobody = ["public", "default", "all users"].contains(&name.to_lowercase().as_str());
        // A folder of a team's may be called so, too; a personal site has the account in its address.
        let is_own = !is_site || name.contains('_') || self.text(0..at).to_lowercase().contains("-my.");
        if length > 0 && !is_nobody && is_own {
            self.push_text(start..start + length, found);
        }
    }

    /// A security identifier of an account: of a domain, or of Entra.
    fn sid(&self, at: usize, found: &mut Vec<Found>) {
        if self.begins(at, "S-1-5-21-") || self.begins(at, "S-1-12-1-") {
            let length = 4 + self.letters[at + 4..].iter().take_while(|letter| letter.is_ascii_digit() || **letter == '-').count();
            self.push_text(at..at + length, found);
        }
    }

    /// A text that is nothing but `CONTOSO\megan`, or that behind a claim's `i:0#.w|`.
    fn windows_account(&self, found: &mut Vec<Found>) {
        const SERVICES: [&str; 5] = ["nt authority", "nt service", "builtin", "sharepoint", "iis apppool"];
        if !self.is_raw {
            return;
        }
        let start = self.letters.iter().rposition(|letter| *letter == '|').map_or(0, |bar| bar + 1);
        if start > 0 && !self.begins(0, "i:0") {
            return;
        }
        let name = self.text(start..self.letters.len());
        let Some((domain, account)) = name.split_once('\\') else { return };
        let is_name = |part: &str| !part.is_empty() && !part.contains(['\\', '/', ':', '"', '{', '[', '<', '=', ';', '\n']);
        if is_name(domain) && is_name(account) && !SERVICES.contains(&domain.to_lowercase().as_str()) {
            self.push_text(start..self.letters.len(), found);
        }
    }

    /// An IP address that begins here, with or without brackets and port.
    fn address(&self, at: usize, found: &mut Vec<Found>) {
        let before = |steps: usize| at.checked_sub(steps).map(|before| self.letters[before]);
        let is_word = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.' | ':');
        // `Chrome/120.0.0.0` is a version.
        let is_version = before(1) == Some('/') && before(2).is_some_and(|letter| letter != '/');
        if before(1).is_some_and(is_word) || is_version {
            return;
        }
        let is_part = |letter: &char| letter.is_ascii_hexdigit() || matches!(letter, ':' | '.');
        let mut length = self.letters[at..].iter().take(46).take_while(|letter| is_part(letter)).count();
        let follows = self.letters.get(at + length).copied();
        if follows.is_some_and(|letter| letter.is_alphanumeric() || letter == '_') {
            return;
        }
        while length > 0 && self.letters[at + length - 1] == '.' {
            length -= 1;
        }
        let run = self.text(at..at + length);
        let is_bracketed = before(1) == Some('[') && follows == Some(']');
        let with_port = run.split_once(':').filter(|(_, port)| !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit()));
        let (address, length, has_brackets) = match (run.parse::<Ipv4Addr>(), with_port) {
            // In an address behind `//` an IPv6 address has brackets.
            (Ok(address), _) => (IpAddr::V4(address), length, before(1) == Some('/')),
            (_, Some((host, _))) if host.parse::<Ipv4Addr>().is_ok() => {
                let Ok(address) = host.parse::<Ipv4Addr>() else { return };
                (IpAddr::V4(address), host.len(), true)
            }
            _ => match run.trim_end_matches(':').parse::<Ipv6Addr>().or_else(|_| run.parse()) {
                Ok(address) if run.len() > 2 => {
                    let length = if run.parse::<Ipv6Addr>().is_ok() { length } else { run.trim_end_matches(':').len() };
                    (IpAddr::V6(address), length, false)
                }
                _ => return,
            },
        };
        self.push(at..at + length, Name::Address { address, has_brackets: has_brackets && !is_bracketed }, found);
    }

    /// Words of base64 that hold a name: all of the word becomes a token.
    fn base64(&self, found: &mut Vec<Found>) {
        let is_letter = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '/' | '-' | '_');
        let mut at = 0;
        while at < self.letters.len() {
            let length = self.letters[at..].iter().take_while(|letter| is_letter(letter)).count();
            if length >= MIN_BASE64 && holds_name(&self.text(at..at + length)) {
                let padding = self.letters[at + length..].iter().take(2).take_while(|letter| **letter == '=').count();
                self.push_text(at..at + length + padding, found);
            }
            at += length.max(1);
        }
    }
}

fn holds_name(word: &str) -> bool {
    let Some(bytes) = BASE64_STANDARD_NO_PAD.decode(word).or_else(|_| BASE64_URL_SAFE_NO_PAD.decode(word)).ok() else { return false };
    let wide = || {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
        String::from_utf16(&units).ok().filter(|text| text.is_ascii())
    };
    let is_text = |text: &str| !text.contains(|letter: char| letter.is_control() && !letter.is_whitespace());
    let texts = [str::from_utf8(&bytes).ok().map(str::to_owned), wide()];
    texts.into_iter().flatten().any(|text| is_text(&text) && !names(&text).is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        let name = |found: Found| match found.name {
            Name::Text(name) => name,
            Name::Address { address, has_brackets } => {
                if has_brackets {
                    format!("[{address}]")
                } else {
                    address.to_string()
                }
            }
        };
        names(text).into_iter().map(name).collect()
    }

    #[test]
    fn names_are_found_by_their_form_wherever_they_stand() {
        for (text, expected) in [
            ("megan@contoso.com", vec!["megan@contoso.com"]),
            ("sent to 'Megan.B@contoso.com', and <alex@contoso.com>.", vec!["Megan.B@contoso.com", "alex@contoso.com"]),
            ("i:0#.f|membership|megan@contoso.com", vec!["megan@contoso.com"]),
            ("i%3A0%23.f%7Cmembership%7Cmegan%40contoso.com", vec!["megan@contoso.com"]),
            ("x=megan%2540contoso.com&y", vec!["megan@contoso.com"]),
            (r#"{"a":"{\"u\":\"megan\\u0040contoso.com\"}"}"#, vec!["megan@contoso.com"]),
            ("<a>megan&#64;contoso.com</a>", vec!["megan@contoso.com"]),
            ("line\\nmegan@contoso.com", vec!["megan@contoso.com"]),
            ("megan_fabrikam.com#EXT#@contoso.onmicrosoft.com", vec!["megan_fabrikam.com#EXT#@contoso.onmicrosoft.com"]),
            ("https://contoso-my.sharepoint.com/personal/megan_contoso_com/Documents/a.docx", vec!["megan_contoso_com"]),
            ("/Personal/megan_contoso_com", vec!["megan_contoso_com"]),
            ("u=%2Fpersonal%2Fmegan%5Fcontoso%5Fcom%2FDocuments", vec!["megan_contoso_com"]),
            (r"C:\Users\megan\notes\a.txt", vec!["megan"]),
            (r"CONTOSO\megan", vec![r"CONTOSO\megan"]),
            (r"i:0#.w|contoso\megan", vec![r"contoso\megan"]),
            ("owner S-1-5-21-1004336348-1177238915-682003330-512", vec!["S-1-5-21-1004336348-1177238915-682003330-512"]),
            ("/o=ExchangeLabs/ou=x/cn=Recipients/cn=0a1b-Megan", vec!["0a1b-Megan"]),
            ("192.0.2.7:443", vec!["[192.0.2.7]"]),
            ("[192.0.2.7]:443", vec!["192.0.2.7"]),
            ("from 192.0.2.7, and ::ffff:192.0.2.8.", vec!["192.0.2.7", "::ffff:192.0.2.8"]),
            ("[2001:DB8::1]:443", vec!["2001:db8::1"]),
            ("c0a8::7", vec!["c0a8::7"]),
            ("fe80::1%eth0", vec!["fe80::1"]),
            ("http://192.0.2.7/x", vec!["[192.0.2.7]"]),
            ("token bWVnYW5AY29udG9zby5jb20= end", vec!["bWVnYW5AY29udG9zby5jb20="]),
        ] {
            assert_eq!(texts(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_name_stays() {
        for text in [
            "",
            "FileAccessed",
            "app@sharepoint",
            "00000003-0000-0ff1-ce00-000000000000@11111111-2222-3333-4444-555555555555",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/120.0.0.0 Safari/537.36",
            "2026-11-20T10:05:00",
            "10:05:00",
            "https://contoso.sharepoint.com/sites/sales/Shared Documents/Personal/plan.docx",
            r"NT AUTHORITY\SYSTEM",
            r"C:\Users\Public\a.txt",
            "@mention",
            "sha256-2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
            "5c7e0f5e-3c5b-4a2f-9d43-08de27d5a1f3",
            "a:b:c",
            "20261120T100000000$20261120T100500000$audit_exchange$Audit_Exchange$emea0001",
        ] {
            assert_eq!(texts(text), Vec::<String>::new(), "{text}");
        }
    }
}

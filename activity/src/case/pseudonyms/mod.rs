//! Pseudonyms: in place of accounts, addresses and personal OneDrive paths a document has tokens that only a key turns back.
//!
//! A token depends on the name and the key alone, never on where the name stands, so that the same name has the same token in every
//! column and in every file: counts, joins and the graph stay. Where a name is known to be one by what stands around it, as in `UserId` or
//! in an edge's node, all of it becomes a token; anywhere else names are found by their form (`names`).

mod names;
mod token;

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Map, Value};

use self::names::{Name, names, word};
pub use self::token::Key;
use super::document::Document;
use crate::visible::visible;

/// A document's own fields that hold no names and stay.
const OWN: [&str; 6] = ["pk", "ttl", "feed", "findings", "omitted", "redacted"];
/// Fields whose whole text names an account, whatever its form.
const ACCOUNTS: [&str; 9] = [
    "UserId",
    "UserKey",
    "UserDisplayName",
    "ActorUserId",
    "MailboxOwnerUPN",
    "MailboxOwnerSid",
    "MailboxOwnerMasterAccountSid",
    "LogonUserSid",
    "LogonUserDisplayName",
];
/// Fields whose texts are words of the service: no name is looked for in them but one that its form tells.
const WORDS: [&str; 5] = ["Operation", "Workload", "RecordType", "UserType", "label"];
/// Types of nodes that are accounts or addresses.
const PEOPLE: [&str; 4] = ["user", "guest", "mailbox", "address"];
/// What services write where nobody is meant, in lower case.
const NOBODY: [&str; 8] =
    ["", "unknown", "not available", "anonymous", "app@sharepoint", "sharepoint\\system", "nt authority\\system", "s-1-5-18"];

/// Which token, and what turns it back.
#[derive(Args, Clone, Debug)]
pub struct RevealOptions {
    /// The tokens, as they stand in the files; a pseudonymous address is an IPv6 address
    #[arg(required = true, value_name = "TOKEN")]
    pub tokens: Vec<String>,
    /// The file of the key with which they were made
    #[arg(long, value_name = "FILE")]
    pub key_file: PathBuf,
}

/// The names that tokens stand for, in their order, as a terminal may show them.
///
/// # Errors
///
/// The key cannot be read, or a token was not made with it.
pub fn reveal(options: &RevealOptions) -> Result<Vec<String>> {
    let key = Key::read(&options.key_file)?;
    let reveal = |token: &String| match key.reveal(token.trim()) {
        Some(name) => Ok(visible(&name).into_owned()),
        None => bail!("{token} is no token that was made with the key in {}", options.key_file.display()),
    };
    options.tokens.iter().map(reveal).collect()
}

/// Puts tokens in place of names.
pub struct Pseudonyms {
    key: Key,
}

impl Pseudonyms {
    /// With this key.
    pub fn new(key: Key) -> Self {
        Self { key }
    }

    /// The same document with tokens.
    pub fn document(&self, document: &Document) -> Document {
        let terms = Terms::of(document);
        let fields = document.fields().iter().map(|(name, value)| {
            let value = match name.as_str() {
                "edges" => self.edges(value),
                own if OWN.contains(&own) => value.clone(),
                _ => self.value(name, value, &terms),
            };
            (self.text(name, &Terms::default()).into_owned(), value)
        });
        Document::new(fields.collect())
    }

    /// What was asked, as a manifest has it.
    pub fn asked(&self, asked: &Value) -> Value {
        let mut told = self.value("", asked, &Terms::default());
        if let Some(user) = asked.get("user").and_then(Value::as_str) {
            told["user"] = Value::from(self.key.token(&user.to_lowercase()));
        }
        told
    }

    fn edges(&self, edges: &Value) -> Value {
        let Some(edges) = edges.as_array() else { return edges.clone() };
        let edge = |edge: &Value| {
            let Some(fields) = edge.as_object() else { return self.value("", edge, &Terms::default()) };
            let field = |(name, value): (&String, &Value)| {
                let kind = fields.get(&format!("{name}Type")).and_then(Value::as_str).unwrap_or_default();
                let value = value.as_str().map_or_else(|| value.clone(), |text| Value::from(self.node(kind, text)));
                (name.clone(), value)
            };
            Value::Object(fields.iter().map(field).collect())
        };
        Value::Array(edges.iter().map(edge).collect())
    }

    /// A node's name. It depends on type and name alone, so that two documents' node stays one.
    fn node<'a>(&self, kind: &str, name: &'a str) -> Cow<'a, str> {
        if PEOPLE.contains(&kind) { Cow::Owned(self.key.token(name)) } else { self.text(name, &Terms::default()) }
    }

    fn value(&self, name: &str, value: &Value, terms: &Terms) -> Value {
        match value {
            Value::String(text) if is(&ACCOUNTS, name) => Value::from(self.account(text, terms)),
            Value::String(text) if is(&WORDS, name) => Value::from(self.text(text, &Terms::default())),
            Value::String(text) => Value::from(self.text(text, terms)),
            Value::Array(values) => values.iter().map(|value| self.value(name, value, terms)).collect(),
            Value::Object(fields) => self.object(fields, terms),
            other => other.clone(),
        }
    }

    fn object(&self, fields: &Map<String, Value>, terms: &Terms) -> Value {
        let mut told = Map::with_capacity(fields.len());
        for (name, value) in fields {
            let value = self.value(name, value, terms);
            let mut name = self.text(name, terms).into_owned();
            while told.contains_key(&name) {
                name.push('_'); // Two spellings of one name.
            }
            told.insert(name, value);
        }
        Value::Object(told)
    }

    /// A text that is all of an account's name, unless it names nobody, or an app or a part of the service.
    fn account<'a>(&self, text: &'a str, terms: &Terms) -> Cow<'a, str> {
        let lower = text.to_lowercase();
        if NOBODY.contains(&lower.as_str()) {
            Cow::Borrowed(text)
        } else if terms.others.contains(&lower) {
            self.text(text, &Terms::default())
        } else {
            Cow::Owned(self.key.token(text))
        }
    }

    fn text<'a>(&self, text: &'a str, terms: &Terms) -> Cow<'a, str> {
        let mut found = names(text);
        if found.is_empty() && terms.people.is_empty() {
            return Cow::Borrowed(text);
        }
        terms.find(text, &mut found);
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        let (mut told, mut end) = (String::with_capacity(text.len() + 64), 0);
        for name in found {
            told.push_str(&text[end..name.at.start]);
            match name.name {
                Name::Text(name) => told.push_str(&self.key.token(&name)),
                Name::Address { address, has_brackets } => told.push_str(&self.address(address, has_brackets)),
            }
            end = name.at.end;
        }
        told.push_str(&text[end..]);
        Cow::Owned(told)
    }

    fn address(&self, address: IpAddr, has_brackets: bool) -> String {
        let token = self.key.address(address);
        if has_brackets { format!("[{token}]") } else { token.to_string() }
    }
}

fn is(names: &[&str], name: &str) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// What the edges of a document tell of its names, in lower case.
#[derive(Default)]
struct Terms {
    /// Accounts and addresses, and how addresses of personal sites write them.
    people: Vec<String>,
    /// Apps, agents and parts of the service.
    others: Vec<String>,
}

impl Terms {
    fn of(document: &Document) -> Self {
        let mut terms = Self::default();
        for edge in document.edges() {
            for (kind, name) in [(edge.from_type, edge.from), (edge.to_type, edge.to)] {
                let of_kind = match kind {
                    kind if PEOPLE.contains(&kind) => &mut terms.people,
                    "app" | "agent" | "system" => &mut terms.others,
                    _ => continue,
                };
                if !of_kind.iter().any(|known| known == name) {
                    of_kind.push(name.to_lowercase());
                }
            }
        }
        let in_addresses = |name: &String| name.contains('@').then(|| crate::explore::person::in_addresses(name));
        let in_addresses: Vec<_> = terms.people.iter().filter_map(in_addresses).collect();
        terms.people.extend(in_addresses);
        // Shorter ones would be found in words.
        terms.people.retain(|name| name.chars().count() >= 4 && !NOBODY.contains(&name.as_str()));
        terms.people.sort_by_key(|name| std::cmp::Reverse(name.len()));
        terms
    }

    /// Adds where these names stand in a text as words, less what is found already.
    fn find(&self, text: &str, found: &mut Vec<names::Found>) {
        let lower = text.to_lowercase();
        // A letter that is longer in lower case would shift what follows.
        if lower.len() != text.len() {
            return;
        }
        for name in &self.people {
            for (at, _) in lower.match_indices(name.as_str()) {
                let at = at..at + name.len();
                let overlaps = found.iter().any(|found| found.at.start < at.end && at.start < found.at.end);
                if !overlaps && word(&lower, &at) && text.is_char_boundary(at.start) && text.is_char_boundary(at.end) {
                    found.push(names::Found { name: Name::Text(text[at.clone()].to_owned()), at });
                }
            }
        }
        found.sort_by_key(|found| found.at.start);
    }
}

#[cfg(test)]
mod tests;

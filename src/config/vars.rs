//! The variables that settings are read from, with every fault that is found in them.

use std::{fmt, str::FromStr};

use url::Url;
use uuid::Uuid;

/// Everything wrong with the settings: the variable's name, and what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Faults(Vec<(String, String)>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the settings cannot be used:", self.0.len())?;
        self.0.iter().try_for_each(|(name, reason)| write!(f, "\n  {name} {reason}"))
    }
}

impl std::error::Error for Faults {}

/// One setting as it was found, for a person to look through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The variable.
    pub name: String,
    /// What it is set to; none where it is not set.
    pub value: Option<String>,
    /// What holds where it is not set.
    pub default: Option<String>,
    /// What is wrong with it.
    pub fault: Option<String>,
}

/// The variables, which of them were asked for, and what was found wrong with them so far.
pub(super) struct Vars<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    faults: Vec<(String, String)>,
    /// Names, each with its default.
    asked: Vec<(String, Option<String>)>,
}

impl<'a> Vars<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, faults: Vec::new(), asked: Vec::new() }
    }

    /// What was read, if nothing was found wrong with any of it.
    pub(super) fn judge<T>(self, read: Option<T>) -> Result<T, Faults> {
        match read {
            Some(read) if self.faults.is_empty() => Ok(read),
            _ => Err(Faults(self.faults)),
        }
    }

    pub(super) fn fault(&mut self, name: &str, reason: impl fmt::Display) {
        self.faults.push((name.to_owned(), reason.to_string()));
    }

    /// All that was asked for, and what was found fault with, each once.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let mut settings: Vec<Setting> = Vec::new();
        let faulty = self.faults.iter().map(|(name, _)| (name, None));
        for (name, default) in self.asked.iter().map(|(name, default)| (name, default.clone())).chain(faulty) {
            if settings.iter().any(|setting| setting.name == *name) {
                continue;
            }
            let faults: Vec<_> = self.faults.iter().filter(|(faulty, _)| faulty == name).map(|(_, reason)| reason.as_str()).collect();
            let fault = (!faults.is_empty()).then(|| faults.join("; "));
            settings.push(Setting { name: name.clone(), value: self.value(name), default, fault });
        }
        settings
    }

    pub(super) fn ask(&mut self, name: &str, default: Option<&str>) -> Option<String> {
        self.asked.push((name.to_owned(), default.map(str::to_owned)));
        self.value(name)
    }

    /// Whether a variable has a value. It does not count as asked for.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    pub(super) fn optional(&mut self, name: &str) -> Option<String> {
        self.ask(name, None)
    }

    fn value(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    pub(super) fn required(&mut self, name: &str) -> Option<String> {
        let value = self.optional(name);
        if value.is_none() {
            self.fault(name, "is missing");
        }
        value
    }

    pub(super) fn or_default(&mut self, name: &str, default: &str) -> String {
        self.ask(name, Some(default)).unwrap_or_else(|| default.to_owned())
    }

    pub(super) fn parsed<T: FromStr>(&mut self, name: &str, default: &str, expected: &str, valid: impl Fn(&T) -> bool) -> Option<T> {
        let text = self.or_default(name, default);
        let value = text.parse().ok().filter(valid);
        if value.is_none() {
            self.fault(name, format!("is {text:?}; it must be {expected}"));
        }
        value
    }

    pub(super) fn guid(&mut self, name: &str, text: String) -> Option<String> {
        let shape = is_guid(&text);
        if !shape {
            // Not what it is: secrets are pasted into the neighbour's field.
            self.fault(name, "is no GUID; it must be one such as 0873ee4d-d342-44f2-8961-74c442a2fad2");
        }
        shape.then(|| text.to_ascii_lowercase())
    }

    pub(super) fn url(&mut self, name: &str, text: &str) -> Option<Url> {
        match Url::parse(text) {
            Ok(url) if url.has_host() && matches!(url.scheme(), "http" | "https") => Some(url),
            _ => {
                // Not what it is: a connection string is easily pasted here, key and all.
                self.fault(name, "is no address; it must be one such as https://name.example");
                None
            }
        }
    }

    /// An address that tokens and keys travel to: https, or http where it stays on this machine.
    pub(super) fn secure_url(&mut self, name: &str, default: Option<&str>) -> Option<Url> {
        let text = self.ask(name, default).or_else(|| default.map(str::to_owned))?;
        let url = self.url(name, &text)?;
        if url.scheme() != "https" && !is_loopback(&url) {
            self.fault(name, "is http: beyond this machine, tokens and keys travel over https only");
        }
        Some(url)
    }
}

/// Whether a text has the shape of a GUID, in either case.
pub(crate) fn is_guid(text: &str) -> bool {
    // Other forms, in braces or without hyphens, are of other lengths.
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

/// Whether an address stays on this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

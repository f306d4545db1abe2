//! The variables that settings are read from, with every fault that is found in them.

use std::{fmt, str::FromStr};

use url::Url;
use uuid::Uuid;

/// The beginning of a Key Vault reference.
const KEY_VAULT: &str = "@Microsoft.KeyVault(";
const UNRESOLVED: &str = "is a Key Vault reference that the platform did not resolve: does the secret exist, and may the app's identity \
                          read it (role Key Vault Secrets User)? The portal says why, under the app's environment variables";

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
    /// Its value; none if it is not set.
    pub value: Option<String>,
    /// The value that holds if it is not set.
    pub default: Option<String>,
    /// The fault in it.
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

    /// Returns what was read, if nothing was found wrong with any of it.
    pub(super) fn judge<T>(self, read: Option<T>) -> Result<T, Faults> {
        match read {
            Some(read) if self.faults.is_empty() => Ok(read),
            _ => Err(Faults(self.faults)),
        }
    }

    /// Notes what is wrong with a variable, without its text: a secret may be pasted into any of them. Of a Key Vault reference that
    /// was not resolved nothing else is wrong.
    pub(super) fn fault(&mut self, name: &str, reason: impl fmt::Display) {
        if !self.is_unresolved(name) {
            self.faults.push((name.to_owned(), reason.to_string()));
        }
    }

    /// True if the platform left a Key Vault reference as it is, because it could not read the secret.
    /// <https://learn.microsoft.com/azure/app-service/app-service-key-vault-references#troubleshoot-key-vault-references>
    pub(super) fn is_unresolved(&self, name: &str) -> bool {
        (self.lookup)(name)
            .is_some_and(|text| text.trim_start().get(..KEY_VAULT.len()).is_some_and(|head| head.eq_ignore_ascii_case(KEY_VAULT)))
    }

    /// True if something was found wrong with a variable whose name begins so.
    pub(super) fn has_fault(&self, prefix: &str) -> bool {
        self.faults.iter().any(|(name, _)| name.starts_with(prefix))
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
        if self.is_unresolved(name) && !self.asked.iter().any(|(asked, _)| asked == name) {
            self.faults.push((name.to_owned(), UNRESOLVED.to_owned()));
        }
        self.asked.push((name.to_owned(), default.map(str::to_owned)));
        self.value(name)
    }

    /// True if a variable has a value. It does not count as asked for.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    pub(super) fn optional(&mut self, name: &str) -> Option<String> {
        self.ask(name, None)
    }

    fn value(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty() && !self.is_unresolved(name))
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
            self.fault(name, format!("must be {expected}"));
        }
        value
    }

    pub(super) fn guid(&mut self, name: &str, text: String) -> Option<String> {
        let shape = is_guid(&text);
        if !shape {
            self.fault(name, "is no GUID; it must be one such as 0873ee4d-d342-44f2-8961-74c442a2fad2");
        }
        shape.then(|| text.to_ascii_lowercase())
    }

    pub(super) fn url(&mut self, name: &str, text: &str) -> Option<Url> {
        match Url::parse(text) {
            Ok(url) if url.has_host() && matches!(url.scheme(), "http" | "https") && is_plain(&url) => Some(url),
            _ => {
                self.fault(name, "is no address; it must be one such as https://name.example, without a user, a query or a fragment");
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

/// True if an address is nothing but an address: what else it may hold may be a secret.
fn is_plain(url: &Url) -> bool {
    url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none()
}

/// True if a text has the shape of a GUID, in either case.
pub fn is_guid(text: &str) -> bool {
    // Other forms, in braces or without hyphens, are of other lengths.
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

/// True if an address stays on this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

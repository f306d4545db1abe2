//! Silences, by which an administrator says what is known: findings of a rule, an account or an address are not shown until a date, with the reason.

use std::{collections::BTreeSet, sync::Arc};

use chrono::{NaiveDate, Utc};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::Finding;
use crate::document::Fields;

/// The reason why `silence.toml` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("silence.toml cannot be used: {0}")]
pub struct BadSilence(String);

/// The part that is silenced.
#[derive(Clone, Debug, Default)]
pub struct Silences(Vec<Silence>);

/// One entry. `rule`, `account` and `address` must all be met where they are given; one of them must be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Silence {
    /// A rule's id or title.
    rule: Option<String>,
    account: Option<String>,
    address: Option<String>,
    /// The reason why it is no trouble, for who reads the file later.
    reason: String,
    /// The last day on which it is silent, UTC.
    #[serde(deserialize_with = "day")]
    until: NaiveDate,
}

/// TOML's own date, or one in quotes.
fn day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NaiveDate, D::Error> {
    let text = match toml::Value::deserialize(deserializer)? {
        toml::Value::String(text) => text,
        toml::Value::Datetime(day) => day.date.map(|day| day.to_string()).unwrap_or_default(),
        _ => String::new(),
    };
    text.parse().map_err(|_| D::Error::custom(format!("until is {text}; a day such as 2027-06-30 is meant")))
}

/// The file: `[[silence]]` entries.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    silence: Vec<Silence>,
}

impl Silences {
    /// Reads the file.
    ///
    /// # Errors
    /// It is no TOML, an entry lacks its reason or its last day, or names neither rule, account nor address.
    pub fn read(text: &str) -> Result<Self, BadSilence> {
        let File { silence } = toml::from_str(text).map_err(|error| BadSilence(error.message().to_owned()))?;
        let is_empty = |entry: &&Silence| entry.rule.is_none() && entry.account.is_none() && entry.address.is_none();
        if silence.iter().any(|entry| is_empty(&entry)) {
            return Err(BadSilence("an entry names neither rule, account nor address".to_owned()));
        }
        if silence.iter().any(|entry| entry.reason.trim().is_empty()) {
            return Err(BadSilence("an entry gives no reason".to_owned()));
        }
        Ok(Self(silence))
    }

    /// Takes out what is silenced today.
    pub(super) fn silence(&self, fields: &Fields<'_>, findings: &mut Vec<Finding<'_>>) {
        if findings.is_empty() || self.0.is_empty() {
            return;
        }
        let today = Utc::now().date_naive();
        let silences = self.0.iter().filter(|entry| entry.until >= today && entry.is_about(fields)).collect::<Vec<_>>();
        findings.retain(|finding| !silences.iter().any(|entry| entry.names(finding)));
    }

    /// True if a finding over time is silenced today: whoever did it, or for the one account that did.
    pub(super) fn is_silent_over_time(&self, finding: &Finding<'_>, accounts: &BTreeSet<Arc<str>>) -> bool {
        let today = Utc::now().date_naive();
        let is_of = |account: &String| accounts.len() == 1 && accounts.iter().all(|own| own.eq_ignore_ascii_case(account));
        let is_about = |entry: &Silence| entry.address.is_none() && entry.account.as_ref().is_none_or(is_of);
        self.0.iter().any(|entry| entry.until >= today && is_about(entry) && entry.names(finding))
    }

    /// True if everything about a record's account or address is silenced today, so that it does not count over time either.
    pub(super) fn is_silent(&self, fields: &Fields<'_>) -> bool {
        let today = Utc::now().date_naive();
        self.0.iter().any(|entry| entry.rule.is_none() && entry.until >= today && entry.is_about(fields))
    }
}

impl Silence {
    fn names(&self, finding: &Finding<'_>) -> bool {
        self.rule.as_deref().is_none_or(|rule| rule == finding.rule || rule == finding.title)
    }

    fn is_about(&self, fields: &Fields<'_>) -> bool {
        let has = |names: &[&str], wanted: &Option<String>| {
            let Some(wanted) = wanted else { return true };
            names
                .iter()
                .filter_map(|name| fields.text(name))
                .any(|text| text.eq_ignore_ascii_case(wanted) || super::over_time::without_port(&text).eq_ignore_ascii_case(wanted))
        };
        has(&["UserId"], &self.account) && has(&["ClientIP", "ClientIPAddress", "ActorIpAddress"], &self.address)
    }
}

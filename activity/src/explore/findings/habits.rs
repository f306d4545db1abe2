//! What an account never did before: a country, a network, an application, an administrator's operation that its records of an earlier
//! time do not have.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher as _};

use handler::findings::{Finding, Level};

use crate::case::columns::address;
use crate::case::document::Document;
use crate::geoip::GeoIp;

/// The fields that habits are made of, for reading no more of old documents than that.
pub(super) const FIELDS: &str = "SELECT c.UserId, c.UserType, c.RecordType, c.Operation, c.ApplicationId, c.AppId, c.ClientAppId, \
     c.AppAccessContext, c.edges FROM c";

/// Record types of what is administered: Exchange's cmdlets, the directory, the compliance centre's cmdlets.
/// <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-schema#auditlogrecordtype>
const ADMINISTRATION: [u64; 3] = [1, 8, 18];

/// What may come for the first time.
const COUNTRY: Finding<'static> = finding("5f0c2b6e-9d13-4a5e-8a41-2c7f0f6b1d01", "First time from this country", Level::Medium);
const NETWORK: Finding<'static> = finding("5f0c2b6e-9d13-4a5e-8a41-2c7f0f6b1d02", "First time from this network", Level::Low);
const APPLICATION: Finding<'static> = finding("5f0c2b6e-9d13-4a5e-8a41-2c7f0f6b1d03", "First time with this application", Level::Low);
const OPERATION: Finding<'static> = finding("5f0c2b6e-9d13-4a5e-8a41-2c7f0f6b1d04", "First time that this is administered", Level::Low);

const fn finding(rule: &'static str, title: &'static str, level: Level) -> Finding<'static> {
    Finding { rule, title, level, file: "" }
}

/// What accounts did at an earlier time. Eight bytes for each different thing.
pub(super) struct Habits {
    geoip: GeoIp,
    /// Of account, kind and value.
    known: HashSet<u64>,
    /// Of account and kind: those with any value. Whoever has none yet has no habit that could be broken.
    have_any: HashSet<u64>,
}

impl Habits {
    pub(super) fn new(geoip: GeoIp) -> Self {
        Self { geoip, known: HashSet::new(), have_any: HashSet::new() }
    }

    /// Notes what an account did.
    pub(super) fn learn(&mut self, document: &Document) {
        let account = document.text("UserId").to_lowercase();
        for (finding, value) in self.deeds(document) {
            self.have_any.insert(hash(&(&account, finding.rule)));
            self.known.insert(hash(&(&account, finding.rule, value)));
        }
    }

    /// What an account did that it did not do before.
    pub(super) fn firsts(&self, document: &Document) -> Vec<(Finding<'static>, String)> {
        if self.have_any.is_empty() {
            return Vec::new();
        }
        let account = document.text("UserId").to_lowercase();
        let mut deeds = self.deeds(document);
        deeds.retain(|(finding, value)| {
            self.have_any.contains(&hash(&(&account, finding.rule))) && !self.known.contains(&hash(&(&account, finding.rule, value)))
        });
        deeds
    }

    /// What a record says about its account, if the account is a person's and the record is no refused sign-in.
    fn deeds(&self, document: &Document) -> Vec<(Finding<'static>, String)> {
        let operation = document.text("Operation");
        if !is_person(document) || operation == "UserLoginFailed" {
            return Vec::new();
        }
        let mut deeds = Vec::new();
        if !self.geoip.is_empty()
            && let Some(address) = address(document)
        {
            deeds.extend(self.geoip.country(address).map(|country| (COUNTRY, country)));
            deeds.extend(self.geoip.network(address).map(|network| (NETWORK, network)));
        }
        deeds.extend(application(document).map(|application| (APPLICATION, application)));
        if number(document, "RecordType").is_some_and(|kind| ADMINISTRATION.contains(&kind)) {
            deeds.push((OPERATION, operation.trim_end_matches('.').to_owned()));
        }
        deeds
    }
}

/// Whether a record is of somebody who signs in: an address for a name, and no type of the service's own.
/// <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-schema#user-type>
fn is_person(document: &Document) -> bool {
    document.text("UserId").contains('@') && number(document, "UserType").is_none_or(|kind| [0, 1, 2, 10].contains(&kind))
}

/// The application that a person used.
fn application(document: &Document) -> Option<String> {
    let context = document.fields().get("AppAccessContext").and_then(|context| context.get("ClientAppId")?.as_str());
    let texts = ["ApplicationId", "ClientAppId", "AppId"].map(|name| document.text(name));
    texts.into_iter().chain(context).find(|text| !text.is_empty()).map(str::to_lowercase)
}

fn number(document: &Document, name: &str) -> Option<u64> {
    let value = document.fields().get(name)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use serde_json::{Value, json};

    use super::*;

    fn document(fields: Value) -> Document {
        Document::new(fields.as_object().unwrap().clone())
    }

    fn titles(habits: &Habits, fields: Value) -> Vec<String> {
        habits.firsts(&document(fields)).into_iter().map(|(finding, value)| format!("{}: {value}", finding.title)).collect()
    }

    #[test]
    fn what_an_account_never_did_is_told_and_what_it_did_is_not() {
        let mut habits = Habits::new(GeoIp::default());
        let admin = |operation: &str| json!({"UserId": "Megan@contoso.example", "RecordType": 8, "UserType": 0, "Operation": operation});
        let signs_in = |user: &str, application: &str| json!({"UserId": user, "RecordType": 15, "Operation": "UserLoggedIn", "ApplicationId": application});
        habits.learn(&document(admin("Update user.")));
        habits.learn(&document(signs_in("megan@contoso.example", "AAAA")));

        assert_eq!(titles(&habits, admin("Update user.")), [""; 0]);
        assert_eq!(titles(&habits, admin("Add user.")), ["First time that this is administered: Add user"]);
        assert_eq!(titles(&habits, signs_in("MEGAN@contoso.example", "aaaa")), [""; 0]);
        assert_eq!(titles(&habits, signs_in("megan@contoso.example", "bbbb")), ["First time with this application: bbbb"]);
    }

    #[test]
    fn whoever_was_not_seen_before_or_is_no_person_or_was_refused_breaks_no_habit() {
        let mut habits = Habits::new(GeoIp::default());
        habits.learn(&document(json!({"UserId": "megan@contoso.example", "Operation": "UserLoggedIn", "ApplicationId": "a"})));
        for fields in [
            json!({"UserId": "adele@contoso.example", "Operation": "UserLoggedIn", "ApplicationId": "b"}),
            json!({"UserId": "megan@contoso.example", "Operation": "UserLoginFailed", "ApplicationId": "b"}),
            json!({"UserId": "ServicePrincipal_1", "UserType": 5, "Operation": "Update user.", "RecordType": 8}),
        ] {
            assert_eq!(titles(&habits, fields), [""; 0]);
        }
    }
}

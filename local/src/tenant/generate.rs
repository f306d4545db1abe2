//! A tenant made from a seed: its people, sites, apps and addresses, and what they did, as records in the published
//! schema. The same seed, count and time make the same records. Names and addresses are those reserved for examples.
//!
//! Schema: <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-schema>

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use chrono::{DateTime, TimeDelta, Utc};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use uuid::Uuid;

use super::pack::{self, Slot, Tally};
use super::{NewBlob, Tenant};

/// How many of a hundred records are of which content type.
const SHARES: [(&str, usize); 5] = [
    ("Audit.AzureActiveDirectory", 20),
    ("Audit.Exchange", 42),
    ("Audit.SharePoint", 26),
    ("Audit.General", 9),
    ("DLP.All", 3),
];

/// Publishes `count` records made from a seed, and returns what they come to, by content type.
pub fn publish(tenant: &Tenant, seed: u64, count: usize) -> BTreeMap<String, Tally> {
    pack::publish(tenant, generate(seed, count, tenant.now()))
}

/// `count` records in blobs that became available in the six and a half days before `now`. About 3 % repeat another
/// record: two thirds of these in another blob, the rest as a rule in the same.
pub fn generate(seed: u64, count: usize, now: DateTime<Utc>) -> Vec<NewBlob> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let tenant = Organisation::new(&mut rng);
    let mut blobs = Vec::new();
    let (mut share, mut done) = (0, 0);
    for (content_type, hundredths) in SHARES {
        share += hundredths;
        // Counting up to the share's end leaves no record over from rounding.
        let records = count * share / 100 - done;
        done += records;
        fill(
            &tenant,
            content_type,
            pack::plan(records, now, &mut rng),
            &mut blobs,
            &mut rng,
        );
    }
    blobs
}

/// Fills the blobs of one content type with what happened in the hours before each, in no order.
fn fill(
    tenant: &Organisation,
    content_type: &str,
    slots: Vec<Slot>,
    blobs: &mut Vec<NewBlob>,
    rng: &mut ChaCha8Rng,
) {
    let mut earlier: Vec<String> = Vec::new();
    for Slot { created, records } in slots {
        let mut texts: Vec<String> = Vec::with_capacity(records);
        while texts.len() < records {
            let source = if rng.random_ratio(1, 3) {
                &texts
            } else {
                &earlier
            };
            let text = match source.choose(rng) {
                Some(again) if rng.random_ratio(3, 100) => again.clone(),
                _ => {
                    let at = created - TimeDelta::seconds(rng.random_range(300..10_800));
                    tenant.event(content_type, at, rng).to_string()
                }
            };
            texts.push(text);
        }
        // Enough to choose from, and no second copy of everything.
        if earlier.len() < 1000 {
            earlier.extend_from_slice(&texts);
        }
        blobs.push(NewBlob::new(content_type, created, texts));
    }
}

/// Who and what there is.
struct Organisation {
    id: Uuid,
    users: Vec<User>,
    sites: Vec<Site>,
    apps: Vec<(&'static str, Uuid)>,
    teams: Vec<(String, String)>,
}

struct User {
    name: String,
    upn: String,
    object_id: Uuid,
    /// The legacy key of a mailbox user, 16 hexadecimal digits.
    puid: String,
    mailbox: Uuid,
    sid: String,
    home: Address,
    device: Uuid,
}

/// Where a user works from.
struct Address {
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

struct Site {
    id: Uuid,
    web: Uuid,
    list: Uuid,
    url: String,
    personal: bool,
}

const DOMAIN: &str = "contoso.onmicrosoft.com";
const FIRST: [&str; 24] = [
    "Adele",
    "Alex",
    "Allan",
    "Amber",
    "Christie",
    "Debra",
    "Diego",
    "Emily",
    "Grady",
    "Henrietta",
    "Irvin",
    "Isaiah",
    "Johanna",
    "Joni",
    "Lee",
    "Lidia",
    "Lynne",
    "Megan",
    "Miriam",
    "Nestor",
    "Patti",
    "Pradeep",
    "Zoë",
    "Łukasz",
];
const LAST: [&str; 20] = [
    "Vance",
    "Wilber",
    "Deyoung",
    "Rodriguez",
    "Cline",
    "Berger",
    "Siciliani",
    "Braun",
    "Archie",
    "Mueller",
    "Sayers",
    "Langer",
    "Lorenz",
    "Sherman",
    "Gu",
    "Holloway",
    "Robbins",
    "Bowen",
    "Graham",
    "Gupta",
];
const SITES: [&str; 10] = [
    "Finance",
    "Sales",
    "HumanResources",
    "Legal",
    "Marketing",
    "Engineering",
    "ProjectFalcon",
    "Board",
    "Support",
    "Facilities",
];
const APPS: [&str; 8] = [
    "Microsoft Teams",
    "Office 365 Exchange Online",
    "Office 365 SharePoint Online",
    "Microsoft Office",
    "Azure Portal",
    "Microsoft Graph",
    "Contoso Expenses",
    "Power BI Service",
];
const FILES: [&str; 8] = [
    "Budget 2026.xlsx",
    "Accounts Overview.docx",
    "Roadmap.pptx",
    "Contract – draft.docx",
    "Payroll.csv",
    "Minutes.md",
    "Köln Büro.pdf",
    "Customers & Leads.xlsx",
];
const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
    "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.18129; Pro)",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
];

fn guid(rng: &mut ChaCha8Rng) -> Uuid {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid()
}

/// One of some; all lists here have entries.
fn one<'a, T>(of: &'a [T], rng: &mut ChaCha8Rng) -> &'a T {
    &of[rng.random_range(0..of.len())]
}

/// Common fields, then the record's own over them.
fn record(common: Value, own: Value) -> Value {
    match (common, own) {
        (Value::Object(mut common), Value::Object(own)) => {
            common.extend(own);
            Value::Object(common)
        }
        (_, own) => own,
    }
}

fn properties(pairs: &[(&str, &str)]) -> Value {
    pairs
        .iter()
        .map(|(name, value)| json!({ "Name": name, "Value": value }))
        .collect()
}

impl Organisation {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        let users: Vec<User> = (0..120).map(|i| User::new(i, rng)).collect();
        let mut sites: Vec<Site> = SITES
            .iter()
            .map(|name| {
                Site::new(
                    format!("https://contoso.sharepoint.com/sites/{name}"),
                    false,
                    rng,
                )
            })
            .collect();
        let personal = users.iter().step_by(3).map(|user| {
            let owner = user.upn.replace(['@', '.'], "_");
            (
                format!("https://contoso-my.sharepoint.com/personal/{owner}"),
                true,
            )
        });
        sites.extend(personal.map(|(url, personal)| Site::new(url, personal, rng)));
        Self {
            id: guid(rng),
            apps: APPS.map(|name| (name, guid(rng))).to_vec(),
            teams: SITES
                .map(|name| {
                    (
                        name.to_owned(),
                        format!("19:{}@thread.tacv2", guid(rng).simple()),
                    )
                })
                .to_vec(),
            users,
            sites,
        }
    }

    /// Something that happened.
    fn event(&self, content_type: &str, at: DateTime<Utc>, rng: &mut ChaCha8Rng) -> Value {
        // Few people do most of what is done.
        let share = rng.random::<f64>().powi(2);
        let user = &self.users[(share * self.users.len() as f64) as usize];
        match content_type {
            "Audit.AzureActiveDirectory" => self.directory(user, at, rng),
            "Audit.Exchange" => self.exchange(user, at, rng),
            "Audit.SharePoint" => self.sharepoint(user, at, rng),
            "DLP.All" => self.dlp(user, at, rng),
            _ => self.general(user, at, rng),
        }
    }

    /// The fields that every record has.
    fn common(
        &self,
        at: DateTime<Utc>,
        workload: &str,
        record_type: u32,
        operation: &str,
        id: Uuid,
    ) -> Value {
        json!({
            // Without a zone, as the service writes it.
            "CreationTime": at.format("%Y-%m-%dT%H:%M:%S").to_string(),
            "Id": id,
            "Operation": operation,
            "OrganizationId": self.id,
            "RecordType": record_type,
            "Version": 1,
            "Workload": workload,
        })
    }

    fn exchange(&self, user: &User, at: DateTime<Utc>, rng: &mut ChaCha8Rng) -> Value {
        let message = |rng: &mut ChaCha8Rng| json!({ "InternetMessageId": format!("<{}@AM0PR04MB{}.eurprd04.prod.outlook.com>", guid(rng).simple(), rng.random_range(1000..9999)) });
        let folder = |path: &str, rng: &mut ChaCha8Rng| json!({ "Id": format!("LgAAAAB{}AQB{}AAAB", guid(rng).simple(), guid(rng).simple()), "Path": path });
        let ip = user.address(rng);
        let mailbox = json!({
            "UserType": 0,
            "UserKey": user.puid,
            "UserId": user.upn,
            "ResultStatus": "Succeeded",
            "ClientIP": ip,
            "ClientIPAddress": ip,
            "ExternalAccess": false,
            "InternalLogonType": 0,
            "LogonType": 0,
            "LogonUserSid": user.sid,
            "MailboxGuid": user.mailbox,
            "MailboxOwnerSid": user.sid,
            "MailboxOwnerUPN": user.upn,
            "OrganizationName": DOMAIN,
            "OriginatingServer": "AM0PR04MB5056 (15.20.4129.031)\r\n",
            "SessionId": guid(rng),
        });
        let (record_type, operation, own) = match rng.random_range(0..10) {
            0..5 => {
                let items: Vec<Value> =
                    (0..rng.random_range(1..12)).map(|_| message(rng)).collect();
                let mut inbox = folder("\\Inbox", rng);
                inbox["FolderItems"] = items.into();
                (
                    50,
                    "MailItemsAccessed",
                    json!({
                        "AppId": one(&self.apps, rng).1,
                        "ClientAppId": guid(rng),
                        "ClientInfoString": "Client=REST;Client=RESTSystem;;",
                        "OperationProperties": properties(&[("MailAccessType", "Bind"), ("IsThrottled", "False")]),
                        "Folders": [inbox],
                        "OperationCount": rng.random_range(1..12),
                    }),
                )
            }
            5..7 => (
                2,
                "Send",
                json!({
                    "ClientInfoString": "Client=OWA;Action=ViaProxy",
                    "Item": {
                        "Id": format!("RgAAAAB{}", guid(rng).simple()),
                        "InternetMessageId": message(rng)["InternetMessageId"],
                        "ParentFolder": folder("\\Drafts", rng),
                        "SizeInBytes": rng.random_range(2_000..4_000_000),
                        "Subject": one(&["Re: figures", "Lunch?", "Fwd: \"quoted\" — naïve", "Invoice 4711"], rng),
                    },
                }),
            ),
            7..9 => (
                3,
                *one(&["SoftDelete", "HardDelete", "MoveToDeletedItems"], rng),
                json!({
                    "ClientInfoString": "Client=MSExchangeRPC",
                    "ClientProcessName": "OUTLOOK.EXE",
                    "ClientVersion": "16.0.18129.20158",
                    "AffectedItems": [{
                        "Id": format!("RgAAAAB{}", guid(rng).simple()),
                        "InternetMessageId": message(rng)["InternetMessageId"],
                        "ParentFolder": folder("\\Inbox", rng),
                        "Subject": "Newsletter",
                    }],
                    "CrossMailboxOperation": false,
                    "Folder": folder("\\Inbox", rng),
                }),
            ),
            _ => {
                let system = "NT AUTHORITY\\SYSTEM (Microsoft.Exchange.ServiceHost)";
                let object = format!(
                    "EURPR04A009.PROD.OUTLOOK.COM/Microsoft Exchange Hosted Organizations/{DOMAIN}/{}",
                    user.name
                );
                let own = json!({
                    "UserType": 3,
                    "UserKey": system,
                    "UserId": system,
                    "ResultStatus": "True",
                    "ObjectId": object,
                    "AppId": "",
                    "ClientAppId": "",
                    "ExternalAccess": true,
                    "OrganizationName": DOMAIN,
                    "OriginatingServer": "DB6PR04MB3206 (15.20.4129.032)",
                    "Parameters": properties(&[
                        ("Identity", &object),
                        ("ProhibitSendQuota", "99 GB (106,300,440,576 bytes)"),
                        ("RecoverableItemsQuota", "30 GB (32,212,254,720 bytes)"),
                        ("ForwardingSmtpAddress", ""),
                        ("DeliverToMailboxAndForward", "False"),
                        ("Force", "True"),
                        ("UseDatabaseQuotaDefaults", "False"),
                    ]),
                });
                return record(
                    self.common(at, "Exchange", 1, "Set-Mailbox", guid(rng)),
                    own,
                );
            }
        };
        record(
            record(
                self.common(at, "Exchange", record_type, operation, guid(rng)),
                mailbox,
            ),
            own,
        )
    }

    fn sharepoint(&self, user: &User, at: DateTime<Utc>, rng: &mut ChaCha8Rng) -> Value {
        let site = one(&self.sites, rng);
        let workload = if site.personal {
            "OneDrive"
        } else {
            "SharePoint"
        };
        let file = *one(&FILES, rng);
        let extension = file.rsplit('.').next().unwrap_or_default();
        let person = json!({
            "UserType": 0,
            "UserKey": format!("i:0h.f|membership|{}@live.com", user.puid.to_lowercase()),
            "UserId": user.upn,
            "ClientIP": user.address(rng),
            "CorrelationId": guid(rng),
            "EventSource": "SharePoint",
            "Site": site.id,
            "WebId": site.web,
            "ListId": site.list,
            "ListItemUniqueId": guid(rng),
            "UserAgent": one(&AGENTS, rng),
            "SiteUrl": format!("{}/", site.url),
        });
        let (record_type, operation, own) = match rng.random_range(0..10) {
            0..7 => {
                let operations = [
                    "FileAccessed",
                    "FileDownloaded",
                    "FileModified",
                    "FilePreviewed",
                    "FileSyncDownloadedFull",
                ];
                (
                    6,
                    *one(&operations, rng),
                    json!({
                        "ItemType": "File",
                        "ObjectId": format!("{}/Shared Documents/{file}", site.url),
                        "SourceFileExtension": extension,
                        "SourceFileName": file,
                        "SourceRelativeUrl": "Shared Documents",
                        "FileSizeBytes": rng.random_range(100..50_000_000),
                        "HighPriorityMediaProcessing": false,
                        "ApplicationId": one(&self.apps, rng).1,
                        "ApplicationDisplayName": one(&self.apps, rng).0,
                        "AppAccessContext": {
                            "AADSessionId": guid(rng),
                            "CorrelationId": guid(rng),
                            "UniqueTokenId": guid(rng).simple().to_string(),
                        },
                        "DeviceDisplayName": user.home.v4.to_string(),
                        "IsManagedDevice": rng.random_bool(0.5),
                        "Platform": "WinDesktop",
                    }),
                )
            }
            7..9 => (
                4,
                "PageViewed",
                json!({
                    "ItemType": "Page",
                    "CustomUniqueId": true,
                    "ObjectId": format!("{}/SitePages/Home.aspx", site.url),
                    "BrowserName": "Edge",
                    "BrowserVersion": "131.0.0.0",
                }),
            ),
            _ => {
                let other = one(&self.users, rng);
                (
                    14,
                    "SharingSet",
                    json!({
                        "ItemType": "File",
                        "ObjectId": format!("{}/Shared Documents/{file}", site.url),
                        "SourceFileName": file,
                        "SourceFileExtension": extension,
                        "EventData": "<Permissions granted>Contribute</Permissions granted>",
                        "TargetUserOrGroupName": if rng.random_ratio(1, 3) { "partner#ext#@contoso.onmicrosoft.com" } else { &other.upn },
                        "TargetUserOrGroupType": if rng.random_ratio(1, 3) { "Guest" } else { "Member" },
                        "SharingLinkScope": "Anyone",
                    }),
                )
            }
        };
        record(
            record(
                self.common(at, workload, record_type, operation, guid(rng)),
                person,
            ),
            own,
        )
    }

    fn directory(&self, user: &User, at: DateTime<Utc>, rng: &mut ChaCha8Rng) -> Value {
        let ip = user.address(rng);
        let actor = json!([{ "ID": user.object_id, "Type": 0 }, { "ID": user.upn, "Type": 5 }]);
        let id = guid(rng);
        let shared = json!({
            "UserType": 0,
            "UserKey": user.object_id,
            "UserId": user.upn,
            "ClientIP": ip,
            "Actor": actor,
            "ActorContextId": self.id,
            "ActorIpAddress": ip,
            "AzureActiveDirectoryEventType": 1,
            "InterSystemsId": guid(rng),
            "IntraSystemId": id,
            "SupportTicketId": "",
            "TargetContextId": self.id,
        });
        if rng.random_ratio(4, 5) {
            let (name, app) = one(&self.apps, rng);
            let failed = rng.random_ratio(1, 12);
            let own = json!({
                // It says that the request was handled, not that the sign-in worked.
                "ResultStatus": "Success",
                "ObjectId": app,
                "ApplicationId": app,
                "AppDisplayName": name,
                "ErrorNumber": if failed { "50126" } else { "0" },
                "LogonError": if failed { "InvalidUserNameOrPassword" } else { "" },
                "ExtendedProperties": properties(&[
                    ("ResultStatusDetail", if failed { "UserError" } else { "Success" }),
                    ("UserAgent", *one(&AGENTS, rng)),
                    ("UserAuthenticationMethod", "1"),
                    ("RequestType", "OAuth2:Authorize"),
                ]),
                "ModifiedProperties": [],
                "Target": [{ "ID": app, "Type": 0 }],
                "DeviceProperties": properties(&[
                    ("Id", &user.device.to_string()),
                    ("OS", "Windows 11"),
                    ("BrowserType", "Edge"),
                    ("IsCompliantAndManaged", "True"),
                    ("SessionId", &guid(rng).to_string()),
                ]),
            });
            let operation = if failed {
                "UserLoginFailed"
            } else {
                "UserLoggedIn"
            };
            return record(
                record(
                    self.common(at, "AzureActiveDirectory", 15, operation, id),
                    shared,
                ),
                own,
            );
        }
        let other = one(&self.users, rng);
        let own = json!({
            "ResultStatus": "Success",
            "ObjectId": other.upn,
            // JSON inside a string, as the service has it.
            "ExtendedProperties": [
                { "Name": "additionalDetails", "Value": json!({ "UserType": "Member", "User-Agent": one(&AGENTS, rng) }).to_string() },
                { "Name": "extendedAuditEventCategory", "Value": "User" },
            ],
            "ModifiedProperties": [
                { "Name": "StsRefreshTokensValidFrom", "NewValue": format!("[\r\n  \"{}\"\r\n]", at.format("%Y-%m-%dT%H:%M:%SZ")), "OldValue": "[]" },
                { "Name": "Included Updated Properties", "NewValue": "StsRefreshTokensValidFrom", "OldValue": "" },
            ],
            "Target": [{ "ID": format!("User_{}", other.object_id), "Type": 2 }, { "ID": other.upn, "Type": 5 }],
        });
        let operation = *one(
            &[
                "Update user.",
                "Add member to group.",
                "Reset user password.",
                "Add app role assignment grant to user.",
            ],
            rng,
        );
        record(
            record(
                self.common(at, "AzureActiveDirectory", 8, operation, id),
                shared,
            ),
            own,
        )
    }

    fn general(&self, user: &User, at: DateTime<Utc>, rng: &mut ChaCha8Rng) -> Value {
        let shared = json!({
            "UserType": 0,
            "UserKey": user.object_id,
            "UserId": user.upn,
            "ClientIP": user.address(rng),
        });
        let (team, thread) = one(&self.teams, rng);
        let (workload, record_type, operation, own) = match rng.random_range(0..10) {
            0..6 => (
                "MicrosoftTeams",
                25,
                *one(&["MessageSent", "MessageUpdated", "ReactedToMessage"], rng),
                json!({
                    "ItemName": team,
                    "TeamName": team,
                    "TeamGuid": thread,
                    "ChannelName": "General",
                    "ChannelGuid": thread,
                    "CommunicationType": "Team",
                    "MessageId": rng.random_range(1_600_000_000_000_u64..1_800_000_000_000).to_string(),
                    "MessageVersion": "0",
                    "MessageSizeInBytes": rng.random_range(20..4_000),
                    "ParticipantInfo": { "HasForeignTenantUsers": false, "HasGuestUsers": rng.random_bool(0.1), "HasOtherGuestUsers": false, "HasUnauthenticatedUsers": false, "ParticipatingTenantIds": [self.id] },
                    "ExtraProperties": [{ "Key": "TimeZone", "Value": "Europe/Berlin" }, { "Key": "OsName", "Value": "windows" }, { "Key": "Country", "Value": "DE" }],
                }),
            ),
            6..8 => {
                let members: Vec<Value> = (0..rng.random_range(1..6))
                    .map(|_| {
                        let member = one(&self.users, rng);
                        json!({ "DisplayName": member.name, "Role": 1, "UPN": member.upn })
                    })
                    .collect();
                (
                    "MicrosoftTeams",
                    25,
                    "MemberAdded",
                    json!({
                        "CommunicationType": "Team",
                        "ItemName": team,
                        "TeamName": team,
                        "TeamGuid": thread,
                        "AADGroupId": guid(rng),
                        "Members": members,
                    }),
                )
            }
            8 => (
                "PowerBI",
                20,
                "ViewReport",
                json!({
                    "Activity": "ViewReport",
                    "ReportName": "Monthly figures",
                    "ReportId": guid(rng),
                    "ReportType": "PowerBIReport",
                    "DatasetId": guid(rng),
                    "DatasetName": "Figures",
                    "WorkspaceId": guid(rng),
                    "WorkSpaceName": team,
                    "RequestId": guid(rng),
                    "ActivityId": guid(rng),
                    "IsSuccess": true,
                    "ConsumptionMethod": "Power BI Web",
                    "DistributionMethod": "Workspace",
                    "UserAgent": one(&AGENTS, rng),
                }),
            ),
            _ => (
                "SecurityComplianceCenter",
                40,
                "AlertEntityGenerated",
                json!({
                    "UserType": 4,
                    "UserKey": "SecurityComplianceAlerts",
                    "UserId": "SecurityComplianceAlerts",
                    "ClientIP": null,
                    "ResultStatus": "Succeeded",
                    "ObjectId": user.upn,
                    "AlertEntityId": user.upn,
                    "AlertId": guid(rng),
                    "AlertLinks": [{ "AlertLinkHref": "" }],
                    "AlertType": "System",
                    "Category": "ThreatManagement",
                    "Comments": "New alert",
                    "Data": json!({ "etype": "User", "eid": user.upn, "tid": self.id, "ts": at.to_rfc3339(), "op": "MailRedirect", "tdc": "1" }).to_string(),
                    "EntityType": "User",
                    "Name": "Creation of forwarding/redirect rule",
                    "PolicyId": guid(rng),
                    "Severity": one(&["Informational", "Low", "Medium", "High"], rng),
                    "Source": "Office 365 Security & Compliance",
                    "Status": "Active",
                }),
            ),
        };
        record(
            record(
                self.common(at, workload, record_type, operation, guid(rng)),
                shared,
            ),
            own,
        )
    }

    /// <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-schema#dlp-schema>
    fn dlp(&self, user: &User, at: DateTime<Utc>, rng: &mut ChaCha8Rng) -> Value {
        let count = rng.random_range(1..9);
        let detected: Vec<Value> = (0..count)
            .map(|_| json!({ "Name": format!("4111-1111-1111-{:04}", rng.random_range(0..10_000)), "Value": "card number" }))
            .collect();
        let sensitive = json!({
            "Confidence": 85,
            "Count": count,
            "UniqueCount": count,
            "Location": "Message Body",
            "SensitiveType": "50842eb7-edc8-4019-85dd-5a5c1f2bb085",
            "SensitiveInformationTypeName": "Credit Card Number",
            "SensitiveInformationDetections": { "DetectedValues": detected, "ResultsTruncated": false },
        });
        let shared = json!({
            "UserType": 4,
            "UserKey": "DlpAgent",
            "UserId": user.upn,
            "IncidentId": guid(rng),
            "SensitiveInfoDetectionIsIncluded": true,
            "ExceptionInfo": null,
            "PolicyDetails": [{
                "PolicyId": guid(rng),
                "PolicyName": "Payment data",
                "Rules": [{
                    "RuleId": guid(rng),
                    "RuleName": "Card numbers leave the house",
                    "RuleMode": "Enable",
                    "Severity": one(&["Low", "Medium", "High"], rng),
                    "Actions": ["NotifyUser", "GenerateAlert"],
                    "ManagementRuleId": guid(rng),
                    "ConditionsMatched": { "ConditionMatchedInNewScheme": true, "SensitiveInformation": [sensitive] },
                }],
            }],
        });
        let site = one(&self.sites, rng);
        let file = *one(&FILES, rng);
        let (workload, record_type, own) = match rng.random_range(0..3) {
            0 => (
                "Exchange",
                13,
                json!({
                    "ObjectId": format!("<{}@{DOMAIN}>", guid(rng).simple()),
                    "ExchangeMetaData": { "MessageID": format!("<{}@{DOMAIN}>", guid(rng).simple()), "From": user.upn, "To": ["partner@example.com"], "CC": [], "BCC": [], "Subject": "Payment", "Sent": at.format("%Y-%m-%dT%H:%M:%S").to_string(), "RecipientCount": 1 },
                }),
            ),
            1 => (
                if site.personal {
                    "OneDrive"
                } else {
                    "SharePoint"
                },
                11,
                json!({
                    "ObjectId": format!("{}/Shared Documents/{file}", site.url),
                    "SharePointMetaData": { "From": user.upn, "SiteCollectionGuid": site.id, "SiteCollectionUrl": site.url, "FileName": file, "FileOwner": user.name, "FilePathUrl": format!("{}/Shared Documents/{file}", site.url), "DocumentLastModifier": user.upn, "DocumentSharer": "", "UniqueID": guid(rng), "LastModifiedTime": at.format("%Y-%m-%dT%H:%M:%S").to_string() },
                }),
            ),
            _ => (
                "Endpoint",
                63,
                json!({
                    "ObjectId": format!("C:\\Users\\{}\\Documents\\{file}", user.name),
                    "ClientIP": user.address(rng),
                    "EndpointMetaData": { "DeviceName": "desktop-4711", "EnforcementMode": 1, "EndpointOperation": "FileCopiedToRemovableMedia", "FileExtension": file.rsplit('.').next(), "FileSize": rng.random_range(100..1_000_000), "RMSEncrypted": false, "Sha256": guid(rng).simple().to_string() },
                }),
            ),
        };
        let operation = *one(
            &[
                "DlpRuleMatch",
                "DlpRuleMatch",
                "DlpRuleMatch",
                "DlpRuleUndo",
                "DlpInfo",
            ],
            rng,
        );
        record(
            record(
                self.common(at, workload, record_type, operation, guid(rng)),
                shared,
            ),
            own,
        )
    }
}

impl User {
    fn new(i: usize, rng: &mut ChaCha8Rng) -> Self {
        // 120 is the least common multiple of the lists' lengths, so no pair of names comes twice.
        let (first, last) = (FIRST[i % FIRST.len()], LAST[i % LAST.len()]);
        let ascii = |name: &str| name.replace('ë', "e").replace('Ł', "L").to_lowercase();
        Self {
            name: format!("{first} {last}"),
            upn: format!("{}.{}@{DOMAIN}", ascii(first), ascii(last)),
            object_id: guid(rng),
            puid: format!(
                "1003200{:09X}",
                rng.random_range(0..0x10_0000_0000_u64 >> 4)
            ),
            mailbox: guid(rng),
            sid: format!(
                "S-1-5-21-1376570662-3565232716-1187618197-{}",
                rng.random_range(1_000_000..40_000_000)
            ),
            home: Address {
                v4: match rng.random_range(0..3) {
                    0 => Ipv4Addr::new(192, 0, 2, rng.random()),
                    1 => Ipv4Addr::new(198, 51, 100, rng.random()),
                    _ => Ipv4Addr::new(203, 0, 113, rng.random()),
                },
                v6: Ipv6Addr::new(
                    0x2001,
                    0xdb8,
                    rng.random(),
                    rng.random(),
                    0,
                    0,
                    0,
                    rng.random(),
                ),
            },
            device: guid(rng),
        }
    }

    /// The user's address in one of the many forms of ClientIP.
    fn address(&self, rng: &mut ChaCha8Rng) -> Option<String> {
        let Address { v4, v6 } = self.home;
        let port = rng.random_range(1024..65535);
        Some(match rng.random_range(0..100) {
            0..60 => v4.to_string(),
            60..68 => format!("{v4}:{port}"),
            68..72 => format!("[{v4}]:{port}"),
            72..82 => v6.to_string(),
            82..86 => format!("[{v6}]"),
            86..92 => format!("[{v6}]:{port}"),
            92..95 => format!("::ffff:{v4}"),
            95 => "localhost".to_owned(),
            96 => format!("mail.example.com:{port}"),
            _ => return None,
        })
    }
}

impl Site {
    fn new(url: String, personal: bool, rng: &mut ChaCha8Rng) -> Self {
        Self {
            id: guid(rng),
            web: guid(rng),
            list: guid(rng),
            url,
            personal,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use super::*;
    use crate::tenant::Body;

    fn texts(blobs: &[NewBlob]) -> Vec<&str> {
        blobs
            .iter()
            .flat_map(|blob| match &blob.body {
                Body::Records(texts) => texts.iter().map(String::as_str).collect(),
                _ => Vec::new(),
            })
            .collect()
    }

    #[test]
    fn a_seed_makes_the_same_tenant_again_and_another_seed_another() {
        let now = Utc::now();
        let (one, same, other) = (
            generate(1, 300, now),
            generate(1, 300, now),
            generate(2, 300, now),
        );
        assert_eq!(texts(&one), texts(&same));
        assert_ne!(texts(&one), texts(&other));
    }

    #[test]
    fn records_fill_all_five_content_types_with_a_few_repeats() {
        let blobs = generate(3, 5000, Utc::now());
        let tallies = pack::tally(&blobs);
        assert_eq!(tallies.len(), 5);
        let records: usize = tallies.values().map(|tally| tally.records).sum();
        let ids: usize = tallies.values().map(|tally| tally.ids).sum();
        assert_eq!(records, 5000);
        assert!(
            (100..200).contains(&(records - ids)),
            "{} repeats",
            records - ids
        );

        let bytes: usize = texts(&blobs).iter().map(|text| text.len()).sum();
        assert!(
            (1200..1600).contains(&(bytes / records)),
            "{} bytes a record",
            bytes / records
        );
    }

    #[test]
    fn records_are_formed_as_the_schema_says_and_precede_their_blobs() {
        for blob in generate(4, 2000, Utc::now()) {
            let Body::Records(texts) = &blob.body else {
                continue;
            };
            for text in texts {
                let record: Value = serde_json::from_str(text).unwrap();
                let created = record["CreationTime"].as_str().unwrap();
                let created = chrono::NaiveDateTime::parse_from_str(created, "%Y-%m-%dT%H:%M:%S")
                    .unwrap()
                    .and_utc();
                assert!(created < blob.created);
                assert!(record["Id"].as_str().unwrap().parse::<Uuid>().is_ok());
                assert!(record["RecordType"].is_u64() && record["UserType"].is_u64());
                for name in [
                    "Operation",
                    "OrganizationId",
                    "UserKey",
                    "UserId",
                    "Workload",
                ] {
                    assert!(record[name].is_string(), "{name} of {text}");
                }
            }
        }
    }
}

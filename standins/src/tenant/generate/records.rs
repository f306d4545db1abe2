//! What people in the organisation did, as records of the published schema with the service's habits: times without a
//! zone, JSON inside strings, addresses in many forms.
//!
//! Schema: <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-schema>

use chrono::{DateTime, Utc};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use uuid::Uuid;

use super::organisation::{AGENTS, DOMAIN, FILES, OUTLOOK, Organisation, User, guid, one};

impl Organisation {
    /// Something that happened.
    pub(super) fn event(&self, content_type: &str, at: DateTime<Utc>, rng: &mut ChaCha8Rng) -> Value {
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
    pub(super) fn common(&self, at: DateTime<Utc>, workload: &str, record_type: u32, operation: &str, id: Uuid) -> Value {
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
        let message = |rng: &mut ChaCha8Rng| {
            let server = rng.random_range(1000..9999);
            format!("<{}@AM0PR04MB{server}.eurprd04.prod.outlook.com>", guid(rng).simple())
        };
        let folder = |path: &str, rng: &mut ChaCha8Rng| {
            let id = format!("LgAAAAB{}AQB{}AAAB", guid(rng).simple(), guid(rng).simple());
            json!({ "Id": id, "Path": path })
        };
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
                let items: Vec<Value> = (0..rng.random_range(1..12)).map(|_| json!({ "InternetMessageId": message(rng) })).collect();
                let mut inbox = folder("\\Inbox", rng);
                inbox["FolderItems"] = items.into();
                (
                    50,
                    "MailItemsAccessed",
                    json!({
                        "AppId": self.app_of(user, rng).1,
                        "ClientAppId": outlook(rng),
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
                        "InternetMessageId": message(rng),
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
                        "InternetMessageId": message(rng),
                        "ParentFolder": folder("\\Inbox", rng),
                        "Subject": "Newsletter",
                    }],
                    "CrossMailboxOperation": false,
                    "Folder": folder("\\Inbox", rng),
                }),
            ),
            _ => {
                let system = "NT AUTHORITY\\SYSTEM (Microsoft.Exchange.ServiceHost)";
                let object = format!("EURPR04A009.PROD.OUTLOOK.COM/Microsoft Exchange Hosted Organizations/{DOMAIN}/{}", user.name);
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
                return record(self.common(at, "Exchange", 1, "Set-Mailbox", guid(rng)), own);
            }
        };
        record(record(self.common(at, "Exchange", record_type, operation, guid(rng)), mailbox), own)
    }

    fn sharepoint(&self, user: &User, at: DateTime<Utc>, rng: &mut ChaCha8Rng) -> Value {
        let site = self.site_of(user, rng);
        let workload = if site.personal { "OneDrive" } else { "SharePoint" };
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
                let operations = ["FileAccessed", "FileDownloaded", "FileModified", "FilePreviewed", "FileSyncDownloadedFull"];
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
                        "ApplicationId": self.app_of(user, rng).1,
                        "ApplicationDisplayName": self.app_of(user, rng).0,
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
                let (target, kind) = if rng.random_ratio(1, 3) {
                    ("partner_example.com#ext#@contoso.onmicrosoft.com", "Guest")
                } else {
                    (self.colleague_of(user, rng).upn.as_str(), "Member")
                };
                (
                    14,
                    "SharingSet",
                    json!({
                        "ItemType": "File",
                        "ObjectId": format!("{}/Shared Documents/{file}", site.url),
                        "SourceFileName": file,
                        "SourceFileExtension": extension,
                        "EventData": "<Permissions granted>Contribute</Permissions granted>",
                        "TargetUserOrGroupName": target,
                        "TargetUserOrGroupType": kind,
                        "SharingLinkScope": "Anyone",
                    }),
                )
            }
        };
        record(record(self.common(at, workload, record_type, operation, guid(rng)), person), own)
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
            let (name, app) = self.app_of(user, rng);
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
            let operation = if failed { "UserLoginFailed" } else { "UserLoggedIn" };
            return record(record(self.common(at, "AzureActiveDirectory", 15, operation, id), shared), own);
        }
        let other = one(&self.users, rng);
        let administrator = self.administrator_of(other);
        let own = json!({
            "UserKey": administrator.object_id,
            "UserId": administrator.upn,
            "ClientIP": administrator.home.v4,
            "ActorIpAddress": administrator.home.v4,
            "Actor": [{ "ID": administrator.object_id, "Type": 0 }, { "ID": administrator.upn, "Type": 5 }],
            "ResultStatus": "Success",
            "ObjectId": other.upn,
            // JSON inside a string, as the service has it.
            "ExtendedProperties": [
                {
                    "Name": "additionalDetails",
                    "Value": json!({ "UserType": "Member", "User-Agent": one(&AGENTS, rng) }).to_string(),
                },
                { "Name": "extendedAuditEventCategory", "Value": "User" },
            ],
            "ModifiedProperties": [
                {
                    "Name": "StsRefreshTokensValidFrom",
                    "NewValue": format!("[\r\n  \"{}\"\r\n]", at.format("%Y-%m-%dT%H:%M:%SZ")),
                    "OldValue": "[]",
                },
                { "Name": "Included Updated Properties", "NewValue": "StsRefreshTokensValidFrom", "OldValue": "" },
            ],
            "Target": [{ "ID": format!("User_{}", other.object_id), "Type": 2 }, { "ID": other.upn, "Type": 5 }],
        });
        let operation = *one(
            &[
                "Update user.",
                "Add member to group.",
                "Update StsRefreshTokenValidFrom Timestamp.",
                "Add app role assignment grant to user.",
            ],
            rng,
        );
        record(record(self.common(at, "AzureActiveDirectory", 8, operation, id), shared), own)
    }

    fn general(&self, user: &User, at: DateTime<Utc>, rng: &mut ChaCha8Rng) -> Value {
        let shared = json!({
            "UserType": 0,
            "UserKey": user.object_id,
            "UserId": user.upn,
            "ClientIP": user.address(rng),
        });
        let (team, thread) = self.team_of(user, rng);
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
                    "ParticipantInfo": {
                        "HasForeignTenantUsers": false,
                        "HasGuestUsers": rng.random_bool(0.1),
                        "HasOtherGuestUsers": false,
                        "HasUnauthenticatedUsers": false,
                        "ParticipatingTenantIds": [self.id],
                    },
                    "ExtraProperties": [
                        { "Key": "TimeZone", "Value": "Europe/Berlin" },
                        { "Key": "OsName", "Value": "windows" },
                        { "Key": "Country", "Value": "DE" },
                    ],
                }),
            ),
            6..8 => {
                let members: Vec<Value> = (0..rng.random_range(1..6))
                    .map(|_| {
                        let member = self.colleague_of(user, rng);
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
                    "Data": json!({
                        "etype": "User",
                        "eid": user.upn,
                        "tid": self.id,
                        "ts": at.to_rfc3339(),
                        "op": "MailRedirect",
                        "tdc": "1",
                    }).to_string(),
                    "EntityType": "User",
                    "Name": "Creation of forwarding/redirect rule",
                    "PolicyId": guid(rng),
                    "Severity": one(&["Informational", "Low", "Medium", "High"], rng),
                    "Source": "Office 365 Security & Compliance",
                    "Status": "Active",
                }),
            ),
        };
        record(record(self.common(at, workload, record_type, operation, guid(rng)), shared), own)
    }

    /// <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-schema#dlp-schema>
    fn dlp(&self, user: &User, at: DateTime<Utc>, rng: &mut ChaCha8Rng) -> Value {
        let count = rng.random_range(1..9);
        let detected: Vec<Value> = (0..count)
            .map(|_| {
                let number = format!("4111-1111-1111-{:04}", rng.random_range(0..10_000));
                json!({ "Name": number, "Value": "card number" })
            })
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
        let site = self.site_of(user, rng);
        let file = *one(&FILES, rng);
        let (workload, record_type, own) = match rng.random_range(0..3) {
            0 => (
                "Exchange",
                13,
                json!({
                    "ObjectId": format!("<{}@{DOMAIN}>", guid(rng).simple()),
                    "ExchangeMetaData": {
                        "MessageID": format!("<{}@{DOMAIN}>", guid(rng).simple()),
                        "From": user.upn,
                        "To": ["partner@example.com"],
                        "CC": [],
                        "BCC": [],
                        "Subject": "Payment",
                        "Sent": at.format("%Y-%m-%dT%H:%M:%S").to_string(),
                        "RecipientCount": 1,
                    },
                }),
            ),
            1 => (
                if site.personal { "OneDrive" } else { "SharePoint" },
                11,
                json!({
                    "ObjectId": format!("{}/Shared Documents/{file}", site.url),
                    "SharePointMetaData": {
                        "From": user.upn,
                        "SiteCollectionGuid": site.id,
                        "SiteCollectionUrl": site.url,
                        "FileName": file,
                        "FileOwner": user.name,
                        "FilePathUrl": format!("{}/Shared Documents/{file}", site.url),
                        "DocumentLastModifier": user.upn,
                        "DocumentSharer": "",
                        "UniqueID": guid(rng),
                        "LastModifiedTime": at.format("%Y-%m-%dT%H:%M:%S").to_string(),
                    },
                }),
            ),
            _ => (
                "Endpoint",
                63,
                json!({
                    "ObjectId": format!("C:\\Users\\{}\\Documents\\{file}", user.name),
                    "ClientIP": user.address(rng),
                    "EndpointMetaData": {
                        "DeviceName": "desktop-4711",
                        "EnforcementMode": 1,
                        "EndpointOperation": "FileCopiedToRemovableMedia",
                        "FileExtension": file.rsplit('.').next(),
                        "FileSize": rng.random_range(100..1_000_000),
                        "RMSEncrypted": false,
                        "Sha256": format!("{}{}", guid(rng).simple(), guid(rng).simple()),
                    },
                }),
            ),
        };
        let operation = *one(&["DlpRuleMatch", "DlpRuleMatch", "DlpRuleMatch", "DlpRuleUndo", "DlpInfo"], rng);
        record(record(self.common(at, workload, record_type, operation, guid(rng)), shared), own)
    }
}

/// Draws as much as an id would.
fn outlook(rng: &mut ChaCha8Rng) -> Uuid {
    let _ = guid(rng);
    OUTLOOK
}

/// Common fields, then the record's own over them.
pub(super) fn record(common: Value, own: Value) -> Value {
    match (common, own) {
        (Value::Object(mut common), Value::Object(own)) => {
            common.extend(own);
            Value::Object(common)
        }
        (_, own) => own,
    }
}

pub(super) fn properties(pairs: &[(&str, &str)]) -> Value {
    pairs.iter().map(|(name, value)| json!({ "Name": name, "Value": value })).collect()
}

//! What Elastic names differently, as tables: record types, moved fields, and what an operation is.
//!
//! The names are those of Elastic's Office 365 integration
//! (<https://www.elastic.co/docs/reference/integrations/o365>) and of the
//! [Elastic Common Schema](https://www.elastic.co/docs/reference/ecs/ecs-field-reference).

/// A move of one field of the record to a field of the event.
pub(super) struct Move {
    /// The record types it is for, by name; none: every record.
    pub(super) types: &'static [&'static str],
    /// The record's field; a dot leads into an object.
    pub(super) from: &'static str,
    /// The event's field.
    pub(super) to: &'static str,
}

/// What the records of some types, or some operations, are in Elastic's categories.
pub(super) struct Class {
    /// The record types it is for, by name; none: every record.
    pub(super) types: &'static [&'static str],
    /// The operations it is for; none: every operation.
    pub(super) operations: &'static [&'static str],
    /// `event.action`, where it is not the record's own Operation.
    pub(super) action: Option<&'static str>,
    /// Added to `event.category`.
    pub(super) categories: &'static [&'static str],
    /// Added to `event.type`.
    pub(super) kinds: &'static [&'static str],
}

const EXCHANGE: &[&str] = &["ExchangeAdmin", "ExchangeItem"];
const SHARED_FILES: &[&str] = &["SharePointFileOperation", "SharePointSharingOperation"];
const ALERTS: &[&str] = &["SecurityComplianceAlerts"];
const YAMMER: &[&str] = &["Yammer"];
const DIRECTORY: &[&str] = &["AzureActiveDirectory"];
const TEAMS: &[&str] = &["MicrosoftTeams"];

/// The record types of data loss prevention.
pub(super) const DLP: &[&str] = &["ComplianceDLPSharePoint", "ComplianceDLPExchange"];

/// Record types whose events are alerts.
pub(super) const ALERT_TYPES: &[&str] = &["SecurityComplianceAlerts", "ComplianceDLPSharePoint", "ComplianceDLPExchange"];

/// The record type whose ObjectId is the account that was acted on.
pub(super) const TARGET_TYPE: &str = "AzureActiveDirectory";

/// The record type whose Members are accounts.
pub(super) const MEMBERS_TYPE: &str = "MicrosoftTeams";

/// The record type whose `Data` tells `QueryTime` twice in one object.
pub(super) const INVESTIGATION_TYPE: &str = "AirInvestigation";

/// Where the client's address stands in a record; the first that is there is moved.
pub(super) const CLIENT_ADDRESS: &[&str] = &["ClientIPAddress", "ClientIP", "ActorIpAddress"];

/// Moves in their order; a field whose place is taken stays where it is.
pub(super) const MOVES: &[Move] = &[
    every("Id", "event.id"),
    every("Workload", "event.provider"),
    every("Operation", "event.action"),
    every("OrganizationId", "organization.id"),
    every("UserAgent", "user_agent.original"),
    of(EXCHANGE, "OrganizationName", "organization.name"),
    of(EXCHANGE, "OriginatingServer", "server.text"),
    of(&["ExchangeItem"], "MailboxOwnerUPN", "user.email"),
    of(&["ExchangeItem"], "LogonUserDisplayName", "user.full_name"),
    of(&["ExchangeItem"], "ClientProcessName", "process.name"),
    of(SHARED_FILES, "ObjectId", "url.original"),
    of(SHARED_FILES, "SourceRelativeUrl", "file.directory"),
    of(SHARED_FILES, "SourceFileName", "file.name"),
    of(SHARED_FILES, "SourceFileExtension", "file.extension"),
    of(ALERTS, "Comments", "message"),
    of(ALERTS, "Name", "rule.name"),
    of(ALERTS, "PolicyId", "rule.id"),
    of(ALERTS, "Category", "rule.category"),
    of(ALERTS, "EntityType", "rule.ruleset"),
    of(ALERTS, "AlertEntityId", "rule.description"),
    of(ALERTS, "AlertLinks", "rule.reference"),
    of(DLP, "SharePointMetaData.From", "user.id"),
    of(DLP, "SharePointMetaData.FileName", "file.name"),
    of(DLP, "SharePointMetaData.FilePathUrl", "url.original"),
    of(DLP, "SharePointMetaData.UniqueId", "file.inode"),
    of(DLP, "SharePointMetaData.UniqueID", "file.inode"),
    of(DLP, "SharePointMetaData.FileOwner", "file.owner"),
    of(DLP, "ExchangeMetaData.From", "source.user.email"),
    of(DLP, "ExchangeMetaData.Subject", "message"),
    of(DLP, "PolicyId", "rule.id"),
    of(DLP, "PolicyName", "rule.name"),
    of(YAMMER, "ActorUserId", "user.email"),
    of(YAMMER, "FileId", "file.inode"),
    of(YAMMER, "FileName", "file.name"),
    of(YAMMER, "GroupName", "group.name"),
    of(YAMMER, "TargetUserId", "destination.user.email"),
    of(YAMMER, "TargetYammerUserId", "destination.user.id"),
    of(TEAMS, "TeamName", "group.name"),
];

/// Where the account's id stands in a record that has no UserId.
pub(super) const OTHER_USER_IDS: &[(&str, &str)] = &[("ExchangeItem", "LogonUserSid"), ("Yammer", "ActorYammerUserId")];

/// Numbers that are names in truth: they become text.
pub(super) const TEXT_FIELDS: &[&str] = &[
    "ListBaseType",
    "AzureActiveDirectoryEventType",
    "RecordType",
    "UserType",
    "Version",
    "InternalLogonType",
    "LogonType",
    "ActorYammerUserId",
    "YammerNetworkId",
];

/// Lists of parties, each with an ID and a Type; the Type becomes text.
pub(super) const PARTIES: &[&str] = &["Actor", "Target"];

/// Texts that hold JSON.
pub(super) const JSON_FIELDS: &[&str] = &["OperationProperties", "AdditionalInfo"];

/// Lists of `{Name, Value}` that become objects by name.
pub(super) const PROPERTY_BAGS: &[&str] = &["Parameters", "ExtendedProperties"];

/// Fields of an alert's `Data` that Elastic names one by one.
pub(super) const DATA_FIELDS: &[&str] = &[
    "ad", "af", "aii", "ail", "alk", "als", "an", "at", "cid", "cpid", "dm", "dpn", "eid", "etps", "etype", "f3u", "fvs", "imsgid", "lon",
    "mat", "md", "ms", "od", "op", "ot", "plk", "pud", "reid", "rid", "sev", "sict", "sid", "sip", "sitmi", "srt", "ssic", "suid", "tdc",
    "te", "thn", "tht", "tid", "tpid", "tpt", "trc", "ts", "tsd", "ttdt", "ttr", "upfc", "upfv", "ut", "von", "wl", "zfh", "zfn", "zmfh",
    "zmfn", "zu",
];

/// Times among [`DATA_FIELDS`].
pub(super) const DATA_TIMES: &[&str] = &["at", "md", "te", "ts", "ttdt"];

/// Forms of a time with a zone, beside RFC 3339.
/// <https://docs.rs/chrono/latest/chrono/format/strftime/index.html>
pub(super) const ZONED_TIMES: &[&str] = &["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z"];

/// Forms of a time without a zone.
pub(super) const LOCAL_TIMES: &[&str] = &["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"];

/// Accounts among [`DATA_FIELDS`], where they have the form of an address.
pub(super) const DATA_ACCOUNTS: &[&str] = &["f3u", "suid", "tsd", "trc"];

/// `ResultStatus` in lower case, and the outcome; any other, or none, is a success.
pub(super) const OUTCOMES: &[(&str, &str)] = &[
    ("succeeded", "success"),
    ("success", "success"),
    ("partiallysucceeded", "success"),
    ("true", "success"),
    ("failed", "failure"),
    ("false", "failure"),
];

/// `Severity` and its number.
pub(super) const SEVERITIES: &[(&str, u8)] = &[("informational", 1), ("low", 2), ("medium", 3), ("high", 4)];

/// `Platform` of information protection records.
/// <https://learn.microsoft.com/office/office-365-management-api/aipdiscover>
pub(super) const PLATFORMS: &[(&str, &str)] =
    &[("0", "Unknown"), ("1", "Windows"), ("2", "MacOS"), ("3", "iOS"), ("4", "Android"), ("5", "Web Browser")];

/// What records are; every row that fits is applied.
pub(super) const CLASSES: &[Class] = &[
    Class {
        types: DIRECTORY,
        operations: &["Add user."],
        action: Some("added-user-account"),
        categories: &["iam"],
        kinds: &["user", "creation"],
    },
    Class {
        types: DIRECTORY,
        operations: &["Update user."],
        action: Some("modified-user-account"),
        categories: &["iam"],
        kinds: &["user", "change"],
    },
    Class {
        types: DIRECTORY,
        operations: &["Delete user."],
        action: Some("deleted-user-account"),
        categories: &["iam"],
        kinds: &["user", "deletion"],
    },
    class(&["AzureActiveDirectoryStsLogon"], &[], &["authentication"], &["start", "access"]),
    class(&[], &["FileAccessed", "FileDownloaded"], &["file"], &["access"]),
    class(
        &[],
        &["FileModified", "FileMoved", "FileRenamed", "FileRestored", "FolderModified", "FolderMoved", "FolderRenamed", "FolderRestored"],
        &["file"],
        &["change"],
    ),
    class(&[], &["FileDeleted", "FolderDeleted"], &["file"], &["deletion"]),
    class(&[], &["FileUploaded", "FolderCopied", "FolderCreated"], &["file"], &["creation"]),
    class(&[], &["ComplianceSettingChanged"], &["configuration"], &["change"]),
    class(DLP, &[], &["file"], &["access"]),
    class(
        YAMMER,
        &["NetworkConfigurationUpdated", "SoftDeleteSettingsUpdated", "ProcessProfileFields", "SupervisorAdminToggled"],
        &["configuration"],
        &["change"],
    ),
    class(YAMMER, &["NetworkSecurityConfigurationUpdated"], &["configuration", "iam"], &["change", "admin"]),
    class(YAMMER, &["GroupCreation"], &["iam"], &["creation", "group"]),
    class(YAMMER, &["GroupDeletion"], &["iam"], &["deletion", "group"]),
    class(YAMMER, &["NetworkUserSuspended", "UserSuspension"], &["iam"], &[]),
    class(YAMMER, &["FileCreated", "FileUpdateName"], &["file"], &["creation"]),
    class(YAMMER, &["FileDownloaded", "FileShared", "FileUpdateDescription", "FileVisited"], &["file"], &["access"]),
    Class {
        types: TEAMS,
        operations: &["TeamCreated"],
        action: Some("added-group-account-to"),
        categories: &["iam"],
        kinds: &["group", "creation"],
    },
    Class {
        types: TEAMS,
        operations: &["MemberAdded"],
        action: Some("added-users-to-group"),
        categories: &["iam"],
        kinds: &["group", "change"],
    },
    Class {
        types: TEAMS,
        operations: &["Delete user."],
        action: Some("deleted-user-account"),
        categories: &["iam"],
        kinds: &["user", "deletion"],
    },
];

/// Record types by number, as far as Elastic names them.
/// <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-schema#auditlogrecordtype>
pub(super) const RECORD_TYPES: &[(u16, &str)] = &[
    (1, "ExchangeAdmin"),
    (2, "ExchangeItem"),
    (3, "ExchangeItemGroup"),
    (4, "SharePoint"),
    (6, "SharePointFileOperation"),
    (7, "OneDrive"),
    (8, "AzureActiveDirectory"),
    (9, "AzureActiveDirectoryAccountLogon"),
    (10, "DataCenterSecurityCmdlet"),
    (11, "ComplianceDLPSharePoint"),
    (12, "Sway"),
    (13, "ComplianceDLPExchange"),
    (14, "SharePointSharingOperation"),
    (15, "AzureActiveDirectoryStsLogon"),
    (16, "SkypeForBusinessPSTNUsage"),
    (17, "SkypeForBusinessUsersBlocked"),
    (18, "SecurityComplianceCenterEOPCmdlet"),
    (19, "ExchangeAggregatedOperation"),
    (20, "PowerBIAudit"),
    (21, "CRM"),
    (22, "Yammer"),
    (23, "SkypeForBusinessCmdlets"),
    (24, "Discovery"),
    (25, "MicrosoftTeams"),
    (28, "ThreatIntelligence"),
    (29, "MailSubmission"),
    (30, "MicrosoftFlow"),
    (31, "AeD"),
    (32, "MicrosoftStream"),
    (33, "ComplianceDLPSharePointClassification"),
    (34, "ThreatFinder"),
    (35, "Project"),
    (36, "SharePointListOperation"),
    (37, "SharePointCommentOperation"),
    (38, "DataGovernance"),
    (39, "Kaizala"),
    (40, "SecurityComplianceAlerts"),
    (41, "ThreatIntelligenceUrl"),
    (42, "SecurityComplianceInsights"),
    (43, "MIPLabel"),
    (44, "WorkplaceAnalytics"),
    (45, "PowerAppsApp"),
    (46, "PowerAppsPlan"),
    (47, "ThreatIntelligenceAtpContent"),
    (48, "LabelContentExplorer"),
    (49, "TeamsHealthcare"),
    (50, "ExchangeItemAggregated"),
    (51, "HygieneEvent"),
    (52, "DataInsightsRestApiAudit"),
    (53, "InformationBarrierPolicyApplication"),
    (54, "SharePointListItemOperation"),
    (55, "SharePointContentTypeOperation"),
    (56, "SharePointFieldOperation"),
    (57, "MicrosoftTeamsAdmin"),
    (58, "HRSignal"),
    (59, "MicrosoftTeamsDevice"),
    (60, "MicrosoftTeamsAnalytics"),
    (61, "InformationWorkerProtection"),
    (62, "Campaign"),
    (63, "DLPEndpoint"),
    (64, "AirInvestigation"),
    (65, "Quarantine"),
    (66, "MicrosoftForms"),
    (67, "ApplicationAudit"),
    (68, "ComplianceSupervisionExchange"),
    (69, "CustomerKeyServiceEncryption"),
    (70, "OfficeNative"),
    (71, "MipAutoLabelSharePointItem"),
    (72, "MipAutoLabelSharePointPolicyLocation"),
    (73, "MicrosoftTeamsShifts"),
    (75, "MipAutoLabelExchangeItem"),
    (76, "CortanaBriefing"),
    (78, "WDATPAlerts"),
    (82, "SensitivityLabelPolicyMatch"),
    (83, "SensitivityLabelAction"),
    (84, "SensitivityLabeledFileAction"),
    (85, "AttackSim"),
    (86, "AirManualInvestigation"),
    (87, "SecurityComplianceRBAC"),
    (88, "UserTraining"),
    (89, "AirAdminActionInvestigation"),
    (90, "MSTIC"),
    (91, "PhysicalBadgingSignal"),
    (93, "AipDiscover"),
    (94, "AipSensitivityLabelAction"),
    (95, "AipProtectionAction"),
    (96, "AipFileDeleted"),
    (97, "AipHeartBeat"),
    (98, "MCASAlerts"),
    (99, "OnPremisesFileShareScannerDlp"),
    (100, "OnPremisesSharePointScannerDlp"),
    (101, "ExchangeSearch"),
    (102, "SharePointSearch"),
    (103, "PrivacyInsights"),
    (105, "MyAnalyticsSettings"),
    (106, "SecurityComplianceUserChange"),
    (107, "ComplianceDLPExchangeClassification"),
    (109, "MipExactDataMatch"),
    (113, "MS365DCustomDetection"),
    (147, "CoreReportingSettings"),
    (148, "ComplianceConnector"),
    (174, "DataShareOperation"),
    (181, "EduDataLakeDownloadOperation"),
];

const fn every(from: &'static str, to: &'static str) -> Move {
    of(&[], from, to)
}

const fn of(types: &'static [&'static str], from: &'static str, to: &'static str) -> Move {
    Move { types, from, to }
}

const fn class(
    types: &'static [&'static str],
    operations: &'static [&'static str],
    categories: &'static [&'static str],
    kinds: &'static [&'static str],
) -> Class {
    Class { types, operations, action: None, categories, kinds }
}

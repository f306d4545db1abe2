//! What becomes of a record of each type: the fields that an investigator looks for, under Elastic's names.

#![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

use serde_json::{Map, Value, json};

use super::{ecs, event, fields, tables};
use crate::geoip::{GeoIp, GeoIpOptions};

/// The event of a record.
fn of(record: Value) -> Map<String, Value> {
    let Value::Object(record) = record else { panic!("a record is an object") };
    let Value::Object(event) = event(record, &GeoIp::default()) else { panic!("an event is an object") };
    event
}

/// Each path has its value; null: there is no such field.
fn holds(event: &Map<String, Value>, expected: &[(&str, Value)]) {
    for (path, value) in expected {
        assert_eq!(fields::at(event, path).unwrap_or(&Value::Null), value, "{path} of {}", json!(event));
    }
}

#[test]
fn every_record_has_time_id_action_provider_tenant_and_account() {
    let event = of(json!({
        "CreationTime": "2026-11-20T10:00:00", "Id": "a-1", "Operation": "Anything", "Workload": "PowerBI", "RecordType": 20,
        "OrganizationId": "0873EE4D-D342-44F2-8961-74C442A2FAD2", "UserId": "Megan@contoso.com", "UserType": 0, "Version": 1,
        "ClientIP": "192.0.2.7", "UserAgent": "Chrome", "ItemName": "Sales", "Empty": "", "Nothing": null,
    }));
    holds(
        &event,
        &[
            ("@timestamp", json!("2026-11-20T10:00:00.000Z")),
            ("event.id", json!("a-1")),
            ("event.action", json!("Anything")),
            ("event.provider", json!("PowerBI")),
            ("event.code", json!("PowerBIAudit")),
            ("event.kind", json!("event")),
            ("event.outcome", json!("success")),
            ("event.category", json!(["web"])),
            ("event.type", json!(["info"])),
            ("organization.id", json!("0873ee4d-d342-44f2-8961-74c442a2fad2")),
            ("host.id", json!("0873ee4d-d342-44f2-8961-74c442a2fad2")),
            ("host.name", json!("contoso.com")),
            ("user.id", json!("Megan@contoso.com")),
            ("user.email", json!("Megan@contoso.com")),
            ("user.name", json!("Megan")),
            ("user.domain", json!("contoso.com")),
            ("related.user", json!(["Megan"])),
            ("related.ip", json!(["192.0.2.7"])),
            ("client.address", json!("192.0.2.7")),
            ("client.ip", json!("192.0.2.7")),
            ("source.ip", json!("192.0.2.7")),
            ("network.type", json!("ipv4")),
            ("user_agent.original", json!("Chrome")),
        ],
    );
    // What has a name in the schema is moved there, but for the time and the account; all else stays as it was.
    let rest = json!({
        "CreationTime": "2026-11-20T10:00:00", "RecordType": "20", "UserId": "Megan@contoso.com", "UserType": "0", "Version": "1",
        "ItemName": "Sales", "Empty": "", "Nothing": null,
    });
    assert_eq!(fields::at(&event, "o365.audit"), Some(&rest));
}

#[test]
fn every_type_that_elastic_names_has_its_name_and_no_other_has_one() {
    for (number, name) in tables::RECORD_TYPES {
        holds(&of(json!({ "RecordType": number })), &[("event.code", json!(name))]);
        holds(&of(json!({ "RecordType": number.to_string() })), &[("event.code", json!(name))]);
    }
    for record in [json!({}), json!({ "RecordType": 5 }), json!({ "RecordType": 9999 }), json!({ "RecordType": null })] {
        holds(&of(record), &[("event.code", Value::Null)]);
    }
}

#[test]
fn an_exchange_cmdlet_tells_its_tenant_server_and_parameters() {
    let event = of(json!({
        "RecordType": 1, "Operation": "Add-MailboxPermission", "ResultStatus": "True", "OrganizationName": "contoso.onmicrosoft.com",
        "OriginatingServer": "AM0PR01 (15.20.2729.032)\r\n", "UserId": "admin@contoso.com", "ClientIP": "[2001:db8::1]:12345",
        "Parameters": [{"Name": "User", "Value": "contoso.com/Users/Megan"}, {"Name": "None", "Value": null}, {"Name": "Identity", "Value": "a.b"}],
    }));
    holds(
        &event,
        &[
            ("event.code", json!("ExchangeAdmin")),
            ("organization.name", json!("contoso.onmicrosoft.com")),
            ("host.name", json!("contoso.onmicrosoft.com")),
            ("server.domain", json!("AM0PR01")),
            ("server.address", json!("15.20.2729.032")),
            ("server.ip", Value::Null),
            ("client.ip", json!("2001:db8::1")),
            ("client.port", json!(12345)),
            ("source.port", json!(12345)),
            ("network.type", json!("ipv6")),
            ("related.user", json!(["admin", "contoso.com/Users/Megan"])),
            ("o365.audit.Parameters", json!({"User": "contoso.com/Users/Megan", "Identity": "a.b"})),
            ("o365.audit.OriginatingServer", Value::Null),
        ],
    );
    let other = of(json!({ "RecordType": 1, "Parameters": [{"Name": "a", "Value": 1}, "b"], "ExtendedProperties": [{"Value": "c"}] }));
    holds(
        &other,
        &[("o365.audit.Parameters", json!([{"Name": "a", "Value": 1}, "b"])), ("o365.audit.ExtendedProperties", json!([{"Value": "c"}]))],
    );
    let text = of(json!({ "RecordType": 1, "Parameters": "-Identity x", "ExtendedProperties": "y" }));
    holds(&text, &[("o365.audit.Parameters", json!({"_raw": "-Identity x"})), ("o365.audit.ExtendedProperties._raw", json!("y"))]);
}

#[test]
fn an_exchange_item_tells_the_mailboxs_owner_and_the_program() {
    let mut record = json!({
        "RecordType": 2, "Operation": "SoftDelete", "ResultStatus": "PartiallySucceeded", "MailboxOwnerUPN": "megan@contoso.com",
        "LogonUserSid": "S-1-5-21", "LogonUserDisplayName": "Megan Bowen", "ClientProcessName": "OUTLOOK.EXE", "LogonType": 0,
        "InternalLogonType": 1, "OriginatingServer": "AM0PR01 (192.0.2.9)", "ClientIPAddress": "::ffff:192.0.2.7", "ClientIP": "192.0.2.8",
    });
    holds(
        &of(record.clone()),
        &[
            ("user.id", json!("S-1-5-21")),
            ("user.email", json!("megan@contoso.com")),
            ("user.full_name", json!("Megan Bowen")),
            ("process.name", json!("OUTLOOK.EXE")),
            ("client.ip", json!("192.0.2.7")),
            ("server.ip", json!("192.0.2.9")),
            ("destination.ip", json!("192.0.2.9")),
            ("related.ip", json!(["192.0.2.7", "192.0.2.9"])),
            ("event.outcome", json!("success")),
            ("o365.audit.LogonType", json!("0")),
            ("o365.audit.InternalLogonType", json!("1")),
            ("o365.audit.ClientIP", json!("192.0.2.8")),
            ("o365.audit.LogonUserSid", json!("S-1-5-21")),
            ("o365.audit.MailboxOwnerUPN", Value::Null),
        ],
    );
    record["UserId"] = json!("delegate@contoso.com");
    holds(&of(record), &[("user.id", json!("delegate@contoso.com")), ("user.email", json!("delegate@contoso.com"))]);
}

#[test]
fn accounts_that_were_added_changed_and_deleted_are_told_by_elastics_actions() {
    for (operation, action, kind) in [
        ("Add user.", "added-user-account", "creation"),
        ("Update user.", "modified-user-account", "change"),
        ("Delete user.", "deleted-user-account", "deletion"),
    ] {
        let event = of(json!({
            "RecordType": 8, "Operation": operation, "ResultStatus": "Success", "ObjectId": "new@contoso.com", "UserId": "admin@contoso.com",
            "Actor": [{"ID": "admin@contoso.com", "Type": 5}], "Target": [{"ID": "User", "Type": 2}], "AzureActiveDirectoryEventType": 1,
            "ModifiedProperties": [
                {"Name": "Included Updated.Properties", "NewValue": "x", "OldValue": ""},
                {"Name": "Half", "NewValue": "x", "OldValue": null},
            ],
        }));
        holds(
            &event,
            &[
                ("event.action", json!(action)),
                ("event.category", json!(["web", "iam"])),
                ("event.type", json!(["info", "user", kind])),
                ("user.target.id", json!("new@contoso.com")),
                ("user.target.name", json!("new")),
                ("related.user", json!(["admin", "new"])),
                ("o365.audit.ObjectId", json!("new@contoso.com")),
                ("o365.audit.Operation", Value::Null),
                ("o365.audit.Actor", json!([{"ID": "admin@contoso.com", "Type": "5"}])),
                ("o365.audit.Target", json!([{"ID": "User", "Type": "2"}])),
                ("o365.audit.AzureActiveDirectoryEventType", json!("1")),
                ("o365.audit.ModifiedProperties", json!({"Included_Updated_Properties": {"NewValue": "x", "OldValue": ""}})),
            ],
        );
    }
    let names = of(json!({ "RecordType": 8, "ModifiedProperties": ["Display Name"] }));
    holds(&names, &[("o365.audit.ModifiedProperties", json!({"Display_Name": {}}))]);
    let none = of(json!({ "RecordType": 8, "ModifiedProperties": [{"Name": "Half", "NewValue": "x"}] }));
    holds(&none, &[("o365.audit.ModifiedProperties", Value::Null)]);
    let named = of(json!({ "RecordType": 8, "Operation": "added-user-account" }));
    holds(&named, &[("event.action", json!("added-user-account")), ("event.category", json!(["web", "iam"]))]);
    // The same operation of another type keeps its name.
    holds(&of(json!({ "RecordType": 1, "Operation": "Add user." })), &[("event.action", json!("Add user."))]);
}

#[test]
fn a_sign_in_is_an_authentication_and_fails_where_it_says_so() {
    let event = of(json!({
        "RecordType": 15, "Operation": "UserLoginFailed", "ResultStatus": "Failed", "ActorIpAddress": "192.0.2.7:443", "LogonError": "InvalidUserNameOrPassword",
        "ExtendedProperties": [{"Name": "UserAgent", "Value": "Mozilla"}, {"Name": "RequestType", "Value": "OAuth2:Token"}],
    }));
    holds(
        &event,
        &[
            ("event.category", json!(["web", "authentication"])),
            ("event.type", json!(["info", "start", "access"])),
            ("event.outcome", json!("failure")),
            ("client.ip", json!("192.0.2.7")),
            ("client.port", json!(443)),
            ("user_agent.original", json!("Mozilla")),
            ("o365.audit.ExtendedProperties", json!({"RequestType": "OAuth2:Token"})),
            ("o365.audit.ResultStatus", json!("Failed")),
        ],
    );
}

#[test]
fn a_file_operation_tells_address_folder_name_and_extension() {
    for (record_type, operation, kind) in
        [(6, "FileDownloaded", "access"), (6, "FileRenamed", "change"), (6, "FolderDeleted", "deletion"), (14, "FileUploaded", "creation")]
    {
        let event = of(json!({
            "RecordType": record_type, "Operation": operation, "ObjectId": "https://contoso.sharepoint.com/sites/a/b.docx", "ListBaseType": 1,
            "SourceRelativeUrl": "Shared Documents", "SourceFileName": "b.docx", "SourceFileExtension": "docx",
        }));
        holds(
            &event,
            &[
                ("event.category", json!(["web", "file"])),
                ("event.type", json!(["info", kind])),
                ("url.original", json!("https://contoso.sharepoint.com/sites/a/b.docx")),
                ("file.directory", json!("Shared Documents")),
                ("file.name", json!("b.docx")),
                ("file.extension", json!("docx")),
                ("o365.audit.ObjectId", Value::Null),
                ("o365.audit.ListBaseType", json!("1")),
            ],
        );
    }
    let page = of(json!({ "RecordType": 4, "Operation": "ComplianceSettingChanged", "ObjectId": "x" }));
    holds(&page, &[("event.category", json!(["web", "configuration"])), ("event.type", json!(["info", "change"])), ("url", Value::Null)]);
}

#[test]
fn an_alert_tells_its_rule_and_links() {
    let event = of(json!({
        "RecordType": 40, "Operation": "AlertTriggered", "Name": "Elevation of privilege", "PolicyId": "p-1", "Category": "AccessGovernance",
        "EntityType": "User", "AlertEntityId": "megan@contoso.com", "Comments": "New alert", "Severity": "low",
        "AlertLinks": [{"AlertLinkHref": "https://protection.office.com/alerts"}, {"AlertLinkHref": null}],
        "Data": "{\"f3u\":\"megan@contoso.com\",\"suid\":\"nobody\",\"ts\":\"2026-11-20T10:00:00.0000000Z\",\"md\":\"yesterday\",\"unknown\":1}",
    }));
    holds(
        &event,
        &[
            ("event.kind", json!("alert")),
            ("event.category", json!(["web"])),
            ("event.severity", json!(2)),
            ("message", json!("New alert")),
            ("rule.name", json!("Elevation of privilege")),
            ("rule.id", json!("p-1")),
            ("rule.category", json!("AccessGovernance")),
            ("rule.ruleset", json!("User")),
            ("rule.description", json!("megan@contoso.com")),
            ("rule.reference", json!(["https://protection.office.com/alerts"])),
            ("related.user", json!(["megan@contoso.com"])),
            ("o365.audit.Data.f3u", json!("megan@contoso.com")),
            ("o365.audit.Data.ts", json!("2026-11-20T10:00:00.000Z")),
            ("o365.audit.Data.md", json!("yesterday")),
            ("o365.audit.Data.unknown", Value::Null),
            ("o365.audit.Data.flattened.unknown", json!(1)),
            ("o365.audit.Data.flattened.ts", json!("2026-11-20T10:00:00.0000000Z")),
        ],
    );
    holds(
        &of(json!({ "RecordType": 40, "AlertLinks": [{}], "Severity": "Low" })),
        &[("rule", Value::Null), ("event.severity", Value::Null)],
    );
}

#[test]
fn times_are_told_in_utc_with_milliseconds_in_each_form_of_iso_8601() {
    for (given, told) in [
        ("2026-11-20T10:00:00", "2026-11-20T10:00:00.000Z"),
        ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00.000Z"),
        ("2026-11-20T10:00:00.1239999Z", "2026-11-20T10:00:00.123Z"),
        ("2026-11-20T10:00:00.5", "2026-11-20T10:00:00.500Z"),
        ("2026-11-20T10:00:00+05:30", "2026-11-20T04:30:00.000Z"),
        ("2026-11-20T10:00:00+0530", "2026-11-20T04:30:00.000Z"),
        ("2026-11-20T10:00:00-08", "2026-11-20T18:00:00.000Z"),
        ("2026-11-20 10:00:00Z", "2026-11-20T10:00:00.000Z"),
        ("2026-11-20T10:00", "2026-11-20T10:00:00.000Z"),
        ("2026-11-20T10:00Z", "2026-11-20T10:00:00.000Z"),
        ("2026-11-20", "2026-11-20T00:00:00.000Z"),
    ] {
        holds(&of(json!({ "CreationTime": given })), &[("@timestamp", json!(told)), ("o365.audit.CreationTime", json!(given))]);
    }
    holds(&of(json!({ "CreationTime": "yesterday" })), &[("@timestamp", Value::Null)]);
}

#[test]
fn an_investigation_that_tells_its_query_time_twice_keeps_the_one_in_iso_8601() {
    let iso = "2026-11-20T19:11:31.2937397Z";
    let entities = |data: &str, record_type: u16| {
        let event = of(json!({ "RecordType": record_type, "Data": data }));
        fields::at(&event, "o365.audit.Data.flattened").unwrap().clone()
    };
    let last = format!(r#"{{"Entities":[{{"QueryTime":"{iso}","Urn":"a","QueryTime":"11/20/2026 7:11:31 PM"}},{{"Urn":"b"}}]}}"#);
    assert_eq!(entities(&last, 64), json!({"Entities": [{"QueryTime": iso, "Urn": "a"}, {"Urn": "b"}]}));
    let first = format!(r#"{{"QueryTime":"11/20/2026 7:11:31 AM","Urn":"a","QueryTime":"{iso}"}}"#);
    assert_eq!(entities(&first, 64), json!({"QueryTime": iso, "Urn": "a"}));
    // What is alone, and what is no time, stays.
    for data in [r#"{"QueryTime":"11/20/2026 7:11:31 AM"}"#, r#"{"QueryTime":"soon","Urn":"a"}"#, r#"{"Urn":"a"}"#] {
        assert_eq!(entities(data, 64), serde_json::from_str::<Value>(data).unwrap());
    }
    assert_eq!(entities(r#"{"QueryTime":"11/20/2026 7:11:31 AM","Urn":"a"}"#, 40)["QueryTime"], json!("11/20/2026 7:11:31 AM"));
    assert_eq!(entities(r#""QueryTime":"11/20/2026"#, 64), json!(r#""QueryTime":"11/20/2026"#));
}

fn dlp(operation: &str, exception: Value, actions: Value) -> Map<String, Value> {
    of(json!({
        "RecordType": 11, "Operation": operation, "ExceptionInfo": exception, "ResultStatus": "Failed",
        "PolicyDetails": [{"PolicyId": "p", "Rules": [
            {"RuleId": "r-1", "RuleName": "Cards", "Severity": "Low"},
            {"RuleId": "r-2", "RuleName": "Passports", "Severity": "High", "Actions": actions},
            {"RuleId": "r-3"},
        ]}],
        "SharePointMetaData": {
            "From": "megan@contoso.com", "FileName": "b.docx", "FilePathUrl": "https://contoso.sharepoint.com/b.docx", "UniqueID": "u-1",
            "FileOwner": "Megan Bowen", "LastModifiedTime": "2026-11-20T09:00:00", "SiteCollectionUrl": "https://contoso.sharepoint.com",
        },
    }))
}

#[test]
fn a_dlp_match_tells_file_rules_and_the_gravest_severity() {
    let event = dlp("DlpRuleMatch", Value::Null, json!(["BlockAccess"]));
    holds(
        &event,
        &[
            ("event.kind", json!("alert")),
            ("event.category", json!(["web", "file"])),
            ("event.type", json!(["info", "access"])),
            ("event.severity", json!(4)),
            ("event.outcome", json!("failure")),
            ("rule.id", json!(["r-1", "r-2"])),
            ("rule.name", json!(["Cards", "Passports"])),
            ("user.id", json!("megan@contoso.com")),
            ("file.name", json!("b.docx")),
            ("file.inode", json!("u-1")),
            ("file.owner", json!("Megan Bowen")),
            ("file.mtime", json!("2026-11-20T09:00:00.000Z")),
            ("url.original", json!("https://contoso.sharepoint.com/b.docx")),
            ("related.user", json!(["megan", "Megan Bowen"])),
            (
                "o365.audit.SharePointMetaData",
                json!({"LastModifiedTime": "2026-11-20T09:00:00", "SiteCollectionUrl": "https://contoso.sharepoint.com"}),
            ),
        ],
    );
    let outcome = |event: &Map<String, Value>, outcome: &str| holds(event, &[("event.outcome", json!(outcome))]);
    outcome(&dlp("DlpRuleMatch", Value::Null, json!(["NotifyUser"])), "success");
    outcome(&dlp("DlpRuleUndo", Value::Null, json!(["BlockAccess"])), "success");
    outcome(&dlp("DlpInfo", json!("justified"), json!(["BlockAccess"])), "failure");
    outcome(&dlp("DlpRuleMatch", json!("justified"), json!(["BlockAccess"])), "success");
    outcome(&dlp("DlpRuleMatch", json!({}), json!(["BlockAccess"])), "failure");
    holds(&dlp("DlpRuleMatch", json!("why"), json!([])), &[("o365.audit.ExceptionInfo", json!({"Reason": "why"}))]);
}

#[test]
fn a_dlp_match_in_mail_tells_sender_recipients_and_subject() {
    let event = of(json!({
        "RecordType": 13, "PolicyId": "p-1", "PolicyName": "Cards", "PolicyDetails": [{"Rules": null}],
        "ExchangeMetaData": {"From": "megan@contoso.com", "To": ["a@example.com", "b@example.com"], "CC": "c@example.com", "BCC": [], "Subject": "Cards"},
    }));
    holds(
        &event,
        &[
            ("source.user.email", json!("megan@contoso.com")),
            ("destination.user.email", json!(["a@example.com", "b@example.com", "c@example.com"])),
            ("message", json!("Cards")),
            ("rule.id", json!("p-1")),
            ("rule.name", json!("Cards")),
            ("event.severity", json!(0)),
            ("o365.audit.ExchangeMetaData.To", json!(["a@example.com", "b@example.com"])),
            ("o365.audit.ExchangeMetaData.From", Value::Null),
        ],
    );
}

#[test]
fn yammer_tells_actor_group_and_file() {
    let event = of(json!({
        "RecordType": 22, "Operation": "GroupCreation", "ActorUserId": "megan@contoso.com", "ActorYammerUserId": 7, "YammerNetworkId": 8,
        "GroupName": "All", "FileId": 9, "FileName": "b.docx", "TargetUserId": "x@contoso.com", "TargetYammerUserId": "y@contoso.com",
    }));
    holds(
        &event,
        &[
            ("event.category", json!(["web", "iam"])),
            ("event.type", json!(["info", "creation", "group"])),
            ("user.id", json!("7")),
            ("user.email", json!("megan@contoso.com")),
            ("group.name", json!("All")),
            ("file.inode", json!(9)),
            ("file.name", json!("b.docx")),
            ("destination.user.id", json!("y@contoso.com")),
            ("destination.user.name", json!("y")),
            ("o365.audit.ActorYammerUserId", json!("7")),
            ("o365.audit.YammerNetworkId", json!("8")),
        ],
    );
    for (operation, category, kinds) in [
        ("NetworkSecurityConfigurationUpdated", json!(["web", "configuration", "iam"]), json!(["info", "change", "admin"])),
        ("UserSuspension", json!(["web", "iam"]), json!(["info"])),
        ("FileVisited", json!(["web", "file"]), json!(["info", "access"])),
        ("SupervisorAdminToggled", json!(["web", "configuration"]), json!(["info", "change"])),
    ] {
        let event = of(json!({ "RecordType": 22, "Operation": operation }));
        holds(&event, &[("event.category", category), ("event.type", kinds)]);
    }
}

#[test]
fn teams_tells_the_team_and_its_members() {
    let members = json!([{"UPN": "a@contoso.com", "Role": 1}, {"UPN": ""}, {"Role": 1}, "x"]);
    let event = of(json!({
        "RecordType": 25, "Operation": "MemberAdded", "TeamName": "Sales", "UserId": "megan@contoso.com", "Members": members,
    }));
    holds(
        &event,
        &[
            ("event.action", json!("added-users-to-group")),
            ("event.category", json!(["web", "iam"])),
            ("event.type", json!(["info", "group", "change"])),
            ("group.name", json!("Sales")),
            ("related.user", json!(["a@contoso.com", "megan"])),
            ("o365.audit.Members", members),
        ],
    );
    holds(&of(json!({ "RecordType": 25, "Operation": "TeamCreated" })), &[("event.action", json!("added-group-account-to"))]);
    let deleted = of(json!({ "RecordType": 25, "Operation": "Delete user.", "ObjectId": "a@contoso.com" }));
    holds(&deleted, &[("user.target.email", json!("a@contoso.com")), ("o365.audit.ObjectId", Value::Null)]);
}

#[test]
fn a_message_or_sender_that_is_an_object_stands_under_a_name_of_its_own() {
    let record = |message: Value| of(json!({"Operation": "AIInteractionCreatedNotification", "RecordType": 25, "Message": message}));
    let message = json!({"Id": "17", "ThreadId": "19:x@thread.v2", "SizeInBytes": 186});
    holds(&record(message.clone()), &[("o365.audit.MessageObject", message), ("o365.audit.Message", Value::Null)]);
    holds(&record(json!("Hello")), &[("o365.audit.Message", json!("Hello")), ("o365.audit.MessageObject", Value::Null)]);
    let sender = json!({"UPN": "support@fabrikam.example", "DisplayName": "Support"});
    let event = of(json!({"Operation": "Create", "RecordType": 2, "Sender": sender}));
    holds(&event, &[("o365.audit.SenderEntity", sender), ("o365.audit.Sender", Value::Null)]);
}

#[test]
fn text_that_holds_json_is_read_and_platforms_have_names() {
    let event = of(json!({
        "RecordType": 45, "AdditionalInfo": "{\"environmentName\":\"Default\"}", "OperationProperties": "[{\"Name\":\"a\"}]", "Platform": 1,
    }));
    holds(
        &event,
        &[
            ("o365.audit.AdditionalInfo.environmentName", json!("Default")),
            ("o365.audit.OperationProperties", json!([{"Name": "a"}])),
            ("o365.audit.Platform", json!("Windows")),
        ],
    );
    let text = of(json!({ "AdditionalInfo": "{torn", "Platform": 99, "Data": "plain" }));
    holds(
        &text,
        &[("o365.audit.AdditionalInfo", json!("{torn")), ("o365.audit.Platform", json!(99)), ("o365.audit.Data.flattened", json!("plain"))],
    );
}

#[test]
fn one_line_comes_out_for_each_record_that_goes_in_and_bad_ones_say_why() {
    let mut out = Vec::new();
    let failed = ecs("{\"Id\":\"a\"}\n\n{torn\n[1]\n{\"Id\":\"b\"}".as_bytes(), &mut out, &GeoIp::default()).unwrap();
    let lines: Vec<Value> = String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((failed, lines.len()), (2, 4));
    assert_eq!((&lines[0]["event"]["id"], &lines[3]["event"]["id"]), (&json!("a"), &json!("b")));
    assert_eq!(lines[1]["event"]["kind"], json!("pipeline_error"));
    let why = |line: usize| lines[line]["error"]["message"].as_str().unwrap();
    assert!(!why(1).is_empty() && why(2).contains("jq -c"));

    let mut out = Vec::new();
    assert_eq!(ecs("UserIds,AuditData\na,\"{\"\"Id\"\":\"\"a\"\"}\"\n".as_bytes(), &mut out, &GeoIp::default()).unwrap(), 0);
    assert_eq!(String::from_utf8(out).unwrap().lines().count(), 1);
}

#[test]
fn a_source_is_located_only_where_a_maxmind_file_is_given_and_knows_it() {
    let files = ["City", "ASN"].map(|kind| format!("{}/tests/data/GeoLite2-{kind}-Test.mmdb", env!("CARGO_MANIFEST_DIR")).into());
    let geoip = GeoIpOptions { files: files.to_vec() }.open().unwrap();
    let source = |address: &str, geoip: &GeoIp| {
        let record = json!({"Id": "a", "Operation": "UserLoggedIn", "ClientIP": address});
        event(record.as_object().unwrap().clone(), geoip)["source"].clone()
    };
    assert_eq!(source("89.160.20.112:443", &GeoIp::default()), json!({"ip": "89.160.20.112", "port": 443}));
    assert_eq!(
        source("89.160.20.112:443", &geoip),
        json!({
            "ip": "89.160.20.112", "port": 443, "as": {"number": 29518, "organization": {"name": "Bredband2 AB"}},
            "geo": {
                "continent_name": "Europe", "country_iso_code": "SE", "country_name": "Sweden", "region_iso_code": "SE-E",
                "region_name": "Östergötland County", "city_name": "Linköping", "location": {"lat": 58.4167, "lon": 15.6167},
            },
        })
    );
    assert_eq!(source("192.0.2.1", &geoip), json!({"ip": "192.0.2.1"}));
    assert_eq!(source("no address", &geoip)["geo"], Value::Null);
}

//! The edges that records give, row by row; and what holds of every record.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{graph::MAX_BYTES, nodes::Node, *};

const ME: &str = "megan@contoso.com";

fn parsed(edges: &str) -> Vec<Value> {
    serde_json::from_str(edges).unwrap()
}

fn edges(record: &str) -> String {
    Table::built_in().edges(&Fields::of(record).unwrap())
}

/// A record's edges as `type name -> type name`, in the order of the rules; their label is checked.
fn found(record: Value) -> Vec<String> {
    let text = record.to_string();
    let (edges, rows) = Table::built_in().explained(&Fields::of(&text).unwrap());
    let edges = parsed(&edges);
    assert_eq!(edges.len(), rows.len());
    let is_told = |row: &ExplainedEdge| row.row != "service";
    for (edge, row) in edges.iter().zip(&rows) {
        let own = ["mentions", "acts as"].iter().any(|label| edge["label"] == *label);
        assert!(own || edge["label"] == record["Operation"], "{edge} by {row:?}");
    }
    edges
        .iter()
        .zip(&rows)
        .filter(|(_, row)| is_told(row))
        .map(|(edge, _)| edge)
        .map(|edge| format!("{} -> {}", end(edge, "fromType", "from"), end(edge, "toType", "to")))
        .collect()
}

fn end(edge: &Value, kind: &str, name: &str) -> String {
    format!("{} {}", edge[kind].as_str().unwrap(), edge[name].as_str().unwrap())
}

/// The same of a record with fields that most have.
fn found_in(operation: &str, kind: u64, workload: &str, fields: Value) -> Vec<String> {
    let mut record =
        json!({"Operation": operation, "RecordType": kind, "Workload": workload, "UserId": "Megan@Contoso.com", "UserType": 0});
    record.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    found(record)
}

/// A record of what the user did, and no more.
fn of_me<const N: usize>(to: [&str; N]) -> Vec<String> {
    to.iter().map(|to| format!("user {ME} -> {to}")).collect()
}

#[test]
fn every_form_of_an_address_comes_out_plain_and_what_is_none_gives_no_edge() {
    for (text, plain) in [
        ("203.0.113.7", "203.0.113.7"),
        (" 203.0.113.7 ", "203.0.113.7"),
        ("203.0.113.7:12345", "203.0.113.7"),
        ("[203.0.113.7]:12345", "203.0.113.7"),
        ("[203.0.113.7]", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::ffff:cb00:7107", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:12345", "203.0.113.7"),
        ("2001:db8::abcd", "2001:db8::abcd"),
        ("2001:0DB8:0:0::ABCD", "2001:db8::abcd"),
        ("[2001:db8::abcd]", "2001:db8::abcd"),
        ("[2001:db8::abcd]:12345", "2001:db8::abcd"),
        ("2001:db8::1%eth0", "2001:db8::1"),
        ("ffff:203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.1"),
    ] {
        let edges = found_in("UserLoggedIn", 15, "AzureActiveDirectory", json!({"ClientIP": text}));
        assert_eq!(edges, of_me([&format!("ip {plain}")]), "{text}");
    }
    for text in [
        json!("localhost"),
        json!("[localhost]:12345"),
        json!("cool.client.local:12345"),
        json!("::1"),
        json!("[::1]:443"),
        json!("127.0.0.1"),
        json!("0.0.0.0"),
        json!("::"),
        json!(""),
        json!("<null>"),
        json!("1.2.3"),
        json!("1.2.3.4.5"),
        json!("[1.2.3.4"),
        json!("[]"),
        json!(":"),
        json!(null),
        json!(7),
        json!("fe80::1%eth0"),
        json!("169.254.7.7"),
        json!("15.20.4195.16"),
    ] {
        assert_eq!(found_in("Send", 2, "Exchange", json!({"ClientIPAddress": text})), of_me([]), "{text}");
    }
    let same_twice = json!({"ClientIP": "203.0.113.7:80", "ActorIpAddress": "203.0.113.7", "ActorIP": "2001:db8::1"});
    assert_eq!(found_in("Send", 2, "Exchange", same_twice), of_me(["ip 203.0.113.7", "ip 2001:db8::1"]));
}

#[test]
fn who_acted_is_a_user_a_guest_or_a_system_by_the_name() {
    for (name, user_type, expected) in [
        ("Megan@Contoso.COM", 0, "user megan@contoso.com"),
        ("Megan@Contoso.COM", 4, "user megan@contoso.com"),
        ("i:0#.f|membership|megan@contoso.com", 0, "user megan@contoso.com"),
        ("40123AE1-dfb1-4224-95c6-edd2500c27f7", 0, "user 40123ae1-dfb1-4224-95c6-edd2500c27f7"),
        ("40123ae1-dfb1-4224-95c6-edd2500c27f7", 6, "system 40123ae1-dfb1-4224-95c6-edd2500c27f7"),
        ("10032001266C162C", 0, "user 10032001266c162c"),
        ("S-1-5-21-1376570662-3565232716-1187618197-25622886", 0, "user s-1-5-21-1376570662-3565232716-1187618197-25622886"),
        ("S-1-5-18", 2, "system s-1-5-18"),
        ("NT AUTHORITY\\SYSTEM (Microsoft.Exchange.ServiceHost)", 3, "system nt authority\\system (microsoft.exchange.servicehost)"),
        ("ServicePrincipal_0df31120-5486-4bda-ab7b-656f09dca3be", 4, "system serviceprincipal_0df31120-5486-4bda-ab7b-656f09dca3be"),
        ("app@sharepoint", 0, "system app@sharepoint"),
        ("SHAREPOINT\\system", 0, "system sharepoint\\system"),
        ("CONTOSO\\Megan", 0, "user contoso\\megan"),
        ("contoso.example\\megan", 2, "user contoso.example\\megan"),
        ("CONTOSO\\LAPTOP-7$", 0, "system contoso\\laptop-7$"),
        ("NT SERVICE\\Backup", 0, "system nt service\\backup"),
        ("Microsoft\\ServiceOperator", 2, "system microsoft\\serviceoperator"),
        ("EURPRD01\\operator", 3, "system eurprd01\\operator"),
        ("fim_password_service@support.onmicrosoft.com", 0, "system fim_password_service@support.onmicrosoft.com"),
        ("Spools@eurprd04.prod.outlook.com", 3, "system spools@eurprd04.prod.outlook.com"),
        ("Microsoft Teams Sync", 5, "system microsoft teams sync"),
        ("bob_smith_fabrikam.com#EXT#@contoso.onmicrosoft.com", 0, "guest bob_smith@fabrikam.com"),
        ("urn:spo:guest#Bob@Fabrikam.com", 10, "guest bob@fabrikam.com"),
        ("bob@fabrikam.com", 10, "guest bob@fabrikam.com"),
        ("urn:spo:anon#9f1c", 10, "guest urn:spo:anon#9f1c"),
        ("anonymous", 0, "guest anonymous"),
    ] {
        let record = json!({"Operation": "A", "UserId": name, "UserType": user_type, "ClientIP": "203.0.113.7"});
        assert_eq!(found(record), [format!("{expected} -> ip 203.0.113.7")], "{name}");
    }
    for nobody in ["", " ", "Not Available", "NOT-FOUND", "Unknown", "00000000-0000-0000-0000-000000000000"] {
        assert!(found(json!({"Operation": "A", "UserId": nobody, "ClientIP": "203.0.113.7"})).is_empty(), "{nobody}");
    }
    assert!(found(json!({"Operation": "A", "ClientIP": "203.0.113.7"})).is_empty());
    let service = json!({"Operation": "A", "Workload": "Dynamics 365", "UserId": "Unknown", "ClientIP": "203.0.113.7"});
    assert_eq!(found(service), ["system dynamics 365 -> ip 203.0.113.7"], "nobody is known, the address is");
}

#[test]
fn a_file_is_its_address_and_its_site_is_known_with_it() {
    let site = "https://contoso.sharepoint.com/sites/Sales";
    let named = site.to_lowercase();
    let file = json!({
        "ObjectId": format!("{site}/Shared Documents/Prices.xlsx"), "ItemType": "File", "SiteUrl": format!("{site}/"),
        "SourceRelativeUrl": "Shared Documents", "SourceFileName": "Prices.xlsx",
    });
    let expected = of_me([&format!("file {named}/shared documents/prices.xlsx"), &format!("site {named}")]);
    assert_eq!(found_in("FileDownloaded", 6, "SharePoint", file.clone()), expected);
    for relative in ["Shared Documents", "Shared Documents/Prices.xlsx", "/Shared Documents/"] {
        let mut parts = file.clone();
        parts["ObjectId"] = json!("");
        parts["SourceRelativeUrl"] = json!(relative);
        assert_eq!(found_in("FileDownloaded", 6, "OneDrive", parts), expected, "{relative}");
    }
}

#[test]
fn a_site_is_found_in_the_address_of_what_lies_in_it() {
    for (object, site) in [
        ("https://contoso.sharepoint.com/sites/Sales/8cafd2d5-6a51-41bb-ae86-a63c0d78d39b", "https://contoso.sharepoint.com/sites/sales"),
        ("https://contoso.sharepoint.com/teams/Sales", "https://contoso.sharepoint.com/teams/sales"),
        ("https://contoso-my.sharepoint.com/personal/megan_contoso_com/", "https://contoso-my.sharepoint.com/personal/megan_contoso_com"),
        ("https://contoso.sharepoint.com/_layouts/15/sharepoint.aspx", "https://contoso.sharepoint.com"),
        ("https://contoso.sharepoint.com", "https://contoso.sharepoint.com"),
    ] {
        let edges = found_in("ListViewed", 36, "SharePoint", json!({"ObjectId": object, "ItemType": "List"}));
        let object = object.trim_end_matches('/').to_lowercase();
        let whole = (object != site).then(|| format!("user {ME} -> file {object}"));
        let expected: Vec<_> = [format!("user {ME} -> site {site}")].into_iter().chain(whole).collect();
        assert_eq!(edges, expected);
    }
    assert!(found_in("ListViewed", 36, "SharePoint", json!({"ObjectId": "8cafd2d5", "ItemType": "List"})).is_empty());
}

#[test]
fn a_mailbox_is_told_where_it_is_anothers() {
    let of = |owner: &str| found_in("MailItemsAccessed", 50, "Exchange", json!({"MailboxOwnerUPN": owner, "LogonType": 2}));
    assert_eq!(of("Ceo@Contoso.com"), of_me(["mailbox ceo@contoso.com"]));
    assert!(of("MEGAN@contoso.com").is_empty());
    let sent = json!({"MailboxOwnerUPN": ME, "SendAsUserSmtp": "ceo@contoso.com", "SendOnBehalfOfUserSmtp": "cfo@contoso.com"});
    assert_eq!(found_in("SendAs", 2, "Exchange", sent), of_me(["mailbox ceo@contoso.com", "mailbox cfo@contoso.com"]));
    let moved = json!({"MailboxOwnerUPN": ME, "CrossMailboxOperation": true, "DestMailboxOwnerUPN": "drop@contoso.com"});
    assert_eq!(found_in("Move", 3, "Exchange", moved), of_me(["mailbox drop@contoso.com"]));
}

#[test]
fn an_application_is_its_id_or_else_its_name() {
    let (client, api) = ("ea0056b2-87ac-4765-ba13-e2768da6fba7", "00000003-0000-0000-c000-000000000000");
    let mail = json!({"ClientAppId": client.to_uppercase(), "AppId": api, "AppAccessContext": {"ClientAppId": client}});
    assert_eq!(found_in("MailItemsAccessed", 50, "Exchange", mail), of_me([&format!("app {client}"), &format!("app {api}")]));
    let named = json!({"ApplicationDisplayName": "Media Service", "ApplicationId": ""});
    assert_eq!(found_in("FileViewed", 6, "SharePoint", named), of_me(["app Media Service"]));
    assert!(found_in("Send", 2, "Exchange", json!({"AppId": "", "ClientAppId": "00000000-0000-0000-0000-000000000000"})).is_empty());
}

/// A Target as Entra ID writes it.
fn entra_target(kind: &str, more: Value) -> Value {
    let id = "2383a669-0671-49c4-a7e6-a15950eccc2e";
    let mut target = vec![json!({"ID": format!("{kind}_{id}"), "Type": 2}), json!({"ID": id, "Type": 2}), json!({"ID": kind, "Type": 2})];
    target.extend(more.as_array().unwrap().iter().cloned());
    json!(target)
}

#[test]
fn the_target_in_entra_id_is_what_it_says_it_is() {
    let app = "a62919b8-3d73-4b3f-ab2a-3790b3cb8550";
    for (operation, target, expected) in [
        (
            "Consent to application.",
            entra_target("ServicePrincipal", json!([{"ID": "Mail helper", "Type": 1}, {"ID": app, "Type": 2}, {"ID": app, "Type": 4}])),
            format!("app {app}"),
        ),
        ("Update application.", entra_target("Application", json!([{"ID": "Mail helper", "Type": 1}])), "app Mail helper".into()),
        (
            "Reset user password.",
            entra_target("User", json!([{"ID": "Adele@Contoso.com", "Type": 5}, {"ID": "10032001266C162C", "Type": 3}])),
            "user adele@contoso.com".into(),
        ),
        (
            "Add user.",
            entra_target("User", json!([{"ID": "bob_fabrikam.com#EXT#@contoso.onmicrosoft.com", "Type": 5}])),
            "guest bob@fabrikam.com".into(),
        ),
        ("Add group.", entra_target("Group", json!([{"ID": "Finance", "Type": 1}])), "group Finance".into()),
        ("Add policy.", entra_target("Policy", json!([{"ID": "Sign-in", "Type": "1"}])), "policy Sign-in".into()),
        ("Add device.", entra_target("Device", json!([{"ID": "LAPTOP-7", "Type": 1}])), "object LAPTOP-7".into()),
        ("Delete device.", entra_target("Device", json!([])), "object 2383a669-0671-49c4-a7e6-a15950eccc2e".into()),
        (
            "UserLoggedIn",
            json!([{"ID": "00000002-0000-0ff1-ce00-000000000000", "Type": 0}]),
            "app 00000002-0000-0ff1-ce00-000000000000".into(),
        ),
    ] {
        assert_eq!(found_in(operation, 8, "AzureActiveDirectory", json!({"Target": target})), of_me([&expected]), "{operation}");
        assert_eq!(found_in(operation, 8, "AzureActiveDirectory", json!({"Target": target.to_string()})), of_me([&expected]), "as text");
    }
    let two = [entra_target("User", json!([{"ID": ME, "Type": 5}])), entra_target("Group", json!([{"ID": "Finance", "Type": 1}]))];
    let two: Vec<_> = two.iter().flat_map(|target| target.as_array().unwrap().clone()).collect();
    assert_eq!(found_in("Invite", 8, "AzureActiveDirectory", json!({"Target": two})), of_me(["group Finance"]), "oneself is no edge");
    assert!(found_in("UserLoginFailed", 15, "AzureActiveDirectory", json!({"Target": [{"ID": "Unknown", "Type": 0}]})).is_empty());
}

#[test]
fn who_became_a_member_or_an_owner_is_tied_to_what_of() {
    let record = |operation: &str, properties: Value| {
        let target = entra_target("User", json!([{"ID": "adele@contoso.com", "Type": 5}]));
        found_in(operation, 8, "AzureActiveDirectory", json!({"Target": target, "ModifiedProperties": properties}))
    };
    let edges = |whole: &str| vec![format!("user {ME} -> user adele@contoso.com"), format!("user adele@contoso.com -> {whole}")];
    let role = json!([{"Name": "Role.ObjectID", "NewValue": "7b1e", "OldValue": ""}, {"Name": "Role.DisplayName", "NewValue": "Global Administrator", "OldValue": ""}]);
    assert_eq!(record("Add member to role.", role), edges("group Global Administrator"));
    let group = json!([{"Name": "Group.DisplayName", "NewValue": "", "OldValue": "\"Finance\""}]);
    assert_eq!(record("Remove member from group.", group), edges("group Finance"));
    let device = json!([{"Name": "Device.DisplayName", "NewValue": "LAPTOP-7"}]);
    assert_eq!(record("Add registered users to device.", device), edges("object LAPTOP-7"));
    let app = json!([{"Name": "Application.DisplayName", "NewValue": "Helper"}, {"Name": "Application.AppId", "NewValue": "10f3df8c-3372-404c-a3c4-f19a454650ec"}]);
    assert_eq!(record("Add owner to application.", app), edges("app 10f3df8c-3372-404c-a3c4-f19a454650ec"));
    assert_eq!(record("Update user.", json!([{"Name": "Group.DisplayName", "NewValue": "Finance"}])), of_me(["user adele@contoso.com"]));

    let api = "00000003-0000-0000-c000-000000000000";
    let granted = |operation: &str, properties: Value| {
        let target = entra_target("ServicePrincipal", json!([{"ID": "Graph", "Type": 1}, {"ID": api, "Type": 2}]));
        found_in(operation, 8, "AzureActiveDirectory", json!({"Target": target, "ModifiedProperties": properties}))
    };
    let edges = |holder: &str| vec![format!("user {ME} -> app {api}"), format!("{holder} -> app {api}")];
    let helper = json!([{"Name": "ServicePrincipal.DisplayName", "NewValue": "Helper"}, {"Name": "ServicePrincipal.AppId", "NewValue": "10f3df8c-3372-404c-a3c4-f19a454650ec"}]);
    assert_eq!(granted("Add app role assignment to service principal.", helper), edges("app 10f3df8c-3372-404c-a3c4-f19a454650ec"));
    let user = json!([{"Name": "User.UPN", "NewValue": "Adele@contoso.com"}]);
    assert_eq!(granted("Add app role assignment grant to user.", user), edges("user adele@contoso.com"));

    let cmdlet = json!({"ObjectId": "Organization Management", "Parameters": [{"Name": "Identity", "Value": "Organization Management"}, {"Name": "Member", "Value": "Adele@contoso.com"}]});
    let expected =
        [format!("user {ME} -> group Organization Management"), "user adele@contoso.com -> group Organization Management".into()];
    assert_eq!(found_in("Add-RoleGroupMember", 1, "Exchange", cmdlet), expected);
}

#[test]
fn what_a_cmdlet_is_about_has_the_type_that_its_noun_tells() {
    let canonical = "EURPR04A009.PROD.OUTLOOK.COM/Microsoft Exchange Hosted Organizations/contoso.onmicrosoft.com/Adele";
    for (operation, kind, object, expected) in [
        ("Set-Mailbox", 1, canonical, "mailbox adele"),
        ("Set-Mailbox", 1, "Megan", "mailbox megan@contoso.com"),
        ("Add-MailboxFolderPermission", 1, "adele@contoso.com:\\Calendar", "mailbox adele@contoso.com"),
        ("Set-CASMailbox", 1, "Adele", "mailbox adele"),
        ("Set-MailboxPlan", 1, canonical, "object Adele"),
        ("Set-OwaMailboxPolicy", 1, "contoso.com\\OwaMailboxPolicy-Default", "object contoso.com\\OwaMailboxPolicy-Default"),
        ("Set-User", 1, "adele@contoso.com", "user adele@contoso.com"),
        ("Remove-UnifiedGroup", 1, "Finance_1eb903e4bb", "group Finance_1eb903e4bb"),
        ("Set-AdminAuditLogConfig", 1, "contoso.com\\Admin Audit Log Settings", "object contoso.com\\Admin Audit Log Settings"),
        ("New-ComplianceSearch", 18, "All mail", "object All mail"),
        ("CreateArtifact", 20, "0e00d1cf-825a-4d78-98ff-8a8199357669", "object 0e00d1cf-825a-4d78-98ff-8a8199357669"),
    ] {
        assert_eq!(found_in(operation, kind, "Any", json!({"ObjectId": object})), of_me([expected]), "{operation} {object}");
    }
    assert!(found_in("TeamsSessionStarted", 25, "MicrosoftTeams", json!({"ObjectId": "Unknown (Unknown)"})).is_empty());
}

#[test]
fn whoever_is_given_a_right_to_a_mailbox_is_tied_to_it() {
    let given = |operation: &str, name: &str, to: &str| {
        let parameters = json!([{"Name": "Identity", "Value": "ceo@contoso.com"}, {"Name": name, "Value": to}, {"Name": "AccessRights", "Value": "FullAccess"}]);
        found_in(operation, 1, "Exchange", json!({"ObjectId": "ceo@contoso.com", "Parameters": parameters}))
    };
    let edges = |who: &str| vec![format!("user {ME} -> mailbox ceo@contoso.com"), format!("{who} -> mailbox ceo@contoso.com")];
    assert_eq!(given("Add-MailboxPermission", "User", "Adele@contoso.com"), edges("user adele@contoso.com"));
    assert_eq!(
        given("Add-RecipientPermission", "Trustee", "EURPR.PROD.OUTLOOK.COM/Microsoft Exchange Hosted Organizations/contoso.com/Adele"),
        edges("user adele")
    );
    assert_eq!(given("Set-Mailbox", "GrantSendOnBehalfTo", "adele@contoso.com"), edges("user adele@contoso.com"));
    assert_eq!(given("Add-MailboxPermission", "User", "Discovery Management"), edges("group Discovery Management"));
    assert_eq!(given("Add-MailboxPermission", "User", "NT AUTHORITY\\SELF"), edges("system nt authority\\self"));
}

#[test]
fn a_short_name_is_completed_only_where_the_record_tells_how() {
    let given = |organisation: &str, user: &str, object: &str| {
        let parameters = json!([{"Name": "Trustee", "Value": "Adele"}]);
        found(
            json!({"Operation": "Add-RecipientPermission", "RecordType": 1, "UserId": user, "OrganizationName": organisation, "ObjectId": object, "Parameters": parameters}),
        )
    };
    let me = "megan@contoso.onmicrosoft.com";
    let edges = |by: &str, mailbox: &str, to: &str| vec![format!("{by} -> mailbox {mailbox}"), format!("user {to} -> mailbox {mailbox}")];
    let mine = format!("user {me}");
    assert_eq!(given("contoso.onmicrosoft.com", me, "Ceo"), edges(&mine, "ceo@contoso.onmicrosoft.com", "adele"));
    assert_eq!(given("contoso.onmicrosoft.com", ME, "Ceo"), edges(&format!("user {ME}"), "ceo", "adele"));
    assert_eq!(given("contoso.onmicrosoft.com", ME, "Megan"), edges(&format!("user {ME}"), ME, "adele"));
    let id = "0f8b0001-a159-4252-a3a1-c2dc689f322a";
    assert_eq!(given("contoso.onmicrosoft.com", me, id), edges(&mine, id, "adele"));
    assert_eq!(
        given("contoso.onmicrosoft.com", "NT AUTHORITY\\SYSTEM (w3wp)", "Ceo"),
        edges("system nt authority\\system (w3wp)", "ceo", "adele")
    );
}

#[test]
fn where_a_mailbox_forwards_to_is_an_address() {
    let mailbox = |name: &str| format!("user {ME} -> mailbox {name}");
    let to = |name: &str, address: &str| format!("mailbox {name} -> address {address}");
    let rule =
        |object: &str, parameters: Value| found_in("New-InboxRule", 1, "Exchange", json!({"ObjectId": object, "Parameters": parameters}));

    let parameters =
        json!([{"Name": "Name", "Value": "x"}, {"Name": "ForwardTo", "Value": "Drop@Evil.example;\"Second\" [SMTP:two@evil.example]"}]);
    let own = [mailbox(ME), to(ME, "drop@evil.example"), to(ME, "two@evil.example")];
    assert_eq!(rule("megan\\x", parameters.clone()), own);
    assert_eq!(
        rule("EURPR.PROD.OUTLOOK.COM/Microsoft Exchange Hosted Organizations/contoso.com/0f8b\\x", parameters),
        own,
        "a rule is one's own"
    );
    let redirect = json!([{"Name": "Mailbox", "Value": "ceo@contoso.com"}, {"Name": "RedirectTo", "Value": ["drop@evil.example"]}]);
    assert_eq!(rule("ceo\\x", redirect), [mailbox("ceo@contoso.com"), to("ceo@contoso.com", "drop@evil.example")]);

    let set = |parameters: Value| found_in("Set-Mailbox", 1, "Exchange", json!({"ObjectId": "Adele", "Parameters": parameters}));
    let smtp = [mailbox("adele"), to("adele", "drop@evil.example")];
    assert_eq!(set(json!([{"Name": "ForwardingSmtpAddress", "Value": "smtp:drop@evil.example"}])), smtp);
    assert_eq!(set(json!("[{\"Name\":\"ForwardingSmtpAddress\",\"Value\":\"smtp:drop@evil.example\"}]")), smtp, "JSON in a text");
    assert_eq!(
        set(json!("-Identity \"Adele\" -ForwardingSmtpAddress \"smtp:drop@evil.example\" -DeliverToMailboxAndForward \"True\"")),
        smtp,
        "a command line"
    );
    assert_eq!(set(json!([{"Name": "ForwardingAddress", "Value": "Bob"}])), [mailbox("adele"), to("adele", "bob")]);
    let mixed = "\"Bob Brown\" [EX:/o=ExchangeLabs/cn=Recipients/cn=0f8b-bob];\"Eve\" [SMTP:eve@evil.example]";
    assert_eq!(
        rule("megan\\x", json!([{"Name": "RedirectTo", "Value": mixed}])),
        [mailbox(ME), to(ME, "bob brown"), to(ME, "eve@evil.example")]
    );
    let taken_back =
        json!({"ObjectId": "Adele", "OrganizationName": "contoso.com", "Parameters": [{"Name": "ForwardingSmtpAddress", "Value": ""}]});
    assert_eq!(found_in("Set-Mailbox", 1, "Exchange", taken_back), [mailbox("adele@contoso.com")]);

    let actions = r#"[{"ActionType":"Forward","Recipients":["drop@evil.example"],"ForwardFlags":"None"}]"#;
    let outlook = json!({"MailboxOwnerUPN": ME, "OperationProperties": [{"Name": "RuleOperation", "Value": "AddMailboxRule"}, {"Name": "RuleActions", "Value": actions}]});
    assert_eq!(found_in("UpdateInboxRules", 2, "Exchange", outlook), [to(ME, "drop@evil.example")]);

    let flow = json!({"ObjectId": "Copy all", "Parameters": [{"Name": "BlindCopyTo", "Value": "drop@evil.example"}]});
    assert_eq!(
        found_in("New-TransportRule", 1, "Exchange", flow),
        [format!("user {ME} -> object Copy all"), "object Copy all -> address drop@evil.example".into()]
    );
}

#[test]
fn whom_something_is_shared_with_is_told() {
    for (name, kind, expected) in [
        ("bob_fabrikam.com#ext#@contoso.onmicrosoft.com", "Guest", "guest bob@fabrikam.com"),
        ("Bob@fabrikam.com", "Guest", "guest bob@fabrikam.com"),
        ("adele@contoso.com", "Member", "user adele@contoso.com"),
        ("Everyone except external users", "SecurityGroup", "group Everyone except external users"),
        ("SHAREPOINT\\system", "Member", "system sharepoint\\system"),
    ] {
        let sharing = json!({"TargetUserOrGroupName": name, "TargetUserOrGroupType": kind});
        assert_eq!(found_in("AddedToSecureLink", 14, "SharePoint", sharing), of_me([expected]), "{name}");
    }
    let team = json!({"TeamName": "Sales", "Invitee": "owner@fabrikam.com", "Members": [{"UPN": "Adele@contoso.com", "Role": 1}, {"UPN": "bob_fabrikam.com#EXT#@contoso.onmicrosoft.com", "Role": 3}, {"DisplayName": "no name"}]});
    assert_eq!(
        found_in("MemberAdded", 25, "MicrosoftTeams", team),
        of_me(["user owner@fabrikam.com", "group Sales", "user adele@contoso.com", "guest bob@fabrikam.com"])
    );
}

#[test]
fn a_policy_that_matched_is_tied_to_whose_content_it_was() {
    let mail = json!({
        "UserId": "DlpAgent", "UserType": 4, "ObjectId": "<m@contoso.com>", "PolicyDetails": [{"PolicyId": "8895", "PolicyName": "Card numbers", "Rules": []}, {"PolicyId": "77ab"}],
        "ExchangeMetaData": {"From": "Megan@contoso.com", "To": ["Drop@evil.example"], "CC": ["adele@contoso.com"], "BCC": [], "RecipientCount": 2},
    });
    let expected = of_me(["address drop@evil.example", "address adele@contoso.com", "policy Card numbers", "policy 77ab"]);
    assert_eq!(found_in("DlpRuleMatch", 13, "Exchange", mail), expected);

    let file = json!({
        "UserId": "DlpPolicyEventBasedAssistantOneDriveForBusiness", "UserType": 4, "ObjectId": "9cc7be1c-dd5a-4895-b7cb-757de6d51b42", "PolicyDetails": [{"PolicyName": "Card numbers"}],
        "SharePointMetaData": {"From": "MEGAN@CONTOSO.COM", "FilePathUrl": "https://c.sharepoint.com/sites/S/Docs/Our%20clients.docx", "SiteCollectionUrl": "https://c.sharepoint.com/sites/S"},
    });
    let expected = of_me([
        "file https://c.sharepoint.com/sites/s/docs/our clients.docx",
        "site https://c.sharepoint.com/sites/s",
        "policy Card numbers",
    ]);
    assert_eq!(found_in("DlpRuleMatch", 11, "OneDrive", file), expected);

    let device = json!({"ObjectId": "C:\\Users\\megan\\clients.docx", "PolicyDetails": [{"PolicyName": "Card numbers"}]});
    assert_eq!(
        found_in("FileCopiedToRemovableMedia", 63, "Endpoint", device),
        of_me(["file c:\\users\\megan\\clients.docx", "policy Card numbers"])
    );
}

#[test]
fn an_alert_ties_its_policy_to_whom_it_is_about() {
    let alert = |fields: Value| {
        let mut alert = json!({"Operation": "AlertTriggered", "RecordType": 40, "UserId": "SecurityComplianceAlerts", "UserType": 4, "ObjectId": "6ee3", "Name": "Forwarding rule"});
        alert.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        found(alert)
    };
    let edge = [format!("user {ME} -> policy Forwarding rule")];
    assert_eq!(alert(json!({"AlertEntityId": ME, "EntityType": "User", "Data": "{\"suid\":\"Megan@Contoso.com\"}"})), edge);
    assert_eq!(alert(json!({"Data": "{\"f3u\":\"megan@contoso.com\",\"ad\":\"mail to x@y.example\"}"})), edge);
    let other = alert(json!({"AlertEntityId": "x@evil.example", "EntityType": "MalwareFamily", "Data": "no JSON"}));
    assert_eq!(other, ["system securitycompliancealerts -> user x@evil.example"], "it is mentioned, and no policy is about it");
}

#[test]
fn whom_a_mail_went_to_is_told_where_the_record_tells() {
    let sent = json!({"MailboxOwnerUPN": ME, "recipientList": [{"Address": "Drop@evil.example", "Name": "x"}, {"Name": "no address"}]});
    assert_eq!(found_in("Send", 2, "Exchange", sent), of_me(["address drop@evil.example"]));
}

#[test]
fn an_edge_stands_once_and_all_of_a_record_stay_below_their_bound() {
    let members: Vec<_> = (0..10_000).map(|n| json!({"UPN": format!("someone-{n}@contoso.com")})).collect();
    let record =
        json!({"Operation": "\u{1}".repeat(5000), "RecordType": 25, "UserId": ME, "ApplicationId": "é".repeat(5000), "Members": members})
            .to_string();
    let edges = edges(&record);
    assert!(edges.len() <= MAX_BYTES && edges.len() > MAX_BYTES / 2, "{}", edges.len());
    let edges = parsed(&edges);
    assert_eq!(edges[0]["to"].as_str().map(str::len), Some(1024));
    assert_eq!(edges[0]["label"].as_str().map(str::len), Some(256));
    let once: std::collections::HashSet<_> = edges.iter().map(Value::to_string).collect();
    assert_eq!(once.len(), edges.len());
}

/// Values of all shapes, with words in them that rules look for.
fn any_value() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("User_2383a669-0671-49c4-a7e6-a15950eccc2e"),
        Just("a@b.c"),
        Just("[1.2.3.4]:5"),
        Just("https://c.sharepoint.com/sites/é/x"),
        Just("[{\"Name\":\"ForwardTo\",\"Value\":\"a@b.c\"}]"),
        Just("-ForwardTo \"a@b.c\" -x"),
        Just("member"),
        Just("Name"),
        Just("ForwardTo"),
        Just("5"),
        Just("{\"f3u\":\"a@b.c\"}"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
        ".{0,12}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let names = prop_oneof![
            Just("Name"),
            Just("Value"),
            Just("NewValue"),
            Just("ID"),
            Just("Type"),
            Just("UPN"),
            Just("PolicyName"),
            Just("From"),
            Just("To"),
            Just("Address")
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names, inner, 0..4).prop_map(|fields| json!(fields))
        ]
    })
}

proptest! {
    #[test]
    fn no_record_makes_it_panic_and_the_same_record_gives_the_same_edges(
        kind in prop_oneof![Just(1), Just(8), Just(13), Just(14), Just(40), Just(63)],
        workload in prop_oneof![Just("Exchange"), Just("SharePoint"), Just("AzureActiveDirectory"), Just("DLP")],
        operation in prop_oneof![Just("New-InboxRule"), Just("Add-MailboxPermission"), Just("Add-RoleGroupMember"), Just("New-TransportRule"), Just("Add member to role."), Just("")],
        fields in prop::collection::btree_map(prop_oneof![
            Just("UserId"), Just("ClientIP"), Just("ObjectId"), Just("Parameters"), Just("Target"), Just("ModifiedProperties"), Just("OperationProperties"), Just("Members"),
            Just("PolicyDetails"), Just("ExchangeMetaData"), Just("SharePointMetaData"), Just("Data"), Just("MailboxOwnerUPN"), Just("SiteUrl"), Just("SourceFileName"), Just("recipientList"),
        ], any_value(), 0..10),
    ) {
        let mut record = json!({"UserId": ME, "RecordType": kind, "Workload": workload, "Operation": operation});
        record.as_object_mut().unwrap().extend(fields.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let text = record.to_string();
        let first = edges(&text);
        prop_assert_eq!(&first, &edges(&text));
        for edge in parsed(&first) {
            prop_assert!(edge["from"] != "" && edge["to"] != "" && [operation, "mentions", "acts as"].iter().any(|label| edge["label"] == *label));
            prop_assert!((&edge["from"], &edge["fromType"]) != (&edge["to"], &edge["toType"]));
        }
    }

    #[test]
    fn no_text_is_taken_for_an_address_that_is_none(text in "[0-9a-f.:\\[\\]%]{0,40}") {
        if let Some(node) = Node::ip(&text) {
            prop_assert_eq!(node.name.parse::<std::net::IpAddr>().map(|ip| ip.to_string()).ok(), Some(node.name.into_owned()));
        }
    }
}

#[test]
fn every_published_case_has_the_edges_that_it_must_have_and_none_that_it_must_not() {
    let cases = include_str!("../../../tests/data/edge-cases.ndjson");
    for case in cases.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let edges = Table::built_in().explained(&Fields::of(&case["record"].to_string()).unwrap()).1;
        let has = |pattern: &Value| {
            let (from, to) = pattern.as_str().unwrap().split_once(" -> ").unwrap();
            edges.iter().any(|edge| is_meant(from, edge.from_type, &edge.from) && is_meant(to, edge.to_type, &edge.to))
        };
        for must in case["must"].as_array().unwrap() {
            assert!(has(must), "{} lacks {must} in {edges:#?}", case["case"]);
        }
        for must_not in case["must_not"].as_array().unwrap() {
            assert!(!has(must_not), "{} has {must_not}", case["case"]);
        }
    }
}

/// True if a node is what a case writes as `type name`, with `*` for any.
fn is_meant(pattern: &str, kind: NodeType, name: &str) -> bool {
    let (kinds, names) = pattern.split_once(' ').unwrap();
    (kinds == "*" || kinds == kind.as_str()) && (names == "*" || names.eq_ignore_ascii_case(name))
}

#[test]
fn work_grows_with_a_record_and_no_faster() {
    let many = |count: usize| {
        let parameters: Vec<_> = (0..count).map(|n| json!({"Name": "ForwardTo", "Value": format!("smtp:a{n}@b.example")})).collect();
        let target: Vec<_> = (0..count).map(|n| json!({"ID": format!("a{n}@b.example"), "Type": 5})).collect();
        json!({"Operation": "New-InboxRule", "RecordType": 1, "Workload": "AzureActiveDirectory", "UserId": ME, "Parameters": parameters, "Target": target,
            "P2Sender": vec!["a@b.example"; count], "Recipients": vec!["c@b.example"; count], "Members": target, "Data": json!(parameters).to_string(), "ModifiedProperties": parameters}).to_string()
    };
    // Time is no measure beside other tests; texts that are looked at and kept are.
    let (few, most) = (many(1_000), many(30_000));
    let of = |record: &str| Texts::of(&Table::built_in().tree, &Fields::of(record).unwrap()).all.len();
    assert!(of(&few) > 3_000 && of(&most) < 10_000, "{} and {}", of(&few), of(&most));
    let start = std::time::Instant::now();
    assert!(edges(&most).len() <= MAX_BYTES);
    assert!(start.elapsed().as_secs() < 20, "a record of {} MB took {:?}", most.len() / 1_000_000, start.elapsed());
}

#[test]
fn the_built_in_table_has_no_fault_and_each_row_has_a_name_of_its_own() {
    assert_eq!(Table::with(&[]).1, Vec::<String>::new());
}

#[test]
fn a_bad_row_or_file_is_named_and_costs_no_other() {
    let files = [
        ("edges/bad.toml".to_owned(), "[[edge]\nname".to_owned()),
        (
            "edges/mine.toml".to_owned(),
            r#"
off = ["address", "no such row"]
colour = "red"
[[edge]]
name = "printer"
when = { type = [9001] }
to = { object = "Printer.Name" }
[[edge]]
name = "printer"
to = { object = "Printer.Id" }
[[edge]]
name = "odd"
to = { printer = "Printer.Id" }
[[edge]]
name = "odder"
when = { moon = "full" }
to = { object = "Printer.Id" }
[[edge]]
name = "empty"
to = { object = "Printer.Id, " }
"#
            .to_owned(),
        ),
    ];
    let (table, faults) = Table::with(&files);
    for part in ["edges/bad.toml", "no such row", "colour", "another row has this name", "printer", "\"odd\"", "\"odder\"", "\"empty\""] {
        assert!(faults.iter().any(|fault| fault.contains(part)), "{part} is not told of in {faults:#?}");
    }
    let record =
        json!({"Operation": "Print", "RecordType": 9001, "UserId": ME, "ClientIP": "203.0.113.7", "Printer": "{\"Name\":\"Lobby\"}"})
            .to_string();
    let edges = table.explained(&Fields::of(&record).unwrap()).1;
    let told: Vec<_> = edges.iter().map(|edge| format!("{}: {} {}", edge.row, edge.to_type, edge.to)).collect();
    assert_eq!(told, ["printer: object Lobby", "address anywhere: ip 203.0.113.7"]);
}

#[test]
fn an_account_of_a_windows_domain_that_is_given_a_right_is_a_person() {
    let given = |user: &str| {
        let parameters = json!([{"Name": "Identity", "Value": "ceo@contoso.com"}, {"Name": "User", "Value": user}]);
        found_in("Add-MailboxPermission", 1, "Exchange", json!({"ObjectId": "ceo", "Parameters": parameters})).pop().unwrap()
    };
    assert_eq!(given("EURPR01A001\\alex1234567890"), "user eurpr01a001\\alex1234567890 -> mailbox ceo@contoso.com");
    assert_eq!(given("NT AUTHORITY\\SELF"), "system nt authority\\self -> mailbox ceo@contoso.com");
}

#[test]
fn each_of_several_recipients_is_one() {
    let cmdlet = |operation: &str, parameters: Value| {
        let record = json!({"ObjectId": "Board", "Parameters": parameters});
        found_in(operation, 1, "Exchange", record)
    };
    let members = |members: &str| cmdlet("Update-DistributionGroupMember", json!([{"Name": "Members", "Value": members}]));
    let both = [&*format!("user {ME} -> group Board"), "user alex@contoso.com -> group Board", "user diego@contoso.com -> group Board"];
    for text in ["alex@contoso.com;diego@contoso.com", "alex@contoso.com, diego@contoso.com", "alex@contoso.com; Diego@contoso.com;"] {
        assert_eq!(members(text), both, "{text}");
    }
    // Each name is looked for in the whole record, so that it matters how many are.
    let many = members(&format!("{}last@contoso.com", "alex@contoso.com;".repeat(1_000)));
    assert_eq!(many, [both[0], both[1]]);
    let one = members("Vance, Adele");
    assert_eq!(one, [&*format!("user {ME} -> group Board"), "user vance, adele -> group Board"], "a comma stands in names, too");
    let granted = cmdlet(
        "Set-Mailbox",
        json!([{"Name": "Identity", "Value": "sales@contoso.com"}, {"Name": "GrantSendOnBehalfTo", "Value": "Iris S;alex@contoso.com;Sales Team"}]),
    );
    let mailbox = "mailbox sales@contoso.com";
    let expected = [
        format!("user {ME} -> {mailbox}"),
        format!("user iris s -> {mailbox}"),
        format!("user alex@contoso.com -> {mailbox}"),
        format!("group Sales Team -> {mailbox}"),
    ];
    assert_eq!(granted, expected);
}

#[test]
fn an_application_gets_a_management_role() {
    let app = "25480d20-190b-5470-a031-cc73de70b961";
    let parameters = json!([{"Name": "Role", "Value": "Application Mail.Read"}, {"Name": "App", "Value": app}]);
    let edges = found_in("New-ManagementRoleAssignment", 1, "Exchange", json!({"ObjectId": "x", "Parameters": parameters}));
    assert_eq!(edges, [&*format!("user {ME} -> object x"), &*format!("app {app} -> group Application Mail.Read")]);
}

#[test]
fn a_target_that_has_a_name_and_no_kind_is_no_application() {
    let target =
        json!([{"ID": "contoso.com", "Type": 1}, {"ID": "c1704b09-6998-49fb-abdb-7e912f5e07ea", "Type": 2}, {"ID": "Domain", "Type": 2}]);
    let edges = found_in("Set domain authentication.", 8, "AzureActiveDirectory", json!({"Target": target}));
    assert_eq!(edges, of_me(["object contoso.com"]));
}

#[test]
fn what_left_a_device_is_told_with_the_device_the_policy_and_where_it_went() {
    let usb = json!({
        "ObjectId": "C:\\Users\\Megan\\Prices.xlsx", "TargetFilePath": "E:\\Prices.xlsx", "DeviceName": "laptop-7",
        "RemovableMediaDeviceAttributes": {"Manufacturer": "Contoso", "Model": "Stick", "SerialNumber": "4C530001"},
        "PolicyMatchInfo": {"PolicyId": "1e4f2b70-0000-4000-8000-000000000001", "PolicyName": "Card numbers", "RuleName": "Block"},
    });
    let expected =
        of_me(["file c:\\users\\megan\\prices.xlsx", "file e:\\prices.xlsx", "object laptop-7", "object 4C530001", "policy Card numbers"]);
    assert_eq!(found_in("FileCopiedToRemovableMedia", 63, "Endpoint", usb), expected);
    let cloud = json!({"ObjectId": "/Users/megan/a.docx", "TargetDomain": "files.example", "DeviceName": "mac-1"});
    let expected = of_me(["file /users/megan/a.docx", "object mac-1", "object files.example"]);
    assert_eq!(found_in("FileUploadedToCloud", 63, "Endpoint", cloud), expected);
    let print = json!({"ObjectId": "C:\\a.docx", "TargetPrinterName": "Office 2"});
    assert_eq!(found_in("FilePrinted", 63, "Endpoint", print), of_me(["file c:\\a.docx", "object Office 2"]));
    let isolated = found_in("IsolateDevice", 189, "MicrosoftDefenderForEndpoint", json!({"DeviceName": "laptop-7"}));
    assert_eq!(isolated, of_me(["object laptop-7"]));
    let signed_in = json!({"DeviceProperties": [{"Name": "DisplayName", "Value": "LAPTOP-7"}, {"Name": "OS", "Value": "Windows10"}]});
    assert_eq!(found_in("UserLoggedIn", 15, "AzureActiveDirectory", signed_in), of_me(["object LAPTOP-7"]));
}

#[test]
fn a_path_on_a_device_is_a_file_in_every_record() {
    for (path, file) in
        [("C:\\Users\\Megan\\Secret.docx", "c:\\users\\megan\\secret.docx"), ("\\\\fs1\\hr\\Pay.xlsx", "\\\\fs1\\hr\\pay.xlsx")]
    {
        for (kind, workload) in [(83, "PublicEndpoint"), (93, "Aip")] {
            assert_eq!(found_in("A", kind, workload, json!({"ObjectId": path})), of_me([&format!("file {file}")]));
        }
    }
    assert_eq!(found_in("A", 93, "Aip", json!({"ObjectId": "Document2"})), of_me(["object Document2"]));
}

#[test]
fn a_label_is_told_by_its_name_or_id() {
    let id = "4eff011f-95b3-4371-8836-39da6458f464";
    let mail = json!({"LabelId": id, "LabelName": "Secret", "Sender": ME, "Receivers": []});
    assert_eq!(found_in("MipLabel", 43, "Exchange", mail), of_me(["object Secret"]));
    let old = "6282649d-9e2a-4063-8587-32eaaa9ad68e";
    let file = json!({"ObjectId": "C:\\a.docx", "SensitivityLabelEventData": {"SensitivityLabelId": id, "OldSensitivityLabelId": old}});
    let expected = of_me(["file c:\\a.docx", &format!("object {id}"), &format!("object {old}")]);
    assert_eq!(found_in("SensitivityLabelUpdated", 83, "PublicEndpoint", file), expected);
}

#[test]
fn a_search_tells_whose_mail_and_which_sites_it_looked_through() {
    let expected = of_me([
        "object Everything",
        "site https://contoso.sharepoint.com/sites/hr",
        "site https://contoso.sharepoint.com/sites/board room",
        "mailbox alex@contoso.com",
        "mailbox ceo@contoso.com",
    ]);
    let fields = json!({
        "ObjectId": "Everything", "ExchangeLocations": "Include:[alex@contoso.com,ceo@contoso.com]",
        "SharepointLocations": "Include:[https://contoso.sharepoint.com/sites/HR/, https://contoso.sharepoint.com/sites/Board%20Room]",
    });
    assert_eq!(found_in("SearchCreated", 24, "SecurityComplianceCenter", fields), expected);
    let command = json!({
        "ObjectId": "Everything",
        "Parameters": "-Name \"Everything\" -ExchangeLocation \"alex@contoso.com\",\"ceo@contoso.com\" -SharePointLocation \"https://contoso.sharepoint.com/sites/HR\",\"https://contoso.sharepoint.com/sites/Board Room\"",
    });
    assert_eq!(found_in("New-ComplianceSearch", 18, "SecurityComplianceCenter", command), expected);
    let all = json!({"ObjectId": "Everything", "ExchangeLocations": "Include:[All]", "SharepointLocations": "Include:[All]"});
    assert_eq!(found_in("SearchCreated", 24, "SecurityComplianceCenter", all), of_me(["object Everything"]));
}

#[test]
fn what_copilot_read_beside_files_is_no_file() {
    let mail = "https://outlook.office365.com/owa/?ItemID=AAMk1";
    let read = json!({"CopilotEventData": {"AccessedResources": [{"SiteUrl": mail, "Type": "EmailMessage"}], "Contexts": [{"Id": "19:abc@thread.v2", "Type": "TeamsChat"}]}});
    assert_eq!(found_in("CopilotInteraction", 261, "Copilot", read), of_me([&format!("object {mail}")]));
    let file = json!({"CopilotEventData": {"AccessedResources": [{"SiteUrl": "https://contoso.sharepoint.com/sites/HR/a.docx?web=1"}]}});
    assert_eq!(found_in("CopilotInteraction", 261, "Copilot", file), of_me(["file https://contoso.sharepoint.com/sites/hr/a.docx"]));
}

#[test]
fn an_alert_that_names_nobody_is_tied_to_its_service() {
    let alert = |more: Value| {
        let mut record = json!({"Operation": "AlertTriggered", "RecordType": 40, "Workload": "SecurityComplianceCenter", "UserId": "SecurityComplianceAlerts", "UserType": 4, "Name": "Phish delivered"});
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        found(record)
    };
    let service = "system securitycompliancealerts -> policy Phish delivered";
    assert_eq!(alert(json!({"Data": "{\"tht\":\"Phish\"}"})), [service]);
    assert_eq!(alert(json!({"Data": format!("{{\"f3u\":\"{ME}\"}}")})), [format!("user {ME} -> policy Phish delivered")]);
    let entity = json!({"EntityType": "User", "Data": format!("{{\"etype\":\"User\",\"eid\":\"{ME}\"}}")});
    assert_eq!(alert(entity), [format!("user {ME} -> policy Phish delivered")]);
}

#[test]
fn an_application_in_a_team_is_told() {
    let app = "25480d20-190b-5470-a031-cc73de70b961";
    let installed = json!({"AddOnName": "Polls", "AzureADAppId": app, "TeamName": "HR"});
    assert_eq!(found_in("AppInstalled", 25, "MicrosoftTeams", installed), of_me([&format!("app {app}"), "group HR"]));
    let tab = json!({"AddOnName": "Polls", "TeamName": "HR"});
    assert_eq!(found_in("TabAdded", 25, "MicrosoftTeams", tab), of_me(["app Polls", "group HR"]));
}

#[test]
fn who_was_let_into_a_report_a_workspace_or_a_group_of_sharepoint_is_told() {
    let shared = json!({"SharingInformation": [{"RecipientEmail": "bob@fabrikam.com", "RecipientName": "Bob"}]});
    assert_eq!(found_in("ShareReport", 20, "PowerBI", shared), of_me(["user bob@fabrikam.com"]));
    let id = "14fa6fa9-dfd3-4b0f-ad79-29309e3f37b2";
    let access = json!({"FolderDisplayName": "Finance", "FolderAccessRequests": [{"UserObjectId": id, "RolePermissions": "Admin"}]});
    assert_eq!(found_in("UpdateFolderAccess", 20, "PowerBI", access), of_me([&format!("user {id}")]));
    let added =
        json!({"TargetUserOrGroupName": "alex@contoso.com", "TargetUserOrGroupType": "Member", "EventData": "<Group>HR Owners</Group>"});
    let expected = [&*format!("user {ME} -> user alex@contoso.com"), "user alex@contoso.com -> group HR Owners"];
    assert_eq!(found_in("AddedToGroup", 14, "SharePoint", added), expected);
}

#[test]
fn an_app_or_a_flow_of_the_power_platform_is_what_was_acted_on() {
    let app = json!({"AppName": "/providers/Microsoft.PowerApps/apps/20667e79-cf5a-4fb5-bae4-231ee47fb91c"});
    let expected = of_me(["object /providers/Microsoft.PowerApps/apps/20667e79-cf5a-4fb5-bae4-231ee47fb91c"]);
    assert_eq!(found_in("LaunchPowerApp", 45, "PowerApps", app), expected);
    let flow = "https://admin.flow.microsoft.com/environments/Default-1/flows/2/details";
    assert_eq!(found_in("CreateFlow", 30, "MicrosoftFlow", json!({"FlowDetailsUrl": flow})), of_me([&format!("object {flow}")]));
}

#[test]
fn an_application_that_signs_with_its_own_id_is_who_acted() {
    let app = "25480d20-190b-5470-a031-cc73de70b961";
    let file = "https://contoso.sharepoint.com/sites/hr/pay.xlsx";
    let record = |more: Value| {
        let mut record = json!({"Operation": "FileDownloaded", "RecordType": 6, "Workload": "SharePoint", "UserId": app, "UserType": 5, "ObjectId": file, "ItemType": "File"});
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        found(record)
    };
    let expected = [format!("app {app} -> file {file}"), format!("app {app} -> site https://contoso.sharepoint.com/sites/hr")];
    assert_eq!(record(json!({ "ApplicationId": app.to_uppercase() })), expected);
    assert_eq!(record(json!({"AppAccessContext": {"ClientAppId": app}})), expected);
}

#[test]
fn whom_mail_and_power_bi_apps_go_to_is_told() {
    let recipients = json!([{"Address": "bob@fabrikam.com", "Name": "Bob"}, {"Address": "/o=ExchangeLabs/ou=x/cn=Recipients/cn=1a2b-alex", "Name": "Alex"}]);
    let sent = json!({"Item": {"Recipients": recipients}});
    assert_eq!(found_in("Send", 2, "Exchange", sent.clone()), of_me(["address bob@fabrikam.com"]));
    let told = json!({"Operation": "Send", "UserId": ME, "Item": sent["Item"]}).to_string();
    assert_eq!(parsed(&edges(&told))[0]["label"], "Send");
    let app = json!({"OrgAppPermission": {"recipients": "Sales App(alex@contoso.com,Sales Group)"}});
    assert_eq!(found_in("CreateApp", 20, "PowerBI", app), of_me(["user alex@contoso.com"]));
}

#[test]
fn whoever_is_met_in_teams_is_a_guest_where_another_organisation_is_told() {
    let (own, other) = ("7d2f0a44-5c55-4e1b-9c8e-1d7e6f1d2a10", "1e4f2b70-5c55-4e1b-9c8e-1d7e6f1d2a10");
    let of = |upn: &str, organization: &str| json!({"UPN": upn, "OrganizationId": organization, "DisplayName": "x"});
    let sent = json!({"OrganizationId": own, "Sender": of("support@fabrikam.com", other)});
    assert_eq!(found_in("MessageSent", 25, "MicrosoftTeams", sent), of_me(["guest support@fabrikam.com"]));
    let met =
        json!({"OrganizationId": own, "Organizer": of("alex@contoso.com", own), "Attendees": [of(ME, own), of("bob@fabrikam.com", other)]});
    let expected = of_me(["guest bob@fabrikam.com", "user alex@contoso.com"]);
    assert_eq!(found_in("MeetingParticipantDetail", 25, "MicrosoftTeams", met), expected);
}

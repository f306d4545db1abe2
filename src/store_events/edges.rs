//! Ties the names of a record together: who did what to what, from where, as the edges of a graph. One table of rules. Pure,
//! and of the record alone. What a name stands for is next door.

use std::borrow::Cow;

use serde::Serialize;

use super::{
    fields::{Fields, for_each, text},
    nodes::{Node, NodeType, addresses, cut, is_guid, recipient, site_of},
};

/// Most bytes of a record's edges as JSON: about five hundred. What is beyond stays in the record's own fields.
pub(super) const MOST_BYTES: usize = 64 * 1024;
/// Most bytes of a label; longer ones are cut.
const MOST_LABEL: usize = 256;

/// Where edges of a kind are taken from.
#[cfg_attr(not(test), expect(dead_code, reason = "told to the reader; a test holds the documentation to it"))]
struct Rule {
    /// Node type that they come from.
    from: &'static str,
    /// Node types that they go to.
    to: &'static str,
    /// The record's fields that they are taken from.
    fields: &'static str,
    /// Adds them.
    find: fn(&Record<'_>, &mut Edges<'_>),
}

/// All rules. Where `user` is written, it is whoever acted: a guest and a system too.
#[rustfmt::skip]
const RULES: [Rule; 13] = [
    Rule { from: "user", to: "ip", find: ip,
           fields: "`ClientIP`, `ClientIPAddress`, `ActorIpAddress`" },
    Rule { from: "user", to: "file", find: file,
           fields: "SharePoint, OneDrive: `ObjectId`, or `SiteUrl` + `SourceRelativeUrl` + `SourceFileName`, of files, folders and pages; data loss prevention: `SharePointMetaData.FilePathUrl`; on devices: `ObjectId`" },
    Rule { from: "user", to: "site", find: site,
           fields: "`SiteUrl`, or the site's part of a SharePoint `ObjectId`; data loss prevention: `SharePointMetaData.SiteCollectionUrl`" },
    Rule { from: "user", to: "mailbox", find: mailbox,
           fields: "`MailboxOwnerUPN`, `SendAsUserSmtp`, `SendOnBehalfOfUserSmtp`, where it is not the user's own" },
    Rule { from: "user", to: "app", find: app,
           fields: "`ApplicationId`, else `ApplicationDisplayName`; `ClientAppId`, `AppId`, `AadAppId`, `AppAccessContext.ClientAppId`" },
    Rule { from: "user", to: "user, group, app, policy, object", find: target,
           fields: "Entra ID: `Target`" },
    Rule { from: "user", to: "user, mailbox, group, object", find: object,
           fields: "cmdlets and all other workloads: `ObjectId`; the cmdlet's noun tells the type" },
    Rule { from: "user", to: "user, guest, group", find: shared_with,
           fields: "`TargetUserOrGroupName` (sharing); Teams: `Members`, `TeamName`" },
    Rule { from: "user", to: "group, app", find: membership,
           fields: "who became (or ceased to be) member or owner, and of what: Entra ID's `Target` and `ModifiedProperties` (`Role`, `Group`, `Application`); cmdlets' `Member`, `Members`, `Links` and `ObjectId`" },
    Rule { from: "user", to: "mailbox", find: delegate,
           fields: "who was given a right to a mailbox: cmdlets' `User`, `Trustee`, `GrantSendOnBehalfTo` and `ObjectId`" },
    Rule { from: "mailbox, object", to: "address", find: forwarding,
           fields: "inbox rules and forwarding: `ForwardTo`, `RedirectTo`, `ForwardAsAttachmentTo`, `ForwardingSmtpAddress`, `ForwardingAddress`, `RuleActions`; from a mail flow rule (object): `BlindCopyTo`, `CopyTo`, `RedirectMessageTo`, `AddToRecipients`" },
    Rule { from: "user", to: "policy", find: policy,
           fields: "data loss prevention: `PolicyDetails[].PolicyName`; alerts: whom they are about (`AlertEntityId`, or `f3u` and `suid` in `Data`) and `Name`" },
    Rule { from: "user", to: "address", find: mailed,
           fields: "data loss prevention: `ExchangeMetaData.To`, `CC`, `BCC`" },
];

/// A record's edges as a JSON array, each once.
pub(super) fn edges(fields: &Fields<'_>) -> String {
    edges_by(&RULES, fields)
}

fn edges_by(rules: &[Rule], fields: &Fields<'_>) -> String {
    let record = Record::of(fields);
    let mut edges = Edges { label: cut(&record.label, MOST_LABEL), json: vec![b'['], known: Vec::new() };
    for rule in rules {
        (rule.find)(&record, &mut edges);
    }
    edges.close()
}

/// One edge, as documents hold it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Edge<'a> {
    from: &'a str,
    from_type: NodeType,
    to: &'a str,
    to_type: NodeType,
    label: &'a str,
}

/// Edges as they are found.
struct Edges<'a> {
    label: &'a str,
    json: Vec<u8>,
    known: Vec<(Node, Node)>,
}

impl Edges<'_> {
    /// Adds an edge where both ends are there and differ, unless it is known or there is no more room.
    fn add(&mut self, from: Option<&Node>, to: Option<Node>) {
        let (Some(from), Some(to)) = (from, to) else { return };
        if *from == to || self.known.iter().any(|known| known.0 == *from && known.1 == to) {
            return;
        }
        let end = self.json.len();
        if end > 1 {
            self.json.push(b',');
        }
        let edge = Edge { from: &from.name, from_type: from.kind, to: &to.name, to_type: to.kind, label: self.label };
        if serde_json::to_writer(&mut self.json, &edge).is_err() || self.json.len() >= MOST_BYTES {
            self.json.truncate(end);
            return;
        }
        self.known.push((from.clone(), to));
    }

    fn close(mut self) -> String {
        self.json.push(b']');
        String::from_utf8(self.json).unwrap_or_else(|_| "[]".to_owned())
    }
}

/// A record, and what most rules ask of it.
struct Record<'a> {
    fields: &'a Fields<'a>,
    label: Cow<'a, str>,
    kind: Kind,
    /// Who acted.
    actor: Option<Node>,
}

/// Kinds of record that rules tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A cmdlet of Exchange's.
    ExchangeCmdlet,
    /// SharePoint and OneDrive.
    SharePoint,
    /// Entra ID, sign-ins included.
    Entra,
    /// Data loss prevention, of whatever workload.
    DataLoss,
    /// Data loss prevention on devices.
    Device,
    Alert,
    Other,
}

impl Kind {
    /// <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-schema#auditlogrecordtype>
    fn of(fields: &Fields<'_>) -> Self {
        match (fields.text("RecordType").as_deref(), fields.text("Workload").as_deref()) {
            (Some("63"), _) => Self::Device,
            _ if fields.get("PolicyDetails").is_some() => Self::DataLoss,
            (Some("1"), _) => Self::ExchangeCmdlet,
            (Some("40"), _) => Self::Alert,
            (_, Some("SharePoint" | "OneDrive")) => Self::SharePoint,
            (_, Some("AzureActiveDirectory")) => Self::Entra,
            _ => Self::Other,
        }
    }
}

impl<'a> Record<'a> {
    fn of(fields: &'a Fields<'a>) -> Self {
        let user_type = fields.text("UserType").and_then(|text| text.parse().ok());
        let record = Self {
            fields,
            label: fields.text("Operation").unwrap_or_default(),
            kind: Kind::of(fields),
            actor: fields.text("UserId").and_then(|name| Node::account(&name, user_type)),
        };
        match record.sender() {
            Some(sender) if !record.actor.as_ref().is_some_and(Node::is_person) => Self { actor: Some(sender), ..record },
            _ => record,
        }
    }

    /// Data loss prevention may act in its own name; then the record tells elsewhere whose content it was.
    fn sender(&self) -> Option<Node> {
        let from = |name: &str| self.part(name)?.text("From").and_then(|name| Node::account(&name, None));
        (self.kind == Kind::DataLoss).then(|| from("ExchangeMetaData").or_else(|| from("SharePointMetaData"))).flatten()
    }

    fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.fields.text(name)
    }

    /// An object among the fields.
    fn part(&self, name: &str) -> Option<Fields<'a>> {
        Fields::of(self.fields.get(name)?.get())
    }

    /// Calls for each name and value in a list of properties.
    fn properties(&self, list: &str, mut take: impl FnMut(&str, &Fields<'_>)) {
        let Some(list) = self.fields.get(list) else { return };
        for_each(list, |property| {
            let Some(property) = Fields::of(property.get()) else { return };
            if let Some(name) = property.text("Name") {
                take(&name, &property);
            }
        });
    }

    /// Calls for each value of a cmdlet's parameters of these names.
    fn parameters(&self, names: &[&str], mut take: impl FnMut(&str)) {
        self.properties("Parameters", |name, parameter| {
            if names.iter().any(|other| name.eq_ignore_ascii_case(other))
                && let Some(value) = parameter.get("Value")
            {
                for_each(value, |value| take(&text(value).unwrap_or_default()));
            }
        });
    }

    /// What a cmdlet is about: `New-InboxRule` about an `InboxRule`.
    fn noun(&self) -> &str {
        let is_cmdlet = self.kind == Kind::ExchangeCmdlet;
        self.label.split_once('-').filter(|_| is_cmdlet).map_or("", |(_, noun)| noun)
    }

    /// The mailbox that a cmdlet is about.
    fn mailbox(&self) -> Option<Node> {
        let mut named = None;
        self.parameters(&["Mailbox"], |name| named = named.take().or(mailbox_of(name)));
        let is_rule = matches!(self.noun(), "InboxRule" | "SweepRule");
        // Without that parameter, a rule is made in the mailbox of whoever makes it.
        let own = || self.actor.as_ref().filter(|actor| is_rule && actor.is_person()).and_then(|actor| mailbox_of(&actor.name));
        let object = || mailbox_of(self.text("ObjectId")?.split(['\\', ':']).next()?);
        let mailbox = named.or_else(own).or_else(object)?;
        // Exchange knows a mailbox by its alias, which is mostly how its address begins.
        let is_own = |actor: &&Node| actor.name.split_once('@').is_some_and(|(local, _)| local == mailbox.name);
        let name = self.actor.as_ref().filter(is_own).map_or(mailbox.name, |actor| actor.name.clone());
        Some(Node { name, ..mailbox })
    }

    fn is_about_mailbox(&self) -> bool {
        let noun = self.noun();
        let is_setting = ["Plan", "Policy", "Database", "Search"].iter().any(|other| noun.contains(other));
        matches!(noun, "InboxRule" | "SweepRule" | "RecipientPermission" | "CalendarProcessing")
            || (noun.contains("Mailbox") && !is_setting)
    }
}

fn mailbox_of(name: &str) -> Option<Node> {
    Node::lower(NodeType::Mailbox, recipient(name))
}

/// A person by what Exchange calls it: an address, or a short name.
fn person_of(name: &str) -> Option<Node> {
    let name = recipient(name);
    if name.contains(['@', '\\']) { Node::account(name, None) } else { Node::lower(NodeType::User, name) }
}

fn ip(record: &Record<'_>, edges: &mut Edges<'_>) {
    for name in ["ClientIP", "ClientIPAddress", "ActorIpAddress"] {
        edges.add(record.actor.as_ref(), record.text(name).and_then(|text| Node::ip(&text)));
    }
}

fn file(record: &Record<'_>, edges: &mut Edges<'_>) {
    let path = match record.kind {
        Kind::SharePoint => {
            let is_file =
                record.text("SourceFileName").is_some() || matches!(record.text("ItemType").as_deref(), Some("File" | "Folder" | "Page"));
            record.text("ObjectId").filter(|_| is_file).or_else(|| source_path(record))
        }
        Kind::Device => record.text("ObjectId"),
        Kind::DataLoss => record.part("SharePointMetaData").and_then(|part| part.text("FilePathUrl")),
        _ => None,
    };
    edges.add(record.actor.as_ref(), path.and_then(|path| Node::new(NodeType::File, &path)));
}

/// A file's address from its parts. The path holds the file's name in some records, and not in others.
fn source_path<'a>(record: &Record<'a>) -> Option<Cow<'a, str>> {
    let (site, name) = (record.text("SiteUrl")?, record.text("SourceFileName")?);
    let folder = record.text("SourceRelativeUrl").unwrap_or_default();
    let folder = folder.strip_suffix(&*name).unwrap_or(&folder).trim_matches('/');
    let parts = [site.trim_end_matches('/'), folder, &name];
    Some(parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/").into())
}

fn site(record: &Record<'_>, edges: &mut Edges<'_>) {
    let site = match record.kind {
        Kind::DataLoss => record.part("SharePointMetaData").and_then(|part| part.text("SiteCollectionUrl")),
        _ => record.text("SiteUrl"),
    };
    let object = record.text("ObjectId").filter(|_| record.kind == Kind::SharePoint);
    let site = site.as_deref().or_else(|| site_of(object.as_deref()?));
    edges.add(record.actor.as_ref(), site.and_then(Node::site));
}

fn mailbox(record: &Record<'_>, edges: &mut Edges<'_>) {
    for name in ["MailboxOwnerUPN", "SendAsUserSmtp", "SendOnBehalfOfUserSmtp"] {
        let mailbox = record.text(name).and_then(|name| mailbox_of(&name));
        let is_own = |mailbox: &Node| record.actor.as_ref().is_some_and(|actor| actor.name == mailbox.name);
        edges.add(record.actor.as_ref(), mailbox.filter(|mailbox| !is_own(mailbox)));
    }
}

fn app(record: &Record<'_>, edges: &mut Edges<'_>) {
    let context = record.part("AppAccessContext").and_then(|context| context.text("ClientAppId"));
    let first = record.text("ApplicationId").or_else(|| record.text("ApplicationDisplayName"));
    for app in [first, record.text("ClientAppId"), record.text("AppId"), record.text("AadAppId"), context] {
        edges.add(record.actor.as_ref(), app.and_then(|app| Node::app(&app)));
    }
}

fn target(record: &Record<'_>, edges: &mut Edges<'_>) {
    for target in targets(record) {
        edges.add(record.actor.as_ref(), Some(target));
    }
}

/// What Entra ID's `Target` tells of one object, as it lists it: `User_<id>`, `<id>`, `User`, then names.
#[derive(Default)]
struct Identity {
    kind: String,
    id: String,
    name: Option<String>,
    upn: Option<String>,
    app_id: Option<String>,
}

impl Identity {
    fn node(self) -> Option<Node> {
        let Self { kind, id, name, upn, app_id } = self;
        let named = |kind| Node::new(kind, name.as_deref().unwrap_or(&id)).or_else(|| Node::new(kind, &id));
        match (upn, kind.as_str()) {
            (Some(upn), _) => Node::account(&upn, None),
            (None, "User") => Node::account(&id, None),
            (None, "ServicePrincipal" | "Application") => app_id.or(name).and_then(|app| Node::app(&app)).or_else(|| Node::app(&id)),
            // A sign-in's target is nothing but the id of the application that was signed in to.
            (None, "") => app_id.and_then(|app| Node::app(&app)),
            (None, "Group" | "Role") => named(NodeType::Group),
            (None, "Policy") => named(NodeType::Policy),
            _ => named(NodeType::Object),
        }
    }
}

fn targets(record: &Record<'_>) -> Vec<Node> {
    let Some(list) = record.fields.get("Target").filter(|_| record.kind == Kind::Entra) else { return Vec::new() };
    let mut identities = Vec::new();
    let mut current = Identity::default();
    for_each(list, |identity| {
        let Some(identity) = Fields::of(identity.get()) else { return };
        let Some(text) = identity.text("ID") else { return };
        match (identity.text("Type").as_deref(), text.split_once('_')) {
            (Some("2"), Some((kind, id))) if is_guid(id) => {
                identities.push(std::mem::take(&mut current));
                current = Identity { kind: kind.to_owned(), id: id.to_owned(), ..Identity::default() };
            }
            (Some("1"), _) => current.name = Some(text.into_owned()),
            (Some("5"), _) => current.upn = Some(text.into_owned()),
            _ if is_guid(&text) && text != current.id => current.app_id = Some(text.into_owned()),
            _ => {}
        }
    });
    identities.push(current);
    identities.into_iter().filter_map(Identity::node).collect()
}

fn object(record: &Record<'_>, edges: &mut Edges<'_>) {
    if !matches!(record.kind, Kind::ExchangeCmdlet | Kind::Other) {
        return;
    }
    let object = record.text("ObjectId");
    let object = match (record.noun(), object.as_deref()) {
        _ if record.is_about_mailbox() => record.mailbox(),
        ("User" | "MailUser", Some(name)) => person_of(name),
        (noun, Some(name)) if noun.contains("Group") => Node::new(NodeType::Group, recipient(name)),
        (_, Some(name)) => Node::new(NodeType::Object, recipient(name)),
        (_, None) => None,
    };
    edges.add(record.actor.as_ref(), object);
}

fn shared_with(record: &Record<'_>, edges: &mut Edges<'_>) {
    let target = record.text("TargetUserOrGroupName").and_then(|name| match record.text("TargetUserOrGroupType").as_deref() {
        Some("SharePointGroup" | "SecurityGroup") => Node::new(NodeType::Group, &name),
        Some("Guest") => Node::account(&name, Some(10)),
        _ => Node::account(&name, None),
    });
    edges.add(record.actor.as_ref(), target);
    edges.add(record.actor.as_ref(), record.text("TeamName").and_then(|name| Node::new(NodeType::Group, &name)));
    let Some(members) = record.fields.get("Members") else { return };
    for_each(members, |member| {
        let upn = Fields::of(member.get()).and_then(|member| Node::account(&member.text("UPN")?, None));
        edges.add(record.actor.as_ref(), upn);
    });
}

fn membership(record: &Record<'_>, edges: &mut Edges<'_>) {
    if record.kind == Kind::Entra && (record.label.contains("member") || record.label.contains("owner")) {
        let whole = whole(record);
        targets(record).iter().for_each(|member| edges.add(Some(member), whole.clone()));
    }
    if record.noun().contains("Group") {
        let group = record.text("ObjectId").and_then(|name| Node::new(NodeType::Group, recipient(&name)));
        record.parameters(&["Member", "Members", "Links"], |member| edges.add(person_of(member).as_ref(), group.clone()));
    }
}

/// What the target of an Entra ID record became, or ceased to be, a member or an owner of.
fn whole(record: &Record<'_>) -> Option<Node> {
    let (mut by_id, mut by_name) = (None, None);
    record.properties("ModifiedProperties", |name, property| {
        let Some(value) = property.text("NewValue").or_else(|| property.text("OldValue")) else { return };
        match name {
            "Application.AppId" | "ServicePrincipal.AppId" => by_id = Node::app(&value),
            "Application.DisplayName" | "ServicePrincipal.DisplayName" => by_name = by_name.take().or(Node::app(&value)),
            "Role.DisplayName" | "Group.DisplayName" => by_name = by_name.take().or(Node::new(NodeType::Group, &value)),
            _ => {}
        }
    });
    by_id.or(by_name)
}

fn delegate(record: &Record<'_>, edges: &mut Edges<'_>) {
    if !record.is_about_mailbox() {
        return;
    }
    let mut mailbox = None;
    record.parameters(&["User", "Trustee", "GrantSendOnBehalfTo"], |name| {
        let mailbox = mailbox.get_or_insert_with(|| record.mailbox());
        edges.add(person_of(name).as_ref(), mailbox.clone());
    });
}

fn forwarding(record: &Record<'_>, edges: &mut Edges<'_>) {
    const MAILBOX: [&str; 5] = ["ForwardTo", "RedirectTo", "ForwardAsAttachmentTo", "ForwardingSmtpAddress", "ForwardingAddress"];
    const MAIL_FLOW: [&str; 4] = ["BlindCopyTo", "CopyTo", "RedirectMessageTo", "AddToRecipients"];
    if record.is_about_mailbox() {
        let mut mailbox = None;
        record.parameters(&MAILBOX, |to| {
            let mailbox = mailbox.get_or_insert_with(|| record.mailbox());
            add_addresses(mailbox.as_ref(), to, edges);
        });
    } else if record.noun() == "TransportRule" {
        let rule = record.text("ObjectId").and_then(|name| Node::new(NodeType::Object, &name));
        record.parameters(&MAIL_FLOW, |to| add_addresses(rule.as_ref(), to, edges));
    }
    // Rules that are made in Outlook come as an operation on the mailbox.
    let owner = record.text("MailboxOwnerUPN").and_then(|name| mailbox_of(&name));
    if owner.is_some() {
        record.properties("OperationProperties", |name, property| {
            if name == "RuleActions"
                && let Some(actions) = property.text("Value")
            {
                addresses(&actions).for_each(|to| edges.add(owner.as_ref(), Node::lower(NodeType::Address, to)));
            }
        });
    }
}

/// The addresses in a text; where there is none, the recipient that it names.
fn add_addresses(from: Option<&Node>, text: &str, edges: &mut Edges<'_>) {
    let mut found = addresses(text).peekable();
    if found.peek().is_none() {
        return edges.add(from, Node::lower(NodeType::Address, recipient(text)));
    }
    found.for_each(|to| edges.add(from, Node::lower(NodeType::Address, to)));
}

fn policy(record: &Record<'_>, edges: &mut Edges<'_>) {
    match record.kind {
        Kind::Alert => {
            let name = record.text("Name").and_then(|name| Node::new(NodeType::Policy, &name));
            let mut add = |who: Option<Cow<'_, str>>| {
                let who = who.unwrap_or_default();
                addresses(&who).for_each(|who| edges.add(Node::account(who, None).as_ref(), name.clone()));
            };
            add(record.text("AlertEntityId").filter(|_| record.text("EntityType").as_deref() == Some("User")));
            let data = record.text("Data").unwrap_or_default();
            let data = Fields::of(&data);
            ["f3u", "suid"].into_iter().for_each(|name| add(data.as_ref().and_then(|data| data.text(name))));
        }
        Kind::DataLoss | Kind::Device => {
            let Some(policies) = record.fields.get("PolicyDetails") else { return };
            for_each(policies, |policy| {
                let name = Fields::of(policy.get())
                    .and_then(|policy| policy.text("PolicyName").or_else(|| policy.text("PolicyId")).map(Cow::into_owned));
                edges.add(record.actor.as_ref(), name.and_then(|name| Node::new(NodeType::Policy, &name)));
            });
        }
        _ => {}
    }
}

fn mailed(record: &Record<'_>, edges: &mut Edges<'_>) {
    let Some(mail) = record.part("ExchangeMetaData").filter(|_| record.kind == Kind::DataLoss) else { return };
    for to in ["To", "CC", "BCC"].iter().filter_map(|name| mail.get(name)) {
        for_each(to, |to| {
            let to = text(to).unwrap_or_default();
            addresses(&to).for_each(|to| edges.add(record.actor.as_ref(), Node::lower(NodeType::Address, to)));
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use serde_json::{Value, json};

    use super::*;

    /// A record's edges, as `from type, from, to type, to`, label checked.
    fn found(record: &Value) -> Vec<[String; 4]> {
        let text = record.to_string();
        let edges: Vec<Value> = serde_json::from_str(&edges(&Fields::of(&text).unwrap())).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        edges
            .iter()
            .map(|edge| {
                assert_eq!(edge["label"], record["Operation"]);
                [text(&edge["fromType"]), text(&edge["from"]), text(&edge["toType"]), text(&edge["to"])]
            })
            .collect()
    }

    #[test]
    fn the_real_records_give_the_edges_that_are_written_down() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/audit-records.ndjson");
        let Ok(records) = std::fs::read_to_string(&path) else {
            eprintln!("skipped: there are no records at {}", path.display());
            return;
        };
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for record in records.lines() {
            let record: Value = serde_json::from_str(record).unwrap();
            for [from, a, to, b] in found(&record) {
                *counts.entry(format!("{from} -> {to}")).or_default() += 1;
                if std::env::var_os("SHOW").is_some() {
                    println!("{}|{from}|{a}|{to}|{b}", record["Operation"]);
                }
            }
        }
        println!("{counts:#?}");
    }
}

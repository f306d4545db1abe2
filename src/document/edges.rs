//! Ties the names of a record together: who did what to what, from where, as the edges of a graph. One table of rules. Pure,
//! and of the record alone. What a name stands for is next door.

use std::{borrow::Cow, cell::OnceCell};

use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::{
    fields::{Fields, for_each, text},
    nodes::{Node, NodeType, addresses, cut, recipient, site_of},
};
use crate::config::is_guid;

/// Most bytes of a record's edges as JSON: about five hundred. What is beyond stays in the record's own fields.
pub(super) const MOST_BYTES: usize = 64 * 1024;
/// Most bytes of a label; longer ones are cut.
const MOST_LABEL: usize = 256;

/// Where edges of a kind are taken from.
#[cfg_attr(not(test), expect(dead_code, reason = "told to the reader; a test holds the documentation to it"))]
struct Rule {
    /// What `explain` calls it.
    name: &'static str,
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
    Rule { name: "ip", from: "user", to: "ip", find: ip,
           fields: "`ClientIP`, `ClientIPAddress`, `ActorIpAddress`, `ActorIP`" },
    Rule { name: "file", from: "user", to: "file", find: file,
           fields: "SharePoint, OneDrive: `ObjectId`, or `SiteUrl` + `SourceRelativeUrl` + `SourceFileName`, of files, folders and pages; data loss prevention: `SharePointMetaData.FilePathUrl`; on devices: `ObjectId`" },
    Rule { name: "site", from: "user", to: "site", find: site,
           fields: "`SiteUrl`, or the site's part of a SharePoint `ObjectId`; data loss prevention: `SharePointMetaData.SiteCollectionUrl`" },
    Rule { name: "mailbox", from: "user", to: "mailbox", find: mailbox,
           fields: "`MailboxOwnerUPN`, `DestMailboxOwnerUPN`, `SendAsUserSmtp`, `SendOnBehalfOfUserSmtp`, where it is not the user's own" },
    Rule { name: "app", from: "user", to: "app", find: app,
           fields: "`ApplicationId`, else `ApplicationDisplayName`; `ClientAppId`, `AppId`, `AadAppId`, `AppAccessContext.ClientAppId`" },
    Rule { name: "target", from: "user", to: "user, group, app, policy, object", find: target,
           fields: "Entra ID: `Target`" },
    Rule { name: "object", from: "user", to: "user, mailbox, group, object", find: object,
           fields: "cmdlets and all other workloads: `ObjectId`; the cmdlet's noun tells the type" },
    Rule { name: "shared_with", from: "user", to: "user, guest, group", find: shared_with,
           fields: "sharing: `TargetUserOrGroupName`; Teams: `Members`, `Invitee`, `TeamName`" },
    Rule { name: "membership", from: "user, group, app", to: "group, app, object", find: membership,
           fields: "who became (or ceased to be) member or owner of what, or was given a role in it: Entra ID's `Target` and `ModifiedProperties` (`Role`, `Group`, `Application`, `Device`; `ServicePrincipal`, `User`); cmdlets' `Member`, `Members`, `Links` and `ObjectId`" },
    Rule { name: "delegate", from: "user, group", to: "mailbox", find: delegate,
           fields: "who was given a right to a mailbox: cmdlets' `User`, `Trustee`, `GrantSendOnBehalfTo` and `ObjectId`" },
    Rule { name: "forwarding", from: "mailbox, object", to: "address", find: forwarding,
           fields: "inbox rules and forwarding: `ForwardTo`, `RedirectTo`, `ForwardAsAttachmentTo`, `ForwardingSmtpAddress`, `ForwardingAddress`, `RuleActions`; from a mail flow rule (object): `BlindCopyTo`, `CopyTo`, `RedirectMessageTo`, `AddToRecipients`" },
    Rule { name: "policy", from: "user", to: "policy", find: policy,
           fields: "data loss prevention: `PolicyDetails[].PolicyName`; alerts: whom they are about (`AlertEntityId`, or `f3u` and `suid` in `Data`) and `Name`" },
    Rule { name: "mailed", from: "user", to: "address", find: mailed,
           fields: "mail: `recipientList`; data loss prevention: `ExchangeMetaData.To`, `CC`, `BCC`" },
];

/// A record's edges as a JSON array, each once.
pub(super) fn edges(fields: &Fields<'_>) -> String {
    edges_by(&RULES, fields).0
}

/// The same edges, and beside each the row that gave it.
pub(super) fn explained(fields: &Fields<'_>) -> (String, Vec<ExplainedEdge>) {
    edges_by(&RULES, fields)
}

fn edges_by(rules: &[Rule], fields: &Fields<'_>) -> (String, Vec<ExplainedEdge>) {
    let record = Record::of(fields);
    let mut edges = Edges { label: cut(&record.label, MOST_LABEL), json: vec![b'['], known: Vec::new() };
    let mut rows = Vec::new();
    for rule in rules {
        (rule.find)(&record, &mut edges);
        rows.resize(edges.known.len(), rule.name);
    }
    let explained = edges.known.iter().zip(rows).map(|((from, to), row)| ExplainedEdge::new(from, to, row)).collect();
    (edges.close(), explained)
}

/// An edge, and the row of the table that gave it: what `handler explain` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedEdge {
    /// The name of the node that it starts at.
    pub from: String,
    /// The type of that node.
    pub from_type: NodeType,
    /// The name of the node that it ends at.
    pub to: String,
    /// The type of that node.
    pub to_type: NodeType,
    /// The row's name.
    pub row: String,
}

impl ExplainedEdge {
    fn new(from: &Node, to: &Node, row: &str) -> Self {
        Self { from: from.name.clone(), from_type: from.kind, to: to.name.clone(), to_type: to.kind, row: row.to_owned() }
    }
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
        let has_room = self.json.len() + from.name.len() + to.name.len() < MOST_BYTES;
        if !has_room || *from == to || self.known.iter().any(|known| known.0 == *from && known.1 == to) {
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
    /// A cmdlet's, once they were asked for.
    parameters: OnceCell<Vec<(&'static str, String)>>,
}

/// Parameters of cmdlets that rules ask for.
#[rustfmt::skip]
const PARAMETERS: [&str; 16] = [
    "Mailbox", "User", "Trustee", "GrantSendOnBehalfTo", "Member", "Members", "Links",
    "ForwardTo", "RedirectTo", "ForwardAsAttachmentTo", "ForwardingSmtpAddress", "ForwardingAddress",
    "BlindCopyTo", "CopyTo", "RedirectMessageTo", "AddToRecipients",
];

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
            _ if fields.get("PolicyDetails").is_some_and(|policies| policies.get().starts_with('[')) => Self::DataLoss,
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
            parameters: OnceCell::new(),
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

    /// Values of a cmdlet's parameters of these names, all of which are in `PARAMETERS`.
    fn parameters(&self, names: &[&str]) -> impl Iterator<Item = &str> {
        let known = self.parameters.get_or_init(|| self.known_parameters());
        known.iter().filter(|(known, _)| names.contains(known)).map(|(_, value)| value.as_str())
    }

    fn known_parameters(&self) -> Vec<(&'static str, String)> {
        let mut known = Vec::new();
        if let Some(line) = self.text("Parameters").filter(|line| line.starts_with('-')) {
            known.extend(PARAMETERS.iter().filter_map(|name| Some((*name, argument(&line, name)?.to_owned()))));
            return known;
        }
        self.properties("Parameters", |name, parameter| {
            if let Some(name) = PARAMETERS.iter().find(|known| known.eq_ignore_ascii_case(name))
                && let Some(value) = parameter.get("Value")
            {
                for_each(value, |value| known.push((name, text(value).unwrap_or_default().into_owned())));
            }
        });
        known
    }

    /// What a cmdlet is about: `New-InboxRule` about an `InboxRule`.
    fn noun(&self) -> &str {
        let is_cmdlet = self.kind == Kind::ExchangeCmdlet;
        self.label.split_once('-').filter(|_| is_cmdlet).map_or("", |(_, noun)| noun)
    }

    /// The mailbox that a cmdlet is about.
    fn mailbox(&self) -> Option<Node> {
        let named = self.parameters(&["Mailbox"]).find_map(|name| self.mailbox_of(name));
        let is_rule = matches!(self.noun(), "InboxRule" | "SweepRule");
        // Without that parameter, a rule is made in the mailbox of whoever makes it.
        let own = || self.actor.as_ref().filter(|actor| is_rule && actor.is_person()).and_then(|actor| self.mailbox_of(&actor.name));
        // A rule's name follows that of its mailbox, as does a folder's.
        let object = || self.mailbox_of(self.text("ObjectId")?.split(if is_rule { "\\" } else { ":\\" }).next()?);
        named.or_else(own).or_else(object)
    }

    fn mailbox_of(&self, name: &str) -> Option<Node> {
        Node::lower(NodeType::Mailbox, &self.address_of(recipient(name)))
    }

    /// An account or a group by what Exchange calls it: an address, or a short name. That of a person has no space.
    fn recipient(&self, name: &str) -> Option<Node> {
        match recipient(name) {
            name if name.contains(['@', '\\']) => Node::account(name, None),
            name if name.contains(' ') => Node::new(NodeType::Group, name),
            name => Node::lower(NodeType::User, &self.address_of(name)),
        }
    }

    /// Exchange often calls a recipient by the beginning of its address. The rest is known where it is the acting user's own
    /// address, or where the organisation's name is their domain, too. Otherwise the name is left as it is.
    fn address_of<'b>(&self, name: &'b str) -> Cow<'b, str> {
        let actor = self.actor.as_ref().and_then(|actor| actor.name.split_once('@').filter(|_| actor.is_person()));
        let is_short = !name.is_empty() && !name.contains(['@', '\\', ' ', '{']) && !is_guid(name);
        let Some((local, domain)) = actor.filter(|_| is_short) else { return name.into() };
        let organisation = self.text("OrganizationName").unwrap_or_default();
        let is_known = local.eq_ignore_ascii_case(name) || domain.eq_ignore_ascii_case(&organisation);
        if is_known { format!("{name}@{domain}").into() } else { name.into() }
    }

    fn is_about_mailbox(&self) -> bool {
        let noun = self.noun();
        let is_setting = ["Plan", "Policy", "Database", "Search"].iter().any(|other| noun.contains(other));
        matches!(noun, "InboxRule" | "SweepRule" | "RecipientPermission" | "CalendarProcessing")
            || (noun.contains("Mailbox") && !is_setting)
    }
}

/// An argument in a command line: `-Name "value" -Other ("values")`.
fn argument<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("-{name} "))?;
    let end = ["\" -", ") -"].iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
    Some(rest[..end].trim_matches(['"', '(', ')', ' ']))
}

fn ip(record: &Record<'_>, edges: &mut Edges<'_>) {
    for name in ["ClientIP", "ClientIPAddress", "ActorIpAddress", "ActorIP"] {
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
        // Here alone a path is percent-encoded.
        Kind::DataLoss => record.part("SharePointMetaData").and_then(|part| part.text("FilePathUrl")).map(decoded),
        _ => None,
    };
    edges.add(record.actor.as_ref(), path.and_then(|path| Node::new(NodeType::File, &path)));
}

fn decoded(path: Cow<'_, str>) -> Cow<'_, str> {
    percent_decode_str(&path).decode_utf8().map_or(path.clone(), |path| path.into_owned().into())
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
    for name in ["MailboxOwnerUPN", "DestMailboxOwnerUPN", "SendAsUserSmtp", "SendOnBehalfOfUserSmtp"] {
        let mailbox = record.text(name).and_then(|name| record.mailbox_of(&name));
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
        ("User" | "MailUser", Some(name)) => record.recipient(name),
        (noun, Some(name)) if noun.contains("Group") => Node::new(NodeType::Group, recipient(name)),
        (_, Some(name)) => Node::new(NodeType::Object, recipient(name)),
        (_, None) => None,
    };
    edges.add(record.actor.as_ref(), object);
}

fn shared_with(record: &Record<'_>, edges: &mut Edges<'_>) {
    let target = record.text("TargetUserOrGroupName").and_then(|name| match record.text("TargetUserOrGroupType").as_deref() {
        Some("SharePointGroup" | "SecurityGroup" | "Group") => Node::new(NodeType::Group, &name),
        Some("Guest") => Node::account(&name, Some(10)),
        _ => Node::account(&name, None),
    });
    edges.add(record.actor.as_ref(), target);
    edges.add(record.actor.as_ref(), record.text("Invitee").and_then(|name| Node::account(&name, None)));
    edges.add(record.actor.as_ref(), record.text("TeamName").and_then(|name| Node::new(NodeType::Group, &name)));
    let Some(members) = record.fields.get("Members") else { return };
    for_each(members, |member| {
        let upn = Fields::of(member.get()).and_then(|member| Node::account(&member.text("UPN")?, None));
        edges.add(record.actor.as_ref(), upn);
    });
}

fn membership(record: &Record<'_>, edges: &mut Edges<'_>) {
    if record.kind == Kind::Entra {
        let is_joined = ["member", "owner", "registered user"].iter().any(|word| record.label.contains(word));
        let is_granted = record.label.contains("app role assignment");
        if is_joined || is_granted {
            let (whole, holder) = named_beside(record);
            for target in targets(record) {
                let (part, whole) = if is_granted { (holder.as_ref(), Some(target)) } else { (Some(&target), whole.clone()) };
                edges.add(part, whole);
            }
        }
    }
    if record.noun().contains("Group") {
        let group = record.text("ObjectId").and_then(|name| Node::new(NodeType::Group, recipient(&name)));
        for member in record.parameters(&["Member", "Members", "Links"]) {
            edges.add(record.recipient(member).as_ref(), group.clone());
        }
    }
}

/// What an Entra ID record names beside its target: what the target became a part of (or ceased to be); and who was given a
/// role in the target.
fn named_beside(record: &Record<'_>) -> (Option<Node>, Option<Node>) {
    let (mut app_id, mut app, mut whole, mut user) = (None, None, None, None);
    record.properties("ModifiedProperties", |name, property| {
        let Some(value) = property.text("NewValue").or_else(|| property.text("OldValue")) else { return };
        match name {
            "Application.AppId" | "ServicePrincipal.AppId" => app_id = Node::app(value.trim_matches('"')),
            "Application.DisplayName" | "ServicePrincipal.DisplayName" => app = Node::app(&value),
            "Role.DisplayName" | "Group.DisplayName" => whole = Node::new(NodeType::Group, &value),
            "Device.DisplayName" => whole = Node::new(NodeType::Object, &value),
            "User.UPN" => user = Node::account(value.trim_matches('"'), None),
            _ => {}
        }
    });
    let app = app_id.or(app);
    (whole.or_else(|| app.clone()), user.or(app))
}

fn delegate(record: &Record<'_>, edges: &mut Edges<'_>) {
    if record.is_about_mailbox() {
        for name in record.parameters(&["User", "Trustee", "GrantSendOnBehalfTo"]) {
            edges.add(record.recipient(name).as_ref(), record.mailbox());
        }
    }
}

fn forwarding(record: &Record<'_>, edges: &mut Edges<'_>) {
    if record.is_about_mailbox() {
        let names = ["ForwardTo", "RedirectTo", "ForwardAsAttachmentTo", "ForwardingSmtpAddress", "ForwardingAddress"];
        for to in record.parameters(&names) {
            add_addresses(record, record.mailbox().as_ref(), to, edges);
        }
    } else if record.noun() == "TransportRule" {
        let rule = record.text("ObjectId").and_then(|name| Node::new(NodeType::Object, &name));
        for to in record.parameters(&["BlindCopyTo", "CopyTo", "RedirectMessageTo", "AddToRecipients"]) {
            add_addresses(record, rule.as_ref(), to, edges);
        }
    }
    // Rules that are made in Outlook come as an operation on the mailbox.
    let owner = record.text("MailboxOwnerUPN").and_then(|name| record.mailbox_of(&name));
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

/// The recipients in a text, by their addresses; one of the organisation's own may have a name alone: `"Bob" [EX:/o=…]`.
fn add_addresses(record: &Record<'_>, from: Option<&Node>, text: &str, edges: &mut Edges<'_>) {
    for part in text.split(';') {
        let mut found = addresses(part).peekable();
        if found.peek().is_none() {
            let name = recipient(part.split("[EX:").next().unwrap_or(part)).trim_matches(['"', ' ']);
            edges.add(from, Node::lower(NodeType::Address, &record.address_of(name)));
        }
        found.for_each(|to| edges.add(from, Node::lower(NodeType::Address, to)));
    }
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
    let mut add = |to: Option<Cow<'_, str>>| {
        let to = to.unwrap_or_default();
        addresses(&to).for_each(|to| edges.add(record.actor.as_ref(), Node::lower(NodeType::Address, to)));
    };
    if let Some(list) = record.fields.get("recipientList") {
        for_each(list, |recipient| add(Fields::of(recipient.get()).and_then(|recipient| recipient.text("Address"))));
    }
    let Some(mail) = record.part("ExchangeMetaData").filter(|_| record.kind == Kind::DataLoss) else { return };
    for list in ["To", "CC", "BCC"].iter().filter_map(|name| mail.get(name)) {
        for_each(list, |to| add(text(to)));
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const ME: &str = "megan@contoso.com";

    fn parsed(edges: &str) -> Vec<Value> {
        serde_json::from_str(edges).unwrap()
    }

    /// A record's edges as `type name -> type name`, in the order of the rules; their label is checked.
    fn found(record: Value) -> Vec<String> {
        let text = record.to_string();
        let edges = parsed(&edges(&Fields::of(&text).unwrap()));
        edges.iter().for_each(|edge| assert_eq!(edge["label"], record["Operation"], "{edge}"));
        edges.iter().map(|edge| format!("{} -> {}", end(edge, "fromType", "from"), end(edge, "toType", "to"))).collect()
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

    /// What the user did, and no more.
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
            ("fe80::1%eth0", "fe80::1"),
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
            json!(["203.0.113.7"]),
            json!({"ip": "203.0.113.7"}),
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
    }

    #[test]
    fn a_file_is_its_address_and_its_site_is_known_with_it() {
        let site = "https://contoso.sharepoint.com/sites/Sales";
        let file = json!({
            "ObjectId": format!("{site}/Shared Documents/Prices.xlsx"), "ItemType": "File", "SiteUrl": format!("{site}/"),
            "SourceRelativeUrl": "Shared Documents", "SourceFileName": "Prices.xlsx",
        });
        let expected = of_me([&format!("file {site}/Shared Documents/Prices.xlsx"), &format!("site {site}")]);
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
            (
                "https://contoso.sharepoint.com/sites/Sales/8cafd2d5-6a51-41bb-ae86-a63c0d78d39b",
                "https://contoso.sharepoint.com/sites/Sales",
            ),
            ("https://contoso.sharepoint.com/teams/Sales", "https://contoso.sharepoint.com/teams/Sales"),
            (
                "https://contoso-my.sharepoint.com/personal/megan_contoso_com/",
                "https://contoso-my.sharepoint.com/personal/megan_contoso_com",
            ),
            ("https://contoso.sharepoint.com/_layouts/15/sharepoint.aspx", "https://contoso.sharepoint.com"),
            ("https://contoso.sharepoint.com", "https://contoso.sharepoint.com"),
        ] {
            assert_eq!(
                found_in("ListViewed", 36, "SharePoint", json!({"ObjectId": object, "ItemType": "List"})),
                of_me([&format!("site {site}")])
            );
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
        let mut target =
            vec![json!({"ID": format!("{kind}_{id}"), "Type": 2}), json!({"ID": id, "Type": 2}), json!({"ID": kind, "Type": 2})];
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
            assert_eq!(
                found_in(operation, 8, "AzureActiveDirectory", json!({"Target": target.to_string()})),
                of_me([&expected]),
                "as text"
            );
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
        assert_eq!(
            record("Update user.", json!([{"Name": "Group.DisplayName", "NewValue": "Finance"}])),
            of_me(["user adele@contoso.com"])
        );

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
        let edges =
            |by: &str, mailbox: &str, to: &str| vec![format!("{by} -> mailbox {mailbox}"), format!("user {to} -> mailbox {mailbox}")];
        let mine = format!("user {me}");
        assert_eq!(
            given("contoso.onmicrosoft.com", me, "Ceo"),
            edges(&mine, "ceo@contoso.onmicrosoft.com", "adele@contoso.onmicrosoft.com")
        );
        assert_eq!(given("contoso.onmicrosoft.com", ME, "Ceo"), edges(&format!("user {ME}"), "ceo", "adele"));
        assert_eq!(given("contoso.onmicrosoft.com", ME, "Megan"), edges(&format!("user {ME}"), ME, "adele"));
        let id = "0f8b0001-a159-4252-a3a1-c2dc689f322a";
        assert_eq!(given("contoso.onmicrosoft.com", me, id), edges(&mine, id, "adele@contoso.onmicrosoft.com"));
        assert_eq!(
            given("contoso.onmicrosoft.com", "NT AUTHORITY\\SYSTEM (w3wp)", "Ceo"),
            edges("system nt authority\\system (w3wp)", "ceo", "adele")
        );
    }

    #[test]
    fn where_a_mailbox_forwards_to_is_an_address() {
        let mailbox = |name: &str| format!("user {ME} -> mailbox {name}");
        let to = |name: &str, address: &str| format!("mailbox {name} -> address {address}");
        let rule = |object: &str, parameters: Value| {
            found_in("New-InboxRule", 1, "Exchange", json!({"ObjectId": object, "Parameters": parameters}))
        };

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
        let expected = of_me(["policy Card numbers", "policy 77ab", "address drop@evil.example", "address adele@contoso.com"]);
        assert_eq!(found_in("DlpRuleMatch", 13, "Exchange", mail), expected);

        let file = json!({
            "UserId": "DlpPolicyEventBasedAssistantOneDriveForBusiness", "UserType": 4, "ObjectId": "9cc7be1c-dd5a-4895-b7cb-757de6d51b42", "PolicyDetails": [{"PolicyName": "Card numbers"}],
            "SharePointMetaData": {"From": "MEGAN@CONTOSO.COM", "FilePathUrl": "https://c.sharepoint.com/sites/S/Docs/Our%20clients.docx", "SiteCollectionUrl": "https://c.sharepoint.com/sites/S"},
        });
        let expected = of_me([
            "file https://c.sharepoint.com/sites/S/Docs/Our clients.docx",
            "site https://c.sharepoint.com/sites/S",
            "policy Card numbers",
        ]);
        assert_eq!(found_in("DlpRuleMatch", 11, "OneDrive", file), expected);

        let device = json!({"ObjectId": "C:\\Users\\megan\\clients.docx", "PolicyDetails": [{"PolicyName": "Card numbers"}]});
        assert_eq!(
            found_in("FileCopiedToRemovableMedia", 63, "Endpoint", device),
            of_me(["file C:\\Users\\megan\\clients.docx", "policy Card numbers"])
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
        assert!(alert(json!({"AlertEntityId": "x@evil.example", "EntityType": "MalwareFamily", "Data": "no JSON"})).is_empty());
    }

    #[test]
    fn whom_a_mail_went_to_is_told_where_the_record_tells() {
        let sent = json!({"MailboxOwnerUPN": ME, "recipientList": [{"Address": "Drop@evil.example", "Name": "x"}, {"Name": "no address"}]});
        assert_eq!(found_in("Send", 2, "Exchange", sent), of_me(["address drop@evil.example"]));
    }

    #[test]
    fn an_edge_stands_once_and_all_of_a_record_stay_below_their_bound() {
        let members: Vec<_> = (0..10_000).map(|n| json!({"UPN": format!("someone-{n}@contoso.com")})).collect();
        let record = json!({"Operation": "\u{1}".repeat(5000), "RecordType": 25, "UserId": ME, "ApplicationId": "é".repeat(5000), "Members": members}).to_string();
        let edges = edges(&Fields::of(&record).unwrap());
        assert!(edges.len() <= MOST_BYTES && edges.len() > MOST_BYTES / 2, "{}", edges.len());
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
            let first = edges(&Fields::of(&text).unwrap());
            prop_assert_eq!(&first, &edges(&Fields::of(&text).unwrap()));
            for edge in parsed(&first) {
                prop_assert!(edge["from"] != "" && edge["to"] != "" && edge["label"] == operation);
                prop_assert!((&edge["from"], &edge["fromType"]) != (&edge["to"], &edge["toType"]));
            }
        }

        #[test]
        fn no_text_is_taken_for_an_address_that_is_none(text in "[0-9a-f.:\\[\\]%]{0,40}") {
            if let Some(node) = Node::ip(&text) {
                prop_assert_eq!(node.name.parse::<std::net::IpAddr>().map(|ip| ip.to_string()).ok(), Some(node.name));
            }
        }
    }

    fn document(name: &str) -> String {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
    }

    /// What a rule's row may stand for: whoever acts is written as a user.
    fn stands_for(types: &str, kind: &str) -> bool {
        types.split(", ").any(|name| name == kind || (name == "user" && ["guest", "system"].contains(&kind)))
    }

    #[test]
    fn the_documentation_has_every_rule() {
        let readme = document("README.md");
        for rule in &RULES {
            let row = format!("| {} -> {} | {} |", rule.from, rule.to, rule.fields);
            assert!(readme.contains(&row), "README.md lacks {row}");
        }
    }

    #[test]
    fn the_real_records_give_the_edges_and_bytes_that_are_written_down() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/audit-records.ndjson");
        let Ok(records) = fs::read_to_string(&path) else {
            eprintln!("skipped: there are no real records at {}", path.display());
            return;
        };
        let mut kinds: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
        let (mut bytes, mut all, mut size, mut most) = ([0; RULES.len()], 0, 0, 0);
        for record in records.lines() {
            let fields = Fields::of(record).unwrap();
            let edges = edges(&fields);
            (size, all, most) = (size + record.len(), all + edges.len(), most.max(edges.len()));
            for edge in parsed(&edges) {
                let kind = format!("{} -> {}", edge["fromType"].as_str().unwrap(), edge["toType"].as_str().unwrap());
                *kinds.entry(kind).or_default().entry(edge["label"].as_str().unwrap().trim().to_owned()).or_default() += 1;
            }
            for (rule, bytes) in RULES.iter().zip(&mut bytes) {
                let found = edges_by(std::slice::from_ref(rule), &fields).0;
                *bytes += found.len() - 2;
                for edge in parsed(&found) {
                    let (from, to) = (edge["fromType"].as_str().unwrap(), edge["toType"].as_str().unwrap());
                    assert!(stands_for(rule.from, from) && stands_for(rule.to, to), "{} -> {} gave {edge}", rule.from, rule.to);
                }
            }
        }

        let count = records.lines().count();
        let mean = |bytes: usize| format!("{:.1}", bytes as f64 / count as f64);
        let mut wanted = Vec::new();
        for (rule, bytes) in RULES.iter().zip(bytes) {
            wanted.push(("README.md", format!("| {} -> {} | {} | {} |", rule.from, rule.to, rule.fields, mean(bytes))));
        }
        wanted.push((
            "README.md",
            format!("| all | of records of {} bytes in the mean; at most {most} in one | {} |", size / count, mean(all)),
        ));
        for (kind, labels) in &kinds {
            let mut labels: Vec<_> = labels.iter().collect();
            labels.sort_by_key(|(label, count)| (std::cmp::Reverse(**count), label.as_str()));
            let total: usize = labels.iter().map(|(_, count)| **count).sum();
            let top: Vec<_> = labels.iter().take(3).map(|(label, count)| format!("{label} {count}")).collect();
            wanted.push(("docs/EDGES.md", format!("| {kind} | {total} | {} |", top.join(", "))));
        }
        let lacks: Vec<_> =
            wanted.iter().filter(|(name, row)| !document(name).contains(row)).map(|(name, row)| format!("{name}: {row}")).collect();
        assert!(lacks.is_empty(), "the documentation lacks\n{}", lacks.join("\n"));
        let rows = document("docs/EDGES.md").lines().filter(|line| line.starts_with("| ") && line.contains(" -> ")).count();
        assert_eq!(rows, kinds.len(), "docs/EDGES.md has a row too many");
    }
}

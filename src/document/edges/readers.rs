//! Makes nodes of a record's texts: a closed set of readers, of which each row of the table names one.

use std::{borrow::Cow, cell::RefCell};

use serde::Deserialize;
use smallvec::SmallVec;

use super::{
    nodes::{Node, NodeType, addresses, bare, everybody, is_account, is_group_name, is_of_sharepoint, recipient, site_of},
    table::{Choice, Kind, Path, Source, Table},
    texts::{Hint, RECORD, Text, Texts, hint},
    tree::Place,
};
use crate::config::is_guid;

/// Most names that are read of one text, since each is looked for in the whole record. The edges of more would not be kept.
const MAX_NAMES: usize = 1_000;

/// The way in which a text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reader {
    /// An IP address, whatever its form.
    Ip,
    /// Who acted or was acted on: a user, guest or system, or what stands for many.
    Account,
    /// The accounts in a text, by their addresses.
    Accounts,
    /// Recipients as Exchange names them, with `;` between several: addresses, short names, groups.
    Recipient,
    /// The mailbox of such a recipient, or that a folder or an inbox rule is in.
    Mailbox,
    /// The mailboxes in a text, by their addresses.
    Mailboxes,
    /// The mail addresses in a text; the name of one of the organisation's own.
    Address,
    /// An application, by its id or its name.
    App,
    /// Copilot or an agent.
    Agent,
    /// The id of one sitting.
    Session,
    /// A file, folder or page, by its address or its path.
    File,
    /// A site collection, by its address.
    Site,
    /// The site collections in a text, by their addresses.
    Sites,
    /// The site collection that an address lies in.
    SiteOf,
    Group,
    Policy,
    /// Anything else; what its name tells it to be, where it does.
    Object,
    /// One or more objects, by Entra ID's lists of ids.
    Identity,
    /// The service itself, by its Workload.
    Workload,
}

/// The record that readers look at.
pub(super) struct Reading<'r, 'a> {
    pub(super) table: &'r Table,
    pub(super) texts: &'r Texts<'a>,
    /// Who acted, once that is known.
    pub(super) actor: Option<Node<'r>>,
    /// The IP address that was read last. Most records have one, in several fields that several rows read.
    pub(super) last_ip: RefCell<Option<(&'r str, Option<Node<'r>>)>>,
}

impl<'r, 'a> Reading<'r, 'a> {
    /// Calls for each node of a source, with the text that bears its name.
    pub(super) fn each(&self, source: &Source, take: &mut dyn FnMut(Node<'r>, Option<&'r Text<'a>>)) {
        source.paths.iter().for_each(|choice| self.choice(source, choice, take));
    }

    /// The first node of a source.
    pub(super) fn first(&self, source: &Source) -> Option<Node<'r>> {
        let mut first = None;
        self.each(source, &mut |node, _| first = first.take().or(Some(node)));
        first
    }

    fn choice(&self, source: &Source, choice: &Choice, take: &mut dyn FnMut(Node<'r>, Option<&'r Text<'a>>)) {
        // Objects that an earlier path of the choice gave a node from.
        let mut done: SmallVec<[u32; 8]> = SmallVec::new();
        let is_choice = choice.paths.len() > 1;
        for path in &choice.paths {
            let before = done.len();
            match path {
                Path::Joined(parts) => {
                    if let Some(node) = self.joined(parts) {
                        done.push(RECORD);
                        take(node, None);
                    }
                }
                Path::Place { place, .. } if source.reader == Reader::Identity => self.identities(*place, source, &mut |node| {
                    done.push(RECORD);
                    take(node, None);
                }),
                Path::Place { place, has_at } => {
                    for text in self.texts.at(*place) {
                        let is_meant = !has_at || text.text.contains('@');
                        if !is_meant || (before > 0 && done[..before].contains(&text.object)) {
                            continue;
                        }
                        self.read(source, text, &mut |node| {
                            if is_choice && done.last() != Some(&text.object) {
                                done.push(text.object);
                            }
                            take(node, Some(text));
                        });
                    }
                }
            }
            if !choice.is_of_one && !done.is_empty() {
                return;
            }
        }
    }

    fn read(&self, source: &Source, text: &'r Text<'a>, take: &mut dyn FnMut(Node<'r>)) {
        let name = &*text.text;
        let node = match source.reader {
            Reader::Ip => return self.ips(name, take),
            Reader::Accounts => return addresses(name).filter_map(|name| Node::account(name, None)).for_each(take),
            Reader::Mailboxes => return addresses(name).filter_map(mailbox_of).for_each(take),
            Reader::Sites => return sites(name).filter_map(Node::site).for_each(take),
            Reader::Address => return self.addresses(name, take),
            Reader::Recipient => return recipients(name).take(MAX_NAMES).filter_map(|name| self.recipient(name)).for_each(take),
            Reader::Account => self.account(source, text),
            Reader::Mailbox => self.mailbox(name),
            Reader::App => Node::app(name),
            Reader::Agent => Node::new(NodeType::Agent, name),
            Reader::Session => is_guid(bare(name)).then(|| Node::lower(NodeType::Session, name)).flatten(),
            Reader::File => Node::file(name),
            Reader::Site => Node::site(name),
            Reader::SiteOf => site_of(name).and_then(Node::site),
            Reader::Group if is_account(name) => Node::address(name).map(|node| Node { kind: NodeType::Group, ..node }),
            Reader::Group => Node::new(NodeType::Group, recipient(name)),
            Reader::Policy => Node::new(NodeType::Policy, name),
            Reader::Object => object(name),
            Reader::Workload => Node::lower(NodeType::System, name),
            Reader::Identity => None,
        };
        node.into_iter().for_each(take);
    }

    /// An address, or each of a list of them.
    fn ips(&self, text: &'r str, take: &mut dyn FnMut(Node<'r>)) {
        let mut last = self.last_ip.borrow_mut();
        if last.as_ref().is_none_or(|(known, _)| *known != text) {
            *last = Some((text, Node::ip(bare(text))));
        }
        let node = last.as_ref().and_then(|(_, node)| node.clone());
        drop(last);
        match node {
            Some(node) => take(node),
            None if text.contains([',', ';']) => text.split([',', ';']).filter_map(|text| Node::ip(bare(text))).for_each(take),
            None => {}
        }
    }

    fn account(&self, source: &Source, text: &'r Text<'a>) -> Option<Node<'r>> {
        let beside = |place: Option<Place>| place.and_then(|place| self.texts.beside(text.object, place));
        let kind = beside(source.kind);
        if matches!(kind, Some("SharePointGroup" | "SecurityGroup" | "Group")) {
            return Node::new(NodeType::Group, text.text.rsplit('|').next()?);
        }
        let user_type = if kind == Some("Guest") { Some(10) } else { kind.and_then(|kind| kind.parse().ok()) };
        let node = Node::account(&text.text, user_type)?;
        let own = self.texts.first(self.table.places.organization);
        let is_from_outside = beside(source.organization).zip(own).is_some_and(|(theirs, own)| !theirs.eq_ignore_ascii_case(own));
        Some(if is_from_outside && node.kind == NodeType::User { Node { kind: NodeType::Guest, ..node } } else { node })
    }

    /// An account or a group by what Exchange calls it.
    fn recipient(&self, name: &'r str) -> Option<Node<'r>> {
        match bare(recipient(name)) {
            name if name.contains(['@', '\\']) || everybody(name).is_some() || name.eq_ignore_ascii_case("anonymous") => {
                Node::account(name, None)
            }
            name if is_group_name(name) => Node::new(NodeType::Group, name),
            name => named(self.whole(name), |name| Node::lower(NodeType::User, name)),
        }
    }

    fn mailbox(&self, name: &'r str) -> Option<Node<'r>> {
        // A folder stands behind its mailbox and `:\`, an inbox rule behind its mailbox and `\`.
        let name = name.split('\\').next()?;
        let name = name.strip_suffix(':').unwrap_or(name);
        let name = bare(recipient(name));
        let whole = self.whole(name);
        let whole = if *whole == *name { self.of_organisation(name) } else { whole };
        named(whole, mailbox_of)
    }

    /// The addresses in a text; one of the organisation's own may have a name alone: `"Bob" [EX:/o=…]`.
    fn addresses(&self, text: &'r str, take: &mut dyn FnMut(Node<'r>)) {
        if is_account(text) {
            return Node::address(text).into_iter().for_each(take);
        }
        for part in text.split(';').take(MAX_NAMES) {
            let mut found = addresses(part).peekable();
            if found.peek().is_none() {
                let name = recipient(part.split("[EX:").next().unwrap_or(part)).trim_matches(['"', ' ']);
                named(self.whole(name), |name| Node::address(name)).into_iter().for_each(&mut *take);
            }
            found.filter_map(Node::address).for_each(&mut *take);
        }
    }

    /// Exchange often calls a recipient by the beginning of its address. The whole one is taken only from the record itself;
    /// otherwise the name is left as it is.
    fn whole<'n>(&self, name: &'n str) -> Cow<'n, str> {
        if !is_short(name) {
            return name.into();
        }
        let begins = |address: &str| {
            let has_name =
                address.as_bytes().get(name.len()) == Some(&b'@') && address.as_bytes()[..name.len()].eq_ignore_ascii_case(name.as_bytes());
            has_name && is_account(address)
        };
        let actor = self.actor.as_ref().map(|actor| &*actor.name);
        let whole = actor.into_iter().chain(self.texts.all.iter().map(|text| &*text.text)).find(|text| begins(text));
        whole.map_or(name.into(), |whole| whole.to_lowercase().into())
    }

    /// A mailbox of the organisation, where its name is a domain that the acting user has, too.
    fn of_organisation<'n>(&self, name: &'n str) -> Cow<'n, str> {
        let domain = self.actor.as_ref().filter(|actor| actor.is_person()).and_then(|actor| Some(actor.name.split_once('@')?.1));
        let organisation = self.texts.first(self.table.places.organization_name);
        match domain.zip(organisation).filter(|(domain, organisation)| domain.eq_ignore_ascii_case(organisation)) {
            Some((domain, _)) if is_short(name) => format!("{name}@{domain}").into(),
            _ => name.into(),
        }
    }

    /// A file's address from its parts. The path holds the file's name in some records, and not in others; and the path may be
    /// an address of its own.
    fn joined(&self, parts: &[Place]) -> Option<Node<'r>> {
        let [site, folder, name] = parts else { return None };
        let part = |place: Place| self.texts.first(place);
        let (site, name) = (part(*site)?, part(*name)?);
        let folder = part(*folder).unwrap_or_default();
        let folder = folder.strip_suffix(name).unwrap_or(folder);
        let site = if folder.contains("://") { "" } else { site.trim_end_matches('/') };
        let parts = [site, folder.trim_matches('/'), name];
        let path = parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("/");
        named(path.into(), |path| Node::file(path))
    }

    /// Entra ID's lists: `User_<id>`, `<id>`, `User`, then names, of one object after the other.
    fn identities(&self, place: Place, source: &Source, take: &mut dyn FnMut(Node<'r>)) {
        let mut current = Identity::default();
        for text in self.texts.at(place) {
            let kind = source.kind.and_then(|kind| self.texts.beside(text.object, kind));
            match (kind, text.text.split_once('_')) {
                (Some("2"), Some((kind, id))) if is_guid(id) => {
                    // Of one who acted, the names stand before.
                    if !current.kind.is_empty() {
                        std::mem::take(&mut current).node().into_iter().for_each(&mut *take);
                    }
                    (current.kind, current.id) = (kind, id);
                }
                (Some("1"), _) => current.name = Some(&text.text),
                (Some("5"), _) => current.upn = Some(&text.text),
                // The kind of an object whose id does not tell it: a domain.
                (Some("2"), None) if current.kind.is_empty() && KINDS.contains(&&*text.text) => current.kind = &text.text,
                _ if is_guid(&text.text) && text.text != current.id => current.app_id = Some(&text.text),
                _ => {}
            }
        }
        current.node().into_iter().for_each(take);
    }
}

/// The node that a text under a label wholly names.
pub(super) fn kind_of(label: &str, text: &str) -> Option<Kind> {
    match hint(label, text)? {
        Hint::At => is_account(text).then_some(Kind::Account),
        Hint::Http => is_of_sharepoint(text).then_some(Kind::Location),
        Hint::App => is_guid(bare(text).trim_matches(['{', '}'])).then_some(Kind::App),
        Hint::Ip => Node::ip(bare(text)).map(|_| Kind::Ip),
    }
}

/// The node that is made of a name; it outlives a name that was made for it.
fn named<'a>(name: Cow<'a, str>, make: impl for<'n> FnOnce(&'n str) -> Option<Node<'n>>) -> Option<Node<'a>> {
    match name {
        Cow::Borrowed(name) => make(name),
        Cow::Owned(name) => make(&name).map(Node::into_owned),
    }
}

/// The node that a text names, once its kind is known.
pub(super) fn node(kind: Kind, name: &str) -> Option<Node<'_>> {
    match kind {
        Kind::Ip => Node::ip(bare(name)),
        Kind::Account => Node::account(name, None),
        Kind::Address => Node::address(name),
        Kind::App => Node::app(name),
        Kind::Location => {
            let file = Node::file(name)?;
            let is_site = site_of(&file.name).is_some_and(|site| site == file.name);
            Some(if is_site { Node { kind: NodeType::Site, ..file } } else { file })
        }
    }
}

fn object(name: &str) -> Option<Node<'_>> {
    match kind_of("", name) {
        Some(kind) => node(kind, name),
        None if is_path(bare(name)) => Node::file(name),
        None => Node::new(NodeType::Object, recipient(name)),
    }
}

/// A path on a device or a share: `C:\Users\megan`, `\\server\share`.
fn is_path(name: &str) -> bool {
    let bytes = name.as_bytes();
    name.starts_with("\\\\") || (bytes.len() > 3 && bytes[0].is_ascii_alphabetic() && &bytes[1..3] == b":\\")
}

/// The mailbox of an address.
fn mailbox_of(address: &str) -> Option<Node<'_>> {
    Node::address(address).map(|node| Node { kind: NodeType::Mailbox, ..node })
}

/// Each of several recipients. A comma stands in names, too (`Vance, Adele`), and parts only addresses.
fn recipients(text: &str) -> impl Iterator<Item = &str> {
    let is_of_addresses = text.contains(',') && text.split(',').all(is_account);
    text.split(move |c| c == ';' || (c == ',' && is_of_addresses))
}

/// The addresses of sites in a text, whatever stands around them: `Include:[https://a.b/sites/c, https://d.e]`.
fn sites(text: &str) -> impl Iterator<Item = &str> {
    text.split(['[', ']', ',', ';', '"']).map(str::trim).filter(|part| is_of_sharepoint(part))
}

/// A name that may be the beginning of an address.
fn is_short(name: &str) -> bool {
    !name.is_empty() && !name.contains(['@', '\\', ' ', '{']) && !is_guid(name)
}

/// Kinds of object that Entra ID's lists name by a word.
const KINDS: [&str; 8] = ["Application", "Device", "Domain", "Group", "Policy", "Role", "ServicePrincipal", "User"];

/// One object as Entra ID tells of it.
#[derive(Default)]
struct Identity<'a> {
    kind: &'a str,
    id: &'a str,
    name: Option<&'a str>,
    upn: Option<&'a str>,
    app_id: Option<&'a str>,
}

impl<'a> Identity<'a> {
    fn node(self) -> Option<Node<'a>> {
        let Self { kind, id, name, upn, app_id } = self;
        let named = |kind| Node::new(kind, name.unwrap_or(id)).or_else(|| Node::new(kind, id));
        match (upn, kind) {
            (Some(upn), _) => Node::account(upn, None),
            (None, "User") => Node::account(id, None),
            (None, "ServicePrincipal" | "Application") => app_id.or(name).and_then(Node::app).or_else(|| Node::app(id)),
            // A sign-in's target is nothing but the id of the application that was signed in to.
            (None, "") => app_id.and_then(Node::app),
            (None, "Group" | "Role") => named(NodeType::Group),
            (None, kind) if kind.ends_with("Policy") => named(NodeType::Policy),
            _ => named(NodeType::Object),
        }
    }
}

//! What a name in a record stands for: its type in the graph, and the one form in which every record writes it. Which
//! names of a record are tied together is next door.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::Serialize;

use crate::config::is_guid;

/// Most bytes of a node's name; longer ones are cut. The longest that services allow, a SharePoint path, stays below.
const MOST_NAME: usize = 1024;
/// What stands where no name is known.
const NOBODY: [&str; 9] =
    ["not available", "not-found", "unknown", "unknown (unknown)", "none", "n/a", "null", "-", "00000000-0000-0000-0000-000000000000"];
/// Domains of accounts that are the service's own, though they look like a person's.
const SERVICE_DOMAINS: [&str; 2] = ["prod.outlook.com", "support.onmicrosoft.com"];

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeType {
    /// A person of the tenant.
    User,
    /// An account without a person: a service, a service principal, SYSTEM.
    System,
    /// A person from outside.
    Guest,
    /// An application, by its id where that is known.
    App,
    /// An IP address.
    Ip,
    /// A file, folder or page.
    File,
    /// A site collection.
    Site,
    /// A mailbox, by its owner's address.
    Mailbox,
    /// An address that mail goes to.
    Address,
    /// A group, team or role: something with members.
    Group,
    /// A policy or an alert.
    Policy,
    /// Anything else that something was done to.
    Object,
}

impl fmt::Display for NodeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// One end of an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) kind: NodeType,
    pub(super) name: String,
}

impl Node {
    /// None where the name says nothing.
    pub(super) fn new(kind: NodeType, name: &str) -> Option<Self> {
        let name = name.trim().trim_matches('"');
        (!is_nobody(name)).then(|| Self { kind, name: cut(name, MOST_NAME).to_owned() })
    }

    /// The same in lower case: services do not agree on a name's case.
    pub(super) fn lower(kind: NodeType, name: &str) -> Option<Self> {
        Self::new(kind, &name.to_lowercase())
    }

    /// Who acted, or was acted on. The name decides as far as it can, so that one account is one node in every record;
    /// `user_type` only where the name is an id.
    /// <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-schema#user-type>
    pub(super) fn account(name: &str, user_type: Option<u64>) -> Option<Self> {
        // SharePoint's claims end in the name: i:0#.f|membership|bob@contoso.com
        let name = name.trim().rsplit('|').next()?.to_lowercase();
        if let Some(guest) = name.strip_prefix("urn:spo:guest#") {
            return Self::new(NodeType::Guest, guest);
        }
        if let Some((local, _)) = name.split_once("#ext#") {
            return Self::new(NodeType::Guest, &home_address(local));
        }
        let kind = match (user_type, name.split_once('@')) {
            _ if name.starts_with("urn:spo:anon") || name == "anonymous" => NodeType::Guest,
            (Some(10), _) => NodeType::Guest,
            (_, Some((_, domain))) if is_domain(domain) => NodeType::User,
            (None | Some(0..=2 | 9), None) if is_id(&name) => NodeType::User,
            _ => NodeType::System,
        };
        Self::new(kind, &name)
    }

    /// A plain address without port and brackets, an IPv4 address where IPv6 only maps one. None for what is no address,
    /// and for the machine's own (`::1`, `0.0.0.0`), which say nothing of where from.
    pub(super) fn ip(text: &str) -> Option<Self> {
        let ip = plain_ip(text.trim())?.to_canonical();
        let says_where = !ip.is_loopback() && !ip.is_unspecified();
        says_where.then(|| Self { kind: NodeType::Ip, name: ip.to_string() })
    }

    /// An application by its id or, where there is none, its name.
    pub(super) fn app(name: &str) -> Option<Self> {
        if is_guid(name.trim()) { Self::lower(NodeType::App, name) } else { Self::new(NodeType::App, name) }
    }

    /// The same site with and without a slash at its end.
    pub(super) fn site(url: &str) -> Option<Self> {
        Self::new(NodeType::Site, url.trim().trim_end_matches('/'))
    }

    /// Whether it can act.
    pub(super) fn is_person(&self) -> bool {
        matches!(self.kind, NodeType::User | NodeType::Guest)
    }
}

/// A text's first bytes, of whole characters.
pub(super) fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

fn is_nobody(name: &str) -> bool {
    name.is_empty() || NOBODY.iter().any(|nobody| name.eq_ignore_ascii_case(nobody))
}

/// A guest's own address, which its name here spells with an underscore: bob_fabrikam.com#EXT#@contoso.com. A domain has none.
fn home_address(local: &str) -> String {
    local.rsplit_once('_').filter(|(_, domain)| domain.contains('.')).map_or(local.to_owned(), |(name, domain)| format!("{name}@{domain}"))
}

/// A domain that people have: app@sharepoint is nobody.
fn is_domain(domain: &str) -> bool {
    domain.contains('.') && !SERVICE_DOMAINS.iter().any(|service| domain == *service || domain.ends_with(&format!(".{service}")))
}

/// An account's id: a GUID, a PUID, or the security identifier of an account of a domain.
fn is_id(name: &str) -> bool {
    is_guid(name) || (name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())) || name.starts_with("s-1-5-21-")
}

/// `1.2.3.4`, `1.2.3.4:5`, `[1.2.3.4]:5`, `::1`, `[::1]`, `[::1]:5`, `fe80::1%eth0`.
fn plain_ip(text: &str) -> Option<IpAddr> {
    if let Some((inside, _)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return plain_ip(inside);
    }
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    address.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
}

/// The part of a SharePoint address that names the site collection.
pub(super) fn site_of(url: &str) -> Option<&str> {
    let host = url.find("://")? + 3;
    let path = |from: usize| url[from..].find('/').map_or(url.len(), |at| from + at);
    let first = path(host);
    let is_managed = ["/sites/", "/teams/", "/personal/", "/portals/"]
        .iter()
        .any(|managed| url[first..].get(..managed.len()).is_some_and(|start| start.eq_ignore_ascii_case(managed)));
    if !is_managed {
        return Some(&url[..first]);
    }
    let second = path(first + 1);
    Some(&url[..path(second + 1)])
}

/// The mail addresses in a text, whatever stands around them: `smtp:a@b.c`, `"A" [SMTP:a@b.c]; d@e.f`.
pub(super) fn addresses(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || "[]<>(){}\"';,:|".contains(c))
        .filter(|word| word.split_once('@').is_some_and(|(name, domain)| !name.is_empty() && domain.contains('.') && !domain.contains('@')))
}

/// What Exchange calls a recipient: the last part of a canonical name, or of a legacy one, and all of anything else.
pub(super) fn recipient(text: &str) -> &str {
    let text = text.trim();
    let is_canonical = text.contains("/Microsoft Exchange Hosted Organizations/") || text.starts_with("/o=");
    let last = if is_canonical { text.rsplit('/').next().unwrap_or(text) } else { text };
    last.strip_prefix("cn=").unwrap_or(last)
}

//! The names of nodes: which type a name in a record stands for, and the one form in which every record writes it.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, SocketAddr},
};

use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::config::is_guid;

/// Most bytes of a node's name; longer ones are cut. The longest that services allow, a SharePoint path, stays below.
const MAX_NAME: usize = 1024;
/// Words that stand where no name is known.
const NOBODY: [&str; 9] =
    ["not available", "not-found", "unknown", "unknown (unknown)", "none", "n/a", "null", "-", "00000000-0000-0000-0000-000000000000"];
/// Domains of accounts that are the service's own, though they look like a person's.
const SERVICE_DOMAINS: [&str; 2] = ["prod.outlook.com", "support.onmicrosoft.com"];
/// What stands before the backslash in names of Windows that no person bears: `NT AUTHORITY\SYSTEM`.
const AUTHORITIES: [&str; 8] =
    ["nt authority", "nt service", "builtin", "sharepoint", "microsoft", "window manager", "font driver host", "iis apppool"];
/// Domains of conversations of Teams, whose ids look like addresses: `19:…@thread.v2`.
const CONVERSATIONS: [&str; 4] = ["thread.v2", "thread.tacv2", "thread.skype", "unq.gbl.spaces"];
/// Names that stand for many people.
const EVERYBODY: [&str; 6] =
    ["Everyone", "Default", "Authenticated Users", "Everyone except external users", "All Users", "All Authenticated Users"];
/// The last words of names that groups bear and people do not.
const GROUP_WORDS: [&str; 16] = [
    "management",
    "administrators",
    "administrator",
    "admins",
    "members",
    "owners",
    "visitors",
    "users",
    "operators",
    "servers",
    "team",
    "group",
    "groups",
    "desk",
    "setup",
    "reader",
];

/// The type of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
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
    /// A model that answers and acts for people: Copilot, an agent.
    Agent,
    /// One sitting: what Microsoft 365 did for one sign-in.
    Session,
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

impl NodeType {
    /// Its name in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::System => "system",
            Self::Guest => "guest",
            Self::App => "app",
            Self::Agent => "agent",
            Self::Session => "session",
            Self::Ip => "ip",
            Self::File => "file",
            Self::Site => "site",
            Self::Mailbox => "mailbox",
            Self::Address => "address",
            Self::Group => "group",
            Self::Policy => "policy",
            Self::Object => "object",
        }
    }
}

impl fmt::Display for NodeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One end of an edge. Its name is a part of the record's text where it stands there as it is written here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Node<'a> {
    pub(super) kind: NodeType,
    pub(super) name: Cow<'a, str>,
}

impl<'a> Node<'a> {
    /// None where the name says nothing.
    pub(super) fn new(kind: NodeType, name: &'a str) -> Option<Self> {
        let name = bare(name);
        (!is_nobody(name)).then(|| Self { kind, name: cut(name, MAX_NAME).into() })
    }

    /// The same of a name that may have been made for it.
    pub(super) fn made(kind: NodeType, name: Cow<'a, str>) -> Option<Self> {
        match name {
            Cow::Borrowed(name) => Self::new(kind, name),
            Cow::Owned(name) if name.len() <= MAX_NAME && bare(&name).len() == name.len() => {
                (!is_nobody(&name)).then(|| Self { kind, name: name.into() })
            }
            Cow::Owned(name) => Node::new(kind, &name).map(Node::into_owned),
        }
    }

    /// The same in lower case: services do not agree on a name's case.
    pub(super) fn lower(kind: NodeType, name: &'a str) -> Option<Self> {
        Self::made(kind, lower(name))
    }

    /// The node that outlives the text that its name is a part of.
    pub(super) fn into_owned<'b>(self) -> Node<'b> {
        Node { kind: self.kind, name: self.name.into_owned().into() }
    }

    /// Who acted, or was acted on. The name decides as far as it can, so that one account is one node in every record;
    /// `user_type` only where the name is an id.
    /// <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-schema#user-type>
    pub(super) fn account(name: &'a str, user_type: Option<u64>) -> Option<Self> {
        let name = bare(name);
        if let Some(group) = claimed_group(name) {
            return Self::new(NodeType::Group, group);
        }
        let name = account_name(name);
        if name.starts_with("urn:spo:anon") || name == "anonymous" {
            return Self::made(NodeType::Guest, name);
        }
        if let Some(everybody) = everybody(&name) {
            return Self::new(NodeType::Group, everybody);
        }
        if let Some(guest) = name.strip_prefix("urn:spo:guest#") {
            return Self::made(NodeType::Guest, guest.to_owned().into());
        }
        if let Some((local, _)) = name.split_once("#ext#") {
            return Self::made(NodeType::Guest, home_address(local).into());
        }
        let kind = match (user_type, name.split_once('@')) {
            (Some(10), _) => NodeType::Guest,
            (_, Some((_, domain))) if is_domain(domain) => NodeType::User,
            (None | Some(0..=2 | 9), None) if is_id(&name) || is_of_windows_domain(&name) => NodeType::User,
            _ => NodeType::System,
        };
        Self::made(kind, name)
    }

    /// A mail address, or the name that stands in its place.
    pub(super) fn address(name: &'a str) -> Option<Self> {
        let name = account_name(bare(name));
        match name.split_once("#ext#") {
            Some((local, _)) => Self::made(NodeType::Address, home_address(local).into()),
            None => Self::made(NodeType::Address, name),
        }
    }

    /// A plain address without port and brackets, an IPv4 address where IPv6 only maps one. None for what is no address,
    /// and for those that say nothing of where from: the machine's own (`::1`, `0.0.0.0`), and those of one link (`fe80::1`).
    pub(super) fn ip(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let ip = plain_ip(text)?.to_canonical();
        let is_of_link = match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        let says_where = !ip.is_loopback() && !ip.is_unspecified() && !is_of_link;
        // An IPv4 address is taken in one form only, and need not be written anew; a port may stand behind it.
        let length = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let is_ready = ip.is_ipv4() && text[..length].contains('.');
        says_where.then(|| Self { kind: NodeType::Ip, name: if is_ready { text[..length].into() } else { ip.to_string().into() } })
    }

    /// An application by its id or, where there is none, its name.
    pub(super) fn app(name: &'a str) -> Option<Self> {
        let name = bare(name);
        let id = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
        if is_guid(id) { Self::lower(NodeType::App, id) } else { Self::new(NodeType::App, name) }
    }

    /// A site collection, the same with and without a slash at its end.
    pub(super) fn site(url: &'a str) -> Option<Self> {
        Self::made(NodeType::Site, location(url))
    }

    /// A file, folder or page by its address; on a device, by its path.
    pub(super) fn file(path: &'a str) -> Option<Self> {
        Self::made(NodeType::File, location(path))
    }

    /// True if it can act.
    pub(super) fn is_person(&self) -> bool {
        matches!(self.kind, NodeType::User | NodeType::Guest)
    }
}

/// A text's first bytes, of whole characters.
pub(super) fn cut(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

/// A name in lower case, which most names are written in.
fn lower(name: &str) -> Cow<'_, str> {
    // Without a way out, which the compiler makes one pass over many bytes at once.
    let is_lower = name.bytes().fold(true, |is_lower, byte| is_lower & (byte.is_ascii() & !byte.is_ascii_uppercase()));
    match is_lower {
        true => name.into(),
        false if name.is_ascii() => name.to_ascii_lowercase().into(),
        false => name.to_lowercase().into(),
    }
}

/// A name without what surrounds it and cannot be seen.
pub(super) fn bare(name: &str) -> &str {
    let is_plain = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    if is_plain(name.as_bytes().first()) && is_plain(name.as_bytes().last()) {
        return name;
    }
    name.trim_matches(|c: char| c == '"' || c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}'))
}

fn is_nobody(name: &str) -> bool {
    name.is_empty() || NOBODY.iter().any(|nobody| name.eq_ignore_ascii_case(nobody))
}

/// A name without the claim and the kind of address that services put before it.
fn without_claim(name: &str) -> &str {
    let name = name.rsplit('|').next().unwrap_or(name);
    ["smtp:", "sip:", "mailto:"].iter().find(|kind| starts_with(name, kind)).map_or(name, |kind| &name[kind.len()..])
}

/// An account's name in lower case, without what services put before it: a claim (`i:0#.f|membership|bob@contoso.com`), a kind
/// of address (`smtp:`), the 32 digits of a deleted account's id.
fn account_name(name: &str) -> Cow<'_, str> {
    let name = without_claim(name);
    let is_id = |id: &str| id.bytes().all(|byte| byte.is_ascii_hexdigit());
    match name.split_at_checked(32) {
        Some((id, rest)) if is_id(id) && rest.contains('@') && !rest.starts_with('@') => lower(rest),
        _ => lower(name),
    }
}

/// The group that a claim of SharePoint's names: `c:0t.c|tenant|<id>`. Claims of people begin with `i:`.
/// <https://learn.microsoft.com/sharepoint/technical-reference/claims-encoding>
fn claimed_group(name: &str) -> Option<&str> {
    let is_group = name.len() > 4 && name.is_char_boundary(3) && name[..3].eq_ignore_ascii_case("c:0");
    let group = name.rsplit_once('|').filter(|_| is_group)?.1;
    Some(if group == "true" { EVERYBODY[0] } else { group })
}

/// A name that stands for many people, as it is spelled.
pub(super) fn everybody(name: &str) -> Option<&'static str> {
    EVERYBODY.into_iter().find(|everybody| everybody.eq_ignore_ascii_case(name))
}

/// A name of several words that no person bears: `Discovery Management`.
pub(super) fn is_group_name(name: &str) -> bool {
    name.rsplit_once(' ').is_some_and(|(_, last)| GROUP_WORDS.iter().any(|word| last.eq_ignore_ascii_case(word)))
}

/// A guest's own address, which its name here spells with an underscore: bob_fabrikam.com#EXT#@contoso.com. A domain has none.
fn home_address(local: &str) -> String {
    local.rsplit_once('_').filter(|(_, domain)| domain.contains('.')).map_or(local.to_owned(), |(name, domain)| format!("{name}@{domain}"))
}

/// A domain that people have: app@sharepoint is nobody.
fn is_domain(domain: &str) -> bool {
    domain.contains('.')
        && !SERVICE_DOMAINS.iter().any(|service| domain.strip_suffix(service).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// An account's id: a GUID, a PUID, or the security identifier of an account of a domain.
fn is_id(name: &str) -> bool {
    is_guid(name) || (name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())) || name.starts_with("s-1-5-21-")
}

/// An account of a Windows domain, in lower case: `contoso\megan`. Those of machines end with a dollar sign.
fn is_of_windows_domain(name: &str) -> bool {
    let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
    name.split_once('\\').is_some_and(|(domain, account)| is_word(domain) && is_word(account) && !AUTHORITIES.contains(&domain))
}

/// `1.2.3.4`, `1.2.3.4:5`, `[1.2.3.4]:5`, `::1`, `[::1]`, `[::1]:5`, `fe80::1%eth0`, `ffff:1.2.3.4`.
fn plain_ip(text: &str) -> Option<IpAddr> {
    if let Some((inside, _)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return if inside.starts_with('[') { None } else { plain_ip(inside) };
    }
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    let mapped = || address.get(..5).filter(|start| start.eq_ignore_ascii_case("ffff:")).and_then(|_| address[5..].parse().ok());
    address.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip())).or_else(|| mapped().map(IpAddr::V4))
}

/// An address decoded, without its query, in lower case, so that one file is one node however a record writes it.
fn location(url: &str) -> Cow<'_, str> {
    let url = bare(url);
    if !url.contains("://") {
        return lower(url);
    }
    let path = url.split_once('?').map_or(url, |(path, _)| path);
    let decoded = path.contains('%').then(|| percent_decode_str(path).decode_utf8());
    match decoded {
        Some(Ok(Cow::Owned(decoded))) => lower(bare(&decoded).trim_end_matches('/')).into_owned().into(),
        None | Some(Ok(Cow::Borrowed(_)) | Err(_)) => lower(bare(path).trim_end_matches('/')),
    }
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

/// True if a text is wholly an address of SharePoint or OneDrive.
pub(super) fn is_of_sharepoint(url: &str) -> bool {
    let url = bare(url);
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let host = rest.split(['/', '?', '#', ':']).next().unwrap_or_default();
    let is_label = |label: &str| ["sharepoint", "onedrive", "1drv"].iter().any(|name| starts_with(label, name));
    ["http", "https"].iter().any(|http| scheme.eq_ignore_ascii_case(http)) && host.contains('.') && host.split('.').any(is_label)
}

/// True if a text is wholly an account or a mail address, whatever services put before it.
pub(super) fn is_account(text: &str) -> bool {
    let name = without_claim(bare(text));
    let name = name.strip_prefix("urn:spo:guest#").unwrap_or(name);
    let Some((local, domain)) = name.rsplit_once('@') else { return false };
    let is_word = |c: char| !c.is_whitespace() && !c.is_control() && !"<>()[]{}\",;:\\/@".contains(c);
    let is_domain = domain.contains('.')
        && !domain.starts_with('.')
        && !domain.ends_with('.')
        && domain.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
    !local.is_empty() && local.chars().all(is_word) && is_domain && !CONVERSATIONS.iter().any(|other| domain.eq_ignore_ascii_case(other))
}

fn starts_with(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|text| text.eq_ignore_ascii_case(start))
}

/// The mail addresses in a text, whatever stands around them: `smtp:a@b.c`, `"A" [SMTP:a@b.c]; d@e.f`.
pub(super) fn addresses(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || "[]<>(){}\"';,:|".contains(c))
        .filter(|word| word.split_once('@').is_some_and(|(name, domain)| !name.is_empty() && domain.contains('.') && !domain.contains('@')))
}

/// The name in Exchange's words for a recipient: the last part of a canonical name, or of a legacy one, and all of anything else.
pub(super) fn recipient(text: &str) -> &str {
    let text = text.trim();
    let is_canonical = memchr::memchr(b'/', text.as_bytes())
        .is_some_and(|at| text[at..].starts_with("/Microsoft Exchange Hosted Organizations/") || text.starts_with("/o="));
    let last = if is_canonical { text.rsplit('/').next().unwrap_or(text) } else { text };
    last.strip_prefix("cn=").unwrap_or(last)
}

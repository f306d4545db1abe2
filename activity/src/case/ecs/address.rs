//! Taking apart the texts in which records give an address: with port, in brackets, with a host's name.

use std::net::IpAddr;

/// One side of a connection.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Party {
    /// The address as given, which need not be an IP address.
    pub(super) address: Option<String>,
    /// A host's name.
    pub(super) domain: Option<String>,
    /// The address, where it is an IP address.
    pub(super) ip: Option<String>,
    /// The port.
    pub(super) port: Option<u64>,
}

/// Takes a client's address apart: `192.0.2.1`, `[2001:db8::1]:443`, `name`, `name (192.0.2.1)`, …
pub(super) fn client(given: &str) -> Party {
    let given = without_mapping(given);
    let given = given.split('\n').next().unwrap_or_default();
    if given.is_empty() {
        return Party::default();
    }
    let inner = given.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    if let Some((address, rest)) = inner.filter(|(address, _)| is_address(address)) {
        let port = rest.strip_prefix(':').and_then(leading_port);
        if port.is_some() || rest.is_empty() {
            return Party { port, ..Party::of_address(address) };
        }
    }
    if is_address(given) {
        return Party::of_address(given);
    }
    for (colon, _) in given.rmatch_indices(':') {
        let (address, port) = (&given[..colon], leading_port(&given[colon + 1..]));
        if port.is_some() && is_address(address) {
            return Party { port, ..Party::of_address(address) };
        }
    }
    if !given.contains(char::is_whitespace) {
        return Party { domain: Some(given.to_owned()), ..Party::default() };
    }
    if let Some(party) = named_port(given) {
        return party;
    }
    let whole = given.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(given);
    named_host(whole).filter(|(_, after)| after.is_empty()).map_or_else(|| Party::of_address(given), |(party, _)| party)
}

/// Takes a server's address apart: `NAME (15.20.3763.11)`; Exchange gives its build number as if it were an address.
pub(super) fn server(given: &str) -> Party {
    let given = given.replace(['\r', '\n'], "");
    if given.is_empty() {
        return Party::default();
    }
    let whole = given.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let bracketed = whole.and_then(named_host).filter(|(_, after)| after.is_empty());
    bracketed.or_else(|| named_host(&given)).map_or_else(|| Party::of_address(&given), |(party, _)| party)
}

impl Party {
    fn of_address(address: &str) -> Self {
        let without_zone = address.split_once('%').filter(|(v6, zone)| v6.contains(':') && !zone.is_empty()).map_or(address, |(v6, _)| v6);
        let ip = without_zone.parse::<IpAddr>().ok().map(|_| address.to_owned());
        Self { address: Some(address.to_owned()), ip, ..Self::default() }
    }
}

/// `name:port` or `[name]:port`, whatever stands after it.
fn named_port(given: &str) -> Option<Party> {
    let word = given.split(char::is_whitespace).next()?;
    word.rmatch_indices(':').find_map(|(colon, _)| {
        let (name, port) = (&word[..colon], leading_port(&word[colon + 1..])?);
        let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).filter(|name| !name.is_empty()).unwrap_or(name);
        (!name.is_empty()).then(|| Party { domain: Some(name.to_owned()), port: Some(port), ..Party::default() })
    })
}

/// `name (address)` at the start of a text, and what stands after it.
fn named_host(given: &str) -> Option<(Party, &str)> {
    let (name, rest) = given.split_once(" (").filter(|(name, _)| !name.is_empty() && !name.contains(char::is_whitespace))?;
    let (address, after) = rest.split_once(')')?;
    Some((Party { domain: Some(name.to_owned()), ..Party::of_address(address) }, after))
}

/// IPv4 addresses written as IPv6 (`::ffff:192.0.2.1`) as IPv4.
fn without_mapping(given: &str) -> String {
    const PREFIX: &str = "::ffff:";
    let mut text = String::with_capacity(given.len());
    let mut rest = given;
    while let Some(start) = rest.find(PREFIX) {
        let after = &rest[start + PREFIX.len()..];
        text.push_str(&rest[..start]);
        if !begins_with_four_numbers(after) {
            text.push_str(PREFIX);
        }
        rest = after;
    }
    text + rest
}

fn begins_with_four_numbers(text: &str) -> bool {
    let mut parts = text.splitn(4, '.');
    let whole = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.by_ref().take(3).filter(|part| whole(part)).count() == 3
        && parts.next().is_some_and(|last| last.starts_with(|first: char| first.is_ascii_digit()))
}

/// Whether a text has the form of an IP address; leading zeros and a zone (`%eth0`) may be in it.
fn is_address(text: &str) -> bool {
    let (address, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
    if address.contains(':') {
        return address.parse::<IpAddr>().is_ok() && zone != Some("");
    }
    let parts: Vec<_> = text.split('.').collect();
    let small = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit()) && part.parse::<u8>().is_ok();
    parts.len() == 4 && parts.into_iter().all(small)
}

/// The port at the start of a text: digits, the first no zero, then no letter.
fn leading_port(text: &str) -> Option<u64> {
    let end = text.find(|next: char| !next.is_ascii_digit()).unwrap_or(text.len());
    let word_goes_on = text[end..].starts_with(|next: char| next.is_alphanumeric() || next == '_');
    if text.starts_with('0') || word_goes_on {
        return None;
    }
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_by_address_port_and_name() {
        let ip = |address: &str, port| Party { port, ..Party::of_address(address) };
        let host = |domain: &str| Party { domain: Some(domain.to_owned()), ..Party::default() };
        for (given, party) in [
            ("192.0.2.7", ip("192.0.2.7", None)),
            ("192.0.2.7:443", ip("192.0.2.7", Some(443))),
            ("[192.0.2.7]", ip("192.0.2.7", None)),
            ("[192.0.2.7]:443", ip("192.0.2.7", Some(443))),
            ("::ffff:192.0.2.7", ip("192.0.2.7", None)),
            ("[::ffff:192.0.2.7]:443", ip("192.0.2.7", Some(443))),
            ("2001:db8::1", ip("2001:db8::1", None)),
            ("[2001:db8::1]", ip("2001:db8::1", None)),
            ("[2001:db8::1]:443", ip("2001:db8::1", Some(443))),
            ("2001:db8:0:0:0:0:0:1:443", ip("2001:db8:0:0:0:0:0:1", Some(443))),
            ("fe80::1%eth0", ip("fe80::1%eth0", None)),
            ("[fe80::1%eth0]:25", ip("fe80::1%eth0", Some(25))),
            ("192.0.2.7\r\n192.0.2.8", Party { address: Some("192.0.2.7\r".to_owned()), ..Party::default() }),
            ("192.0.2.7:443\n192.0.2.8", ip("192.0.2.7", Some(443))),
            ("010.000.002.007", Party { address: Some("010.000.002.007".to_owned()), ..Party::default() }),
            ("192.0.2.7:0", host("192.0.2.7:0")),
            ("192.0.2.256", host("192.0.2.256")),
            ("mail.contoso.com", host("mail.contoso.com")),
            ("<null>", host("<null>")),
            ("mail (192.0.2.7)", Party { domain: Some("mail".to_owned()), ..ip("192.0.2.7", None) }),
            ("[mail (192.0.2.7)]", Party { domain: Some("mail".to_owned()), ..ip("192.0.2.7", None) }),
            ("mail:25 (192.0.2.7)", Party { port: Some(25), ..host("mail") }),
            ("[mail]:25, other", Party { port: Some(25), ..host("mail") }),
            ("192.0.2.7:443, 192.0.2.8", ip("192.0.2.7", Some(443))),
            ("two words", Party { address: Some("two words".to_owned()), ..Party::default() }),
            ("", Party::default()),
        ] {
            assert_eq!(client(given), party, "{given}");
        }
    }

    #[test]
    fn a_server_is_told_by_name_and_by_what_stands_in_brackets() {
        for (given, domain, address) in [
            ("AM0PR01 (15.20.2729.032)\r\n", Some("AM0PR01"), "15.20.2729.032"),
            ("[AM0PR01 (15.20.2729.032)]", Some("AM0PR01"), "15.20.2729.032"),
            ("at AM0PR01 (15.20)", None, "at AM0PR01 (15.20)"),
            ("AM0PR01 (15.20) by proxy", Some("AM0PR01"), "15.20"),
            ("AM0PR01", None, "AM0PR01"),
        ] {
            let party = server(given);
            assert_eq!((party.domain.as_deref(), party.address.as_deref()), (domain, Some(address)), "{given}");
            assert_eq!(party.ip, None);
        }
        assert_eq!(server("EX (192.0.2.9)").ip.as_deref(), Some("192.0.2.9"));
        assert_eq!(client("fe80::1%eth0").ip.as_deref(), Some("fe80::1%eth0"));
    }
}

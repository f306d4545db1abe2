//! Who may come in: the key that a stand-in makes for each run, and what a browser on another page would send.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// A new account key: 64 random bytes in base64, as Azure makes them.
pub fn new_key() -> String {
    BASE64.encode(rand::random::<[u8; 64]>())
}

/// Why a request on loopback is refused; `None` if it is not.
///
/// A page of another site can make a browser send requests here: under a name of its own that it lets point to 127.0.0.1 (DNS
/// rebinding), or with an `Origin`. No client of a stand-in sends either.
pub fn refusal(host: Option<&str>, has_origin: bool) -> Option<&'static str> {
    let name = host.map(|host| host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name));
    match name {
        _ if has_origin => Some("Requests of web pages are refused."),
        Some("127.0.0.1" | "localhost" | "[::1]") => None,
        _ => Some("Only loopback names are answered."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_rebinds_a_name_or_says_its_origin_is_refused() {
        for host in ["127.0.0.1:8081", "127.0.0.1", "localhost:1", "[::1]:8081", "[::1]"] {
            assert_eq!(refusal(Some(host), false), None, "{host}");
            assert!(refusal(Some(host), true).is_some(), "{host}");
        }
        for host in [Some("rebound.example:8081"), Some("127.0.0.1.example"), Some(""), Some("127.0.0.1:x"), None] {
            assert!(refusal(host, false).is_some(), "{host:?}");
        }
    }

    #[test]
    fn keys_are_of_one_run() {
        assert_ne!(new_key(), new_key());
        assert_eq!(BASE64.decode(new_key()).map(|key| key.len()), Ok(64));
    }
}

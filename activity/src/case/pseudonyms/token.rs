//! The key, the tokens that it makes of names, and back.
//!
//! A token is the name itself, encrypted: AES-256-GCM-SIV (RFC 8452) with a constant nonce is deterministic and authenticated, which is
//! what is wanted: equal names have equal tokens, a token of another key or one that was changed is refused, and nothing besides
//! the key has to be kept, so that two exports under one key, on two machines, have the same tokens. A table of names in the key's file
//! would make shorter tokens, but every export would have to write it, and would have to be merged with every other.
//!
//! The name is encrypted in lower case. The letters of the token are upper-case where the name's are: names that differ in letter
//! case alone differ as before, and are equal as before for whoever compares without it.
//!
//! An IP address becomes an IPv6 address: its 16 bytes as one block of AES (as in draft-denis-ipcrypt, *ipcrypt-deterministic*), since
//! programs take nothing else in such a column. It cannot be told from an address that is none of ours: of any IPv6 address it says
//! something.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, ensure};
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, DecryptingKey, DecryptionContext, EncryptingKey, UnboundCipherKey};
use aws_lc_rs::hmac;
use data_encoding::BASE32_NOPAD;

/// What a token begins with: its form's name and version.
const PREFIX: &str = "p1-";
/// A secret shorter than this can be guessed.
const MIN_SECRET_BYTES: usize = 32;

/// What makes tokens and turns them back.
pub struct Key {
    names: LessSafeKey,
    to_address: EncryptingKey,
    from_address: DecryptingKey,
}

impl Key {
    /// Reads the key in a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds less than 32 bytes.
    pub fn read(file: &Path) -> Result<Self> {
        let secret = fs::read(file).with_context(|| format!("the key in {} cannot be read", file.display()))?;
        let secret = secret.trim_ascii();
        ensure!(secret.len() >= MIN_SECRET_BYTES, "{} holds no key: at least {MIN_SECRET_BYTES} characters are meant", file.display());
        Self::of(secret)
    }

    /// Reads the key in a file; where there is no such file, makes one that its owner alone may read. And whether it was made.
    ///
    /// # Errors
    ///
    /// As [`Key::read`]; or the file cannot be written.
    pub fn read_or_make(file: &Path) -> Result<(Self, bool)> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
            Ok(mut made) => {
                let secret: [u8; 32] = rand::random();
                let written = writeln!(made, "{}", BASE32_NOPAD.encode(&secret).to_lowercase()).and_then(|()| made.sync_all());
                written.with_context(|| format!("the key cannot be written to {}", file.display()))?;
                Ok((Self::read(file)?, true))
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok((Self::read(file)?, false)),
            Err(error) => Err(error).with_context(|| format!("the key cannot be written to {}", file.display())),
        }
    }

    fn of(secret: &[u8]) -> Result<Self> {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = |purpose: &str| hmac::sign(&secret, purpose.as_bytes());
        let (names, addresses) = (derived("names"), derived("addresses"));
        let block = || UnboundCipherKey::new(&AES_128, &addresses.as_ref()[..16]);
        let unfit = |_| anyhow!("no key can be made of this secret");
        Ok(Self {
            names: LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, names.as_ref()).map_err(unfit)?),
            to_address: EncryptingKey::ecb(block().map_err(unfit)?).map_err(unfit)?,
            from_address: DecryptingKey::ecb(block().map_err(unfit)?).map_err(unfit)?,
        })
    }

    /// The token of a name: letters, digits and `-`, so that it can stand in an address and in a file's name.
    pub fn token(&self, name: &str) -> String {
        let mut sealed: Vec<u8> = name.chars().map(lower).collect::<String>().into_bytes();
        #[expect(clippy::expect_used, reason = "it refuses 64 GB and more")]
        self.names.seal_in_place_append_tag(nonce(), Aad::empty(), &mut sealed).expect("a name is short");
        let mut upper = name.chars().map(|letter| lower(letter) != letter).collect::<Vec<_>>().into_iter();
        let cased =
            |letter: char| if letter.is_ascii_alphabetic() && upper.next() == Some(true) { letter } else { letter.to_ascii_lowercase() };
        PREFIX.chars().chain(BASE32_NOPAD.encode(&sealed).chars().map(cased)).collect()
    }

    /// The pseudonymous address; that of a machine for itself, and the one that means none, stay.
    pub fn address(&self, address: IpAddr) -> IpAddr {
        let address = address.to_canonical();
        if address.is_loopback() || address.is_unspecified() {
            return address;
        }
        let mut block = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        }
        .octets();
        #[expect(clippy::expect_used, reason = "one block has the length of one block")]
        self.to_address.encrypt(&mut block).expect("one block");
        IpAddr::V6(Ipv6Addr::from(block))
    }

    /// The name or address that a token stands for; none where it is no token of this key.
    pub fn reveal(&self, token: &str) -> Option<String> {
        if let Ok(IpAddr::V6(address)) = token.trim_matches(['[', ']']).parse() {
            let mut block = address.octets();
            self.from_address.decrypt(&mut block, DecryptionContext::None).ok()?;
            return Some(Ipv6Addr::from(block).to_canonical().to_string());
        }
        let letters = token.get(..PREFIX.len()).filter(|prefix| prefix.eq_ignore_ascii_case(PREFIX)).map(|_| &token[PREFIX.len()..])?;
        let mut sealed = BASE32_NOPAD.decode(letters.to_ascii_uppercase().as_bytes()).ok()?;
        let name = String::from_utf8(self.names.open_in_place(nonce(), Aad::empty(), &mut sealed).ok()?.to_vec()).ok()?;
        let mut upper = letters.chars().filter(char::is_ascii_alphabetic).map(|letter| letter.is_ascii_uppercase());
        Some(name.chars().map(|letter| if upper.next() == Some(true) { self::upper(letter) } else { letter }).collect())
    }
}

/// Constant: that a token tells equal names is what it is for, and all that it tells.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// In lower case, where that is one letter and leads back.
fn lower(letter: char) -> char {
    let mut lower = letter.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(lower), None) if upper(lower) == letter => lower,
        _ => letter,
    }
}

fn upper(letter: char) -> char {
    let mut upper = letter.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(upper), None) => upper,
        _ => letter,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use super::*;

    fn key(letter: char) -> Key {
        Key::of(letter.to_string().repeat(32).as_bytes()).unwrap()
    }

    #[test]
    fn a_token_is_stable_under_its_key_and_turned_back_by_it_alone() {
        let key_a = key('a');
        for name in ["megan@contoso.com", "Megan@Contoso.com", "CONTOSO\\megan", "Žaneta.Müller@contoso.com", "İ", "ß", "a", ""] {
            let token = key_a.token(name);
            assert_eq!(token, key_a.token(name));
            assert_eq!(key_a.reveal(&token).as_deref(), Some(name), "{token}");
            assert_eq!(key('b').reveal(&token), None);
            assert!(token.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{token}");
        }
        assert_ne!(key_a.token("megan@contoso.com"), key('b').token("megan@contoso.com"));
        assert_eq!(key_a.token("Megan@Contoso.com").to_lowercase(), key_a.token("megan@contoso.com"));
        assert_ne!(key_a.token("Megan@Contoso.com"), key_a.token("megan@contoso.com"));
        assert_eq!(key_a.reveal("p1-aaaa"), None);
        assert_eq!(key_a.reveal("megan"), None);
    }

    #[test]
    fn an_address_becomes_another_and_is_turned_back() {
        let key = key('a');
        for given in ["192.0.2.7", "2001:db8::1", "10.0.0.1"] {
            let token = key.address(given.parse().unwrap());
            assert!(token.is_ipv6() && token.to_string() != given);
            assert_eq!(key.reveal(&token.to_string()).as_deref(), Some(given));
        }
        assert_eq!(key.address("::ffff:192.0.2.7".parse().unwrap()), key.address("192.0.2.7".parse().unwrap()));
        assert_eq!(key.address("127.0.0.1".parse().unwrap()).to_string(), "127.0.0.1");
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_and_a_short_secret_is_none() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let (made, is_new) = Key::read_or_make(&file).unwrap();
        assert!(is_new);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let (read, is_new) = Key::read_or_make(&file).unwrap();
        assert!(!is_new);
        assert_eq!(made.token("megan"), read.token("megan"));
        fs::write(&file, "short").unwrap();
        assert!(Key::read(&file).is_err());
    }
}

//! One key.

use snow::params::DHChoice;
use snow::resolvers::{CryptoResolver, DefaultResolver};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

/// Bytes of a key, private or public.
const KEY_BYTES: usize = 32;
/// A key's file is 64 digits and perhaps a line end; what is longer is another file.
const FILE_BYTES_MAX: u64 = 256;
/// Rights of all but the owner.
const OTHERS: u32 = 0o077;

/// What only its node knows. It is never shown: neither by `{:?}` nor in an error.
#[derive(Clone)]
pub struct PrivateKey([u8; KEY_BYTES]);

/// What proves a node. No secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_BYTES]);

/// Why something is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It is not 64 hexadecimal digits.
    #[error("a key is 64 hexadecimal digits")]
    Text,
    /// The system does not give the file.
    #[error("cannot be read: {0}")]
    File(#[from] std::io::Error),
    /// Others could read or change it.
    #[error(
        "others than its owner may use it (mode {0:o}); chmod 600 it, and make a new key if somebody may have read this one"
    )]
    Open(u32),
}

impl PrivateKey {
    /// Reads the file that `kevy-server keygen` wrote. One that others may read or write is refused.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let file = File::open(path)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Of the file that is read, not of whatever has its name a moment later.
            let mode = file.metadata()?.permissions().mode() & 0o777;
            if mode & OTHERS != 0 {
                return Err(KeyError::Open(mode));
            }
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
        digits(&text).map(Self).ok_or(KeyError::Text)
    }

    /// The key with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret itself, for another protocol that uses the same key.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// What others are told of it.
    pub fn public(&self) -> PublicKey {
        let mut public = [0; KEY_BYTES];
        // The resolver is compiled with this curve; without it no session could be made either.
        if let Some(mut dh) = DefaultResolver.resolve_dh(&DHChoice::Curve25519) {
            dh.set(&self.0);
            public.copy_from_slice(dh.pubkey());
        }
        PublicKey(public)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

impl PublicKey {
    /// The key with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        digits(text).map(Self).ok_or(KeyError::Text)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

fn digits(text: &str) -> Option<[u8; KEY_BYTES]> {
    let text = text.trim_ascii().as_bytes();
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != KEY_BYTES || !rest.is_empty() {
        return None;
    }
    let mut key = [0; KEY_BYTES];
    for (byte, pair) in key.iter_mut().zip(pairs) {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? * 16 + low?).ok()?;
    }
    Some(key)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_its_digits_say_and_nothing_else_is_one() {
        let text = "0123456789abcdefABCDEF0123456789000000000000000000000000000000ff";
        let key: PublicKey = text.parse().unwrap();
        assert_eq!(key.to_string(), text.to_lowercase());
        assert!(format!(" {text}\n").parse::<PublicKey>().is_ok(), "as it stands in a file");
        for wrong in
            ["", "ab", &text[1..], &format!("{text}00"), &text.replace('0', "g"), &text.replace('0', "é")]
        {
            assert!(wrong.parse::<PublicKey>().is_err(), "{wrong}");
        }
    }

    /// As OpenSSL has it: `openssl pkey -pubout` of an X25519 key.
    #[test]
    fn the_public_key_is_that_of_the_curve() {
        let digits = |text| digits(text).unwrap();
        let private = digits("77076d0a7318a57d3c16c17251b26645df4c2f92ebc0992ac177fba51db92c2a");
        let public = digits("f8a9535a2d2ff605e8e144d54f4ef5c62313a2055dbb21fddd3fd9c299eb015d");
        assert_eq!(PrivateKey::from_bytes(private).public().0, public);
    }

    #[test]
    fn a_private_key_is_never_shown() {
        let key = PrivateKey::from_bytes([0xab; 32]);
        assert_eq!(format!("{key:?}"), "PrivateKey");
    }
}

//! Segment's `X-Signature`: hex HMAC-SHA1 of the raw body by a secret that is set in the destination.
//!
//! Of a batch it covers the first event alone, so it never stands in for the token in the URL. Several secrets, one a
//! line, may be live at once, so that one is rotated without a lost event.

use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use relay_platform::aws::Aws;
use relay_platform::secret::{SecretSource, read_all};
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::token::from_hex;

/// SSM's share of the time that an answer may take.
const TIMEOUT: Duration = Duration::from_millis(800);

/// A signature that does not fit may mean that the secret has changed: then it is read again, not more often.
const REREAD_AFTER: Duration = Duration::from_secs(60);

/// What the operator has set.
#[derive(Debug)]
pub enum SharedSecret {
    /// Nothing: events carry no signature.
    Off,
    /// Something that cannot be used: no event can be checked, and none may pass unchecked.
    Unusable,
    /// A secret, or where it is.
    Source(SecretSource),
}

/// What a signature is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// It is Segment's, or none is asked for.
    Valid,
    /// It is missing, or somebody else's.
    Invalid,
    /// It cannot be checked now.
    Unknown,
}

/// Checks signatures. The secret is read when the first one comes: whoever uses no signatures waits for no SSM.
#[derive(Debug)]
pub struct Signatures {
    secret: SharedSecret,
    aws: Aws,
    known: Mutex<Option<(SecretString, Instant)>>,
}

impl Signatures {
    /// By the secret that the operator has set.
    pub fn new(secret: SharedSecret, aws: Aws) -> Self {
        Signatures { secret, aws, known: Mutex::default() }
    }

    /// Checks the signature over `bytes`.
    pub async fn check(&self, bytes: &[u8], signature: Option<&str>) -> Checked {
        let source = match &self.secret {
            SharedSecret::Off => return Checked::Valid,
            SharedSecret::Unusable => return Checked::Unknown,
            SharedSecret::Source(source) => source,
        };
        let mut known = self.known.lock().await;
        if let Some((secret, _)) = &*known
            && fits(secret, bytes, signature)
        {
            return Checked::Valid;
        }
        if let Some((_, read_at)) = &*known
            && read_at.elapsed() < REREAD_AFTER
        {
            return Checked::Invalid;
        }
        match timeout(TIMEOUT, read_all(&self.aws, &[source])).await {
            Ok(Ok(mut secrets)) if !secrets.is_empty() => {
                let (secret, _) = known.insert((secrets.remove(0), Instant::now()));
                if fits(secret, bytes, signature) { Checked::Valid } else { Checked::Invalid }
            }
            other => {
                let error = match other {
                    Ok(Err(errors)) => errors.to_string(),
                    _ => "SSM did not answer in time".to_owned(),
                };
                tracing::error!(
                    error,
                    "signatures cannot be checked: Segment is asked to send its events again"
                );
                Checked::Unknown
            }
        }
    }
}

fn fits(secret: &SecretString, bytes: &[u8], signature: Option<&str>) -> bool {
    let Some(signature) = signature.and_then(from_hex::<20>) else { return false };
    let secrets = secret.expose_secret().lines().map(str::trim).filter(|secret| !secret.is_empty());
    secrets.into_iter().any(|secret| {
        let mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes());
        // In constant time.
        mac.is_ok_and(|mac| mac.chain_update(bytes).verify_slice(&signature).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_s_own_vectors() {
        let secret = SecretString::from("abc123");
        for (body, signature) in [
            (r#"{"cool":true}"#, "5099cab379b3be52908387457007040cc934ef86"),
            (r#"{"cool":false}"#, "c702b94a2569dd8d2f7185ce0ae951021bef4706"),
            (r#"{"cool":false}"#, "C702B94A2569DD8D2F7185CE0AE951021BEF4706"),
        ] {
            assert!(fits(&secret, body.as_bytes(), Some(signature)), "{body}");
            assert!(
                !fits(&secret, b"{}", Some(signature))
                    && !fits(&"abc124".into(), body.as_bytes(), Some(signature))
            );
        }
        let rotated = SecretString::from("old-one\n abc123 \n");
        assert!(fits(&rotated, br#"{"cool":true}"#, Some("5099cab379b3be52908387457007040cc934ef86")));
        for none in [None, Some(""), Some("5099"), Some("x099cab379b3be52908387457007040cc934ef86")] {
            assert!(!fits(&secret, br#"{"cool":true}"#, none));
        }
    }
}

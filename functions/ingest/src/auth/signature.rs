//! Segment's `X-Signature`: hex HMAC-SHA1 of the raw body by a secret that is set in the destination.
//!
//! Of a batch it covers the first event alone, so it never stands in for the token in the URL. Several secrets, one a
//! line, may be live at once, so that one is rotated without a lost event.

use std::time::{Duration, SystemTime};

use hex::FromHex;
use hmac::{Hmac, KeyInit, Mac};
use relay_platform::aws::Aws;
use relay_platform::secret::{SecretSource, read_all};
use relay_platform::world;
use secrecy::{ExposeSecret, SecretString};
use sha1::Sha1;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::rejection::Rejection;

/// SSM's share of the time that an answer may take.
const TIMEOUT: Duration = Duration::from_millis(800);

/// A signature that does not fit may mean that the secret has changed: then it is read again, not more often. By the wall
/// clock, since the process's own stands still while Lambda freezes it.
const REREAD_AFTER: Duration = Duration::from_secs(60);

/// What the operator has set.
#[derive(Debug, Default)]
pub enum SharedSecret {
    /// Nothing: events carry no signature.
    #[default]
    Off,
    /// Something that cannot be used: no event can be checked, and none may pass unchecked.
    Unusable,
    /// A secret, or where it is.
    Source(SecretSource),
}

/// Verifies signatures. The secret is read when the first one comes: whoever uses no signatures waits for no SSM.
#[derive(Debug)]
pub struct SignatureVerifier {
    secret: SharedSecret,
    aws: Aws,
    known: Mutex<Option<(SecretString, SystemTime)>>,
}

impl SignatureVerifier {
    pub fn new(secret: SharedSecret, aws: Aws) -> Self {
        SignatureVerifier { secret, aws, known: Mutex::default() }
    }

    /// Verifies the signature over `bytes`, if one is asked for.
    ///
    /// # Errors
    /// [`Rejection::BadSignature`], also if there is none; [`Rejection::NotChecked`] if the secret cannot be read now.
    pub async fn verify(&self, bytes: &[u8], signature: Option<&str>) -> Result<(), Rejection> {
        let source = match &self.secret {
            SharedSecret::Off => return Ok(()),
            SharedSecret::Unusable => return Err(Rejection::NotChecked),
            SharedSecret::Source(source) => source,
        };
        let mut known = self.known.lock().await;
        if let Some((secret, _)) = &*known
            && matches(secret, bytes, signature)
        {
            return Ok(());
        }
        if let Some((_, read_at)) = &*known
            && world::now().duration_since(*read_at).is_ok_and(|passed| passed < REREAD_AFTER)
        {
            return Err(Rejection::BadSignature);
        }
        match timeout(TIMEOUT, read_all(&self.aws, &[source])).await {
            Ok(Ok(mut secrets)) if !secrets.is_empty() => {
                let (secret, _) = known.insert((secrets.remove(0), world::now()));
                if matches(secret, bytes, signature) { Ok(()) } else { Err(Rejection::BadSignature) }
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
                Err(Rejection::NotChecked)
            }
        }
    }
}

fn matches(secret: &SecretString, bytes: &[u8], signature: Option<&str>) -> bool {
    let Some(signature) = signature.and_then(|hex| <[u8; 20]>::from_hex(hex).ok()) else { return false };
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
            assert!(matches(&secret, body.as_bytes(), Some(signature)), "{body}");
            assert!(
                !matches(&secret, b"{}", Some(signature))
                    && !matches(&"abc124".into(), body.as_bytes(), Some(signature))
            );
        }
        let rotated = SecretString::from("old-one\n abc123 \n");
        assert!(matches(&rotated, br#"{"cool":true}"#, Some("5099cab379b3be52908387457007040cc934ef86")));
        for none in [None, Some(""), Some("5099"), Some("x099cab379b3be52908387457007040cc934ef86")] {
            assert!(!matches(&secret, br#"{"cool":true}"#, none));
        }
    }
}

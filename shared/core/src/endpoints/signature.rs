//! Signatures by Standard Webhooks (github.com/standard-webhooks, "Standard Webhooks specification", version 1).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

/// By which such a secret is known ("Signature scheme").
const PREFIX: &str = "whsec_";

/// How many bytes a secret has ("Signature scheme": between 24 and 64).
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A secret that requests are signed with: `whsec_` and 24 to 64 bytes in base64.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SigningSecret {
    text: String,
    key: Vec<u8>,
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret")
    }
}

impl TryFrom<String> for SigningSecret {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let key = text.strip_prefix(PREFIX).and_then(|key| STANDARD.decode(key).ok());
        match key.filter(|key| BYTES.contains(&key.len())) {
            Some(key) => Ok(SigningSecret { text, key }),
            None => Err("no secret, expected whsec_ and 24 to 64 bytes in base64"),
        }
    }
}

impl SigningSecret {
    /// As it stands in the settings.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A request's signature, `v1,` and the HMAC-SHA-256 in base64. `seconds` is the time of this very try, since 1970.
    fn sign(&self, id: &str, seconds: i64, body: &str) -> String {
        // HMAC takes keys of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return String::new() };
        for part in [id, ".", &seconds.to_string(), ".", body] {
            mac.update(part.as_bytes());
        }
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The header `webhook-signature`: a signature with each of the secrets, so that either is enough to whoever checks.
pub(super) fn signatures(secrets: &[SigningSecret], id: &str, seconds: i64, body: &str) -> String {
    let all: Vec<String> = secrets.iter().map(|secret| secret.sign(id, seconds, body)).collect();
    all.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specification_s_own_example() {
        let secret = SigningSecret::try_from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()).unwrap();
        let signed = signatures(
            &[secret.clone(), secret.clone()],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
        );
        let one = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed, format!("{one} {one}"));
        assert!(!format!("{secret:?}").contains("MfKQ"));
    }

    #[test]
    fn what_is_no_secret() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        for (secret, is_one) in [
            (of(24), true),
            (of(64), true),
            (of(23), false),
            (of(65), false),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(), false),
            ("whsec_not base64".to_owned(), false),
        ] {
            assert_eq!(SigningSecret::try_from(secret.clone()).is_ok(), is_one, "{secret}");
        }
    }
}

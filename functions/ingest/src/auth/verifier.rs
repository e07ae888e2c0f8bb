//! Tells who may send.

use relay_platform::aws::Aws;

use super::authorized::{Authorized, Scope};
use super::credentials::Credentials;
use super::signature::SignatureVerifier;
use super::tokens::Digest;
use super::write_key;
use crate::http::encoding;
use crate::http::request::InboundRequest;
use crate::http::routes::EnabledRoutes;
use crate::rejection::Rejection;

/// A request with a known token of Segment's, whose signature is still to be verified.
#[derive(Debug)]
pub struct Unverified<'r>(Authorized<'r>);

impl<'r> Unverified<'r> {
    /// The body, which the signature is over. It was not unpacked: Segment sends none that is gzip.
    ///
    /// # Errors
    /// [`Rejection::BodyTooLarge`].
    pub fn body(&self) -> Result<&'r [u8], Rejection> {
        encoding::bounded(self.0.request)
    }
}

#[derive(Debug)]
pub struct Auth {
    credentials: Credentials,
    signatures: SignatureVerifier,
}

impl Auth {
    /// Reads no secret yet.
    pub fn new(mut credentials: Credentials, aws: Aws) -> Self {
        let shared_secret = std::mem::take(&mut credentials.shared_secret);
        Auth { credentials, signatures: SignatureVerifier::new(shared_secret, aws) }
    }

    /// The routes that somebody was meant to use.
    pub fn enabled_routes(&self) -> EnabledRoutes {
        let Credentials { segment_tokens, write_keys, browser_keys, .. } = &self.credentials;
        EnabledRoutes {
            segment: segment_tokens.is_set(),
            tracking: write_keys.is_set() || browser_keys.is_set(),
        }
    }

    /// Vero signs nothing, so the token in the URL is all that tells Vero from anybody else.
    ///
    /// # Errors
    /// [`Rejection::UnknownToken`].
    pub fn vero<'r>(&self, request: &'r InboundRequest, token: &str) -> Result<Authorized<'r>, Rejection> {
        let key = self.credentials.webhook_tokens.verify(token).ok_or(Rejection::UnknownToken)?;
        Ok(Authorized { request, key, scope: Scope::Full })
    }

    /// The first half for a Webhooks destination of Segment's: the token in the URL.
    ///
    /// # Errors
    /// [`Rejection::NotChecked`], [`Rejection::Unauthorized`].
    pub fn segment<'r>(&self, request: &'r InboundRequest, token: &str) -> Result<Unverified<'r>, Rejection> {
        let tokens = &self.credentials.segment_tokens;
        if !tokens.is_usable() {
            return Err(Rejection::NotChecked);
        }
        let key = tokens.verify(token).ok_or(Rejection::Unauthorized)?;
        Ok(Unverified(Authorized { request, key, scope: Scope::Full }))
    }

    /// The second half: the signature over `signed`, if one is asked for.
    ///
    /// # Errors
    /// [`Rejection::NotChecked`], [`Rejection::BadSignature`].
    pub async fn verify_signature<'r>(
        &self,
        Unverified(request): Unverified<'r>,
        signed: &[u8],
    ) -> Result<Authorized<'r>, Rejection> {
        self.signatures.verify(signed, request.request.header("x-signature")).await?;
        Ok(request)
    }

    /// For an SDK: its write key, from the header or from the body. Nothing is unpacked or parsed of a request without a
    /// known key, but what it takes to find one.
    ///
    /// # Errors
    /// [`Rejection::NotChecked`], [`Rejection::Unauthorized`], [`Rejection::KeyTooFar`], [`Rejection::GzipAsText`].
    pub fn tracking<'r>(&self, request: &'r InboundRequest) -> Result<Authorized<'r>, Rejection> {
        let Credentials { write_keys, browser_keys, .. } = &self.credentials;
        if !(write_keys.is_usable() || browser_keys.is_usable()) {
            return Err(Rejection::NotChecked);
        }
        let found = match request.basic_user() {
            Some(key) => self.verify_write_key(&key),
            None => {
                let head = encoding::head(request)?;
                match write_key::of(&head.bytes) {
                    Some(key) => self.verify_write_key(key.trim()),
                    None if head.is_cut => return Err(Rejection::KeyTooFar),
                    None => None,
                }
            }
        };
        let (key, scope) = found.ok_or(Rejection::Unauthorized)?;
        Ok(Authorized { request, key, scope })
    }

    /// A key that stands in both lists is public.
    fn verify_write_key(&self, key: &str) -> Option<(Digest, Scope)> {
        let Credentials { write_keys, browser_keys, .. } = &self.credentials;
        let public = browser_keys.verify(key).map(|key| (key, Scope::TrackOnly));
        public.or_else(|| Some((write_keys.verify(key)?, Scope::Full)))
    }
}

//! Whom to trust behind TLS.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use rustls::{ClientConfig, Error, RootCertStore};
use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};

use crate::environment::Environment;

/// Where one file holds all certificate authorities: on Amazon Linux, which Lambda runs, and on Debian and Alpine.
const BUNDLES: [&str; 2] = ["/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/certs/ca-certificates.crt"];

/// The variables by which OpenSSL, and so everybody, can be made to trust other authorities.
const OVERRIDES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// What every TLS connection is made with. The authorities are read for the first one, which takes milliseconds:
/// whoever talks to a loopback without TLS waits for none of it.
///
/// # Errors
/// None that ring is known for.
pub fn config() -> Result<Arc<ClientConfig>, Error> {
    static CONFIG: LazyLock<Result<Arc<ClientConfig>, Error>> = LazyLock::new(|| {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions()?;
        Ok(Arc::new(builder.with_root_certificates(authorities()).with_no_client_auth()))
    });
    CONFIG.clone()
}

fn authorities() -> RootCertStore {
    let environment = Environment::of_process();
    let is_overridden = OVERRIDES.into_iter().any(|variable| environment.get(variable).is_some());
    let bundle = BUNDLES.iter().map(Path::new).find(|bundle| !is_overridden && bundle.is_file());
    // Left to search, the crate reads a folder with the same certificates, one file each, after the bundle.
    let found = bundle.map(|bundle| load_certs_from_paths(Some(bundle), None));
    let found = found.filter(|found| !found.certs.is_empty()).unwrap_or_else(load_native_certs);
    let CertificateResult { certs, errors, .. } = found;
    for error in errors {
        tracing::warn!(%error, "certificate authorities could not be read");
    }
    let mut roots = RootCertStore::empty();
    let (trusted, _) = roots.add_parsable_certificates(certs);
    if trusted == 0 {
        tracing::error!("no certificate authorities were found: no call by TLS will succeed");
    }
    roots
}

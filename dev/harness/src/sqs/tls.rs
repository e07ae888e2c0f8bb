//! TLS with a certificate authority made for the occasion.

use std::io::Write;
use std::sync::Arc;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::{NamedTempFile, TempPath};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

use crate::http::{Layer, Socket};

#[derive(Clone)]
pub(super) struct Tls(TlsAcceptor);

impl Socket for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl Layer for Tls {
    type Socket = TlsStream<TcpStream>;

    async fn lay(&self, stream: TcpStream) -> std::io::Result<Self::Socket> {
        self.0.accept(stream).await
    }
}

/// The layer, and the file with its authority's certificate.
pub(super) fn layer() -> Result<(Tls, TempPath)> {
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::default();
    // A certificate that signed itself without being an authority is refused by some clients.
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut file = NamedTempFile::new()?;
    file.write_all(authority.self_signed(&authority_key)?.pem().as_bytes())?;

    let key = KeyPair::generate()?;
    let issuer = Issuer::new(authority, authority_key);
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok((Tls(TlsAcceptor::from(Arc::new(config))), file.into_temp_path()))
}

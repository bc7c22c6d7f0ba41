//! TLS for both ends: who the server is, by the SHA-256 of its certificate.
//!
//! # Invariants
//!
//! * A client talks to nobody whose certificate has another fingerprint, unless it was told to
//!   talk to anybody, and the handshake's signature is checked: a fingerprint alone proves nothing.
//! * Every handshake is a full one, so that connects per second mean what they say.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tidings::client::Fingerprint;
use tidings::limits::ALPN;

/// The name that the generator asks for; a fingerprint makes it meaningless.
pub(crate) const SERVER_NAME: &str = "tidings";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The client's side.
///
/// # Errors
///
/// When the crypto provider lacks what QUIC needs.
pub(crate) fn client(fingerprint: Fingerprint) -> Result<QuicClientConfig, String> {
    let mut tls = stream_client(Trust::Pinned(fingerprint))?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    QuicClientConfig::try_from(tls).map_err(|error| error.to_string())
}

/// The client's side of a stream.
///
/// # Errors
///
/// When the crypto provider lacks what TLS 1.3 needs.
pub(crate) fn stream_client(trust: Trust) -> Result<rustls::ClientConfig, String> {
    let verifier = Arc::new(TrustedServer { trust, provider: provider() });
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    tls.resumption = Resumption::disabled();
    Ok(tls)
}

/// A fresh ECDSA P-256 certificate and its key as PEM, and its fingerprint.
///
/// # Errors
///
/// When no certificate can be made.
pub(crate) fn certificate() -> Result<(String, String, Fingerprint), String> {
    let made = rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()])
        .map_err(|error| error.to_string())?;
    let fingerprint = Fingerprint::of(made.cert.der());
    Ok((made.cert.pem(), made.signing_key.serialize_pem(), fingerprint))
}

/// The relay's side: a fresh ECDSA P-256 certificate and its fingerprint.
///
/// # Errors
///
/// When no certificate can be made.
pub(crate) fn server() -> Result<(QuicServerConfig, Fingerprint), String> {
    let made = rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()])
        .map_err(|error| error.to_string())?;
    let certificate = made.cert.der().clone();
    let fingerprint = Fingerprint::of(&certificate);
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .map_err(|error| error.to_string())?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let quic = QuicServerConfig::try_from(tls).map_err(|error| error.to_string())?;
    Ok((quic, fingerprint))
}

/// Whom a client believes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Trust {
    /// Who has the certificate with this fingerprint.
    Pinned(Fingerprint),
    /// Whoever has any.
    Anybody,
}

/// Accepts the certificates that are trusted.
#[derive(Debug)]
struct TrustedServer {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for TrustedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.trust {
            Trust::Pinned(fingerprint) if Fingerprint::of(end_entity) != fingerprint => {
                Err(rustls::Error::InvalidCertificate(
                    rustls::CertificateError::ApplicationVerificationFailure,
                ))
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

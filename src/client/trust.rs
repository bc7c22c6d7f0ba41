//! Which server certificates are trusted.
//!
//! # Invariants
//!
//! * A fingerprint replaces the chain of trust, the name and the dates, never the proof that the
//!   server holds the certificate's key.
//! * Only TLS 1.3, only the protocol's ALPN identifier.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::client::ConnectError;
use crate::limits::ALPN;

/// Which server certificates a client trusts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Trust {
    /// Those that a root of the operating system vouches for.
    #[default]
    System,
    /// Those that one of these authorities vouches for: certificates as PEM, or one as DER.
    CertificateAuthority(Vec<u8>),
    /// The one with this fingerprint, whatever its name and dates.
    Fingerprint(Fingerprint),
}

impl Trust {
    /// Reads the certificates of authorities from a file, PEM or DER.
    ///
    /// # Errors
    ///
    /// Those of reading the file. What it holds is checked when connecting.
    pub fn certificate_authority_file(path: impl AsRef<Path>) -> std::io::Result<Self> {
        std::fs::read(path).map(Self::CertificateAuthority)
    }

    /// The TLS settings of a client that trusts so.
    pub(super) fn tls_config(&self) -> Result<rustls::ClientConfig, ConnectError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| ConnectError::BadTrust(error.to_string()))?;
        let mut config = match self {
            Self::System => builder.with_root_certificates(system_roots()?),
            Self::CertificateAuthority(bytes) => {
                builder.with_root_certificates(authorities(bytes)?)
            }
            Self::Fingerprint(fingerprint) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Pinned::new(*fingerprint, &provider))),
        }
        .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }
}

fn system_roots() -> Result<RootCertStore, ConnectError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    match (added, found.errors.first()) {
        (0, Some(error)) => Err(ConnectError::BadTrust(error.to_string())),
        (0, None) => Err(ConnectError::BadTrust("the system has no roots".into())),
        _ => Ok(roots),
    }
}

fn authorities(bytes: &[u8]) -> Result<RootCertStore, ConnectError> {
    let bad = |error: &dyn fmt::Display| ConnectError::BadTrust(error.to_string());
    let mut certificates = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad(&error))?;
    if certificates.is_empty() {
        certificates.push(CertificateDer::from(bytes.to_vec()));
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|error| bad(&error))?;
    }
    Ok(roots)
}

/// The SHA-256 of a certificate's DER, written as 64 lower-case hexadecimal digits.
///
/// ```
/// use tidings::client::Fingerprint;
///
/// let fingerprint = Fingerprint::of(b"the DER of a certificate");
/// assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
/// ```
#[derive(Clone, Copy, Eq, PartialEq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate.
    pub fn of(certificate_der: &[u8]) -> Self {
        let mut bytes = [0; 32];
        let digest = ring::digest::digest(&ring::digest::SHA256, certificate_der);
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a fingerprint: 64 hexadecimal digits, with or without colons.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a fingerprint has 64 hexadecimal digits")]
pub struct FingerprintError;

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let mut bytes = [0; 32];
        let mut digits = text.chars().filter(|c| *c != ':');
        for byte in &mut bytes {
            let mut digit = || digits.next().and_then(|c| c.to_digit(16)).ok_or(FingerprintError);
            *byte = (digit()? << 4 | digit()?) as u8;
        }
        match digits.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(FingerprintError),
        }
    }
}

/// Accepts the one certificate that has the fingerprint.
#[derive(Debug)]
struct Pinned {
    fingerprint: Fingerprint,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn new(fingerprint: Fingerprint, provider: &CryptoProvider) -> Self {
        Self { fingerprint, algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if Fingerprint::of(end_entity) == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        let error = rustls::CertificateError::ApplicationVerificationFailure;
        Err(rustls::Error::InvalidCertificate(error))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verify(trusted: &[u8], shown: &[u8]) -> Result<ServerCertVerified, rustls::Error> {
        let provider = rustls::crypto::ring::default_provider();
        Pinned::new(Fingerprint::of(trusted), &provider).verify_server_cert(
            &CertificateDer::from(shown),
            &[],
            &ServerName::try_from("any.name").unwrap(),
            &[],
            UnixTime::now(),
        )
    }

    #[test]
    fn only_the_certificate_with_the_fingerprint_is_trusted() {
        assert!(verify(b"this one", b"this one").is_ok());
        assert!(verify(b"this one", b"that one").is_err());
    }

    #[test]
    fn a_fingerprint_is_the_sha_256_of_the_certificate() {
        let digits = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Fingerprint::of(b"abc").to_string(), digits);
        assert_eq!(digits.parse(), Ok(Fingerprint::of(b"abc")));
    }

    #[test]
    fn a_fingerprint_may_be_written_with_colons_and_capitals() {
        let digits = Fingerprint::of(b"abc").to_string().to_uppercase();
        let pairs: Vec<&str> =
            digits.as_bytes().chunks(2).map(|p| std::str::from_utf8(p).unwrap()).collect();
        assert_eq!(pairs.join(":").parse(), Ok(Fingerprint::of(b"abc")));
    }

    #[test]
    fn what_is_not_64_digits_is_no_fingerprint() {
        for text in ["", "ab", &"a".repeat(63), &"a".repeat(65), &"g".repeat(64)] {
            assert_eq!(text.parse::<Fingerprint>(), Err(FingerprintError), "{text}");
        }
    }

    #[test]
    fn an_authority_that_is_no_certificate_is_refused() {
        for bytes in [&b""[..], b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END"] {
            let config = Trust::CertificateAuthority(bytes.into()).tls_config();
            assert!(matches!(config, Err(ConnectError::BadTrust(_))));
        }
    }
}

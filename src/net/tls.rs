//! Certificates and keys: those that are configured, or ones made on first use and kept.
//!
//! # Invariants
//!
//! * Tickets are those of one certificate: whoever comes back after another was read is shown it.
//! * A made certificate stays the same over restarts, so that its fingerprint can be trusted.
//! * The keys of stateless resets and of address tokens outlast a restart: a client of before
//!   notices at once that its connection is gone, and need not prove its address again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::hmac;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::limits::{ALPN, TICKETS_MAX, TICKETS_PER_CONNECTION};
use crate::net::tickets::Tickets;
use crate::private_file;

/// The file in the folder of keys that holds the certificate made for development.
pub const CERTIFICATE_FILE: &str = "certificate.pem";

/// Bytes of the secret from which the reset and token keys come.
const SECRET_BYTES: usize = 64;

/// A certificate chain and its key, as PEM files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub chain: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Why the server has no usable certificate or keys.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} is not a PEM file with {what}")]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What went wrong.
        source: rustls::pki_types::pem::Error,
    },
    /// The certificate cannot be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// The certificate and the key are of no use together.
    #[error("the certificate cannot be used")]
    Unusable(#[from] rustls::Error),
    /// QUIC cannot be spoken with what the certificate allows.
    #[error("the certificate cannot be used for QUIC")]
    NoQuic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// What the endpoint needs to be itself.
pub(super) struct Identity {
    pub(super) shown: Shown,
    pub(super) reset_key: hmac::Key,
    pub(super) connection_id_key: u64,
    pub(super) token_key: ring::hkdf::Prk,
}

/// What clients are shown: the certificate, and how it is spoken with.
pub(super) struct Shown {
    pub(super) crypto: Arc<QuicServerConfig>,
    /// Lower-case hexadecimal SHA-256 of the certificate.
    pub(super) fingerprint: String,
}

/// Reads the certificate again, and makes nothing.
pub(super) fn reload(files: Option<&CertificateFiles>, keys_dir: &Path) -> Result<Shown, TlsError> {
    match files {
        Some(files) => shown(files),
        None => shown(&development_files(keys_dir)),
    }
}

/// Loads the identity, making what is missing in `keys_dir`.
pub(super) fn load(
    files: Option<&CertificateFiles>,
    keys_dir: &Path,
) -> Result<Identity, TlsError> {
    let shown = match files {
        Some(files) => shown(files)?,
        None => shown(&development_certificate(keys_dir)?)?,
    };
    let secret = secret(&keys_dir.join("secret"))?;
    let (reset, rest) = secret.split_at(32);
    let mut connection_id_key = [0; 8];
    connection_id_key.copy_from_slice(&rest[..8]);
    Ok(Identity {
        shown,
        reset_key: hmac::Key::new(hmac::HMAC_SHA256, reset),
        connection_id_key: u64::from_le_bytes(connection_id_key),
        token_key: Salt::new(HKDF_SHA256, &[]).extract(&rest[8..]),
    })
}

fn shown(files: &CertificateFiles) -> Result<Shown, TlsError> {
    let (chain, key) = read_certificate(files)?;
    let own = chain.first().map_or(&[][..], |certificate| certificate.as_ref());
    let fingerprint = hex(ring::digest::digest(&ring::digest::SHA256, own).as_ref());
    Ok(Shown { crypto: Arc::new(server_crypto(chain, key)?), fingerprint })
}

fn server_crypto(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<QuicServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    // Early data can be had only with tickets that are kept here: those that a client carries
    // could be used twice.
    tls.session_storage = Arc::new(Tickets::new(TICKETS_MAX));
    tls.send_tls13_tickets = TICKETS_PER_CONNECTION;
    // QUIC knows all or nothing; its windows bound what comes early.
    tls.max_early_data_size = u32::MAX;
    Ok(QuicServerConfig::try_from(tls)?)
}

fn read_certificate(
    files: &CertificateFiles,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let pem = |path: &Path, what| {
        let path = path.to_path_buf();
        move |source| TlsError::Pem { path, what, source }
    };
    let chain = CertificateDer::pem_file_iter(&files.chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(pem(&files.chain, "a certificate chain"))?;
    if chain.is_empty() {
        let source = rustls::pki_types::pem::Error::NoItemsFound;
        return Err(pem(&files.chain, "a certificate chain")(source));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(pem(&files.key, "a private key"))?;
    Ok((chain, key))
}

/// Where the certificate for development is.
fn development_files(keys_dir: &Path) -> CertificateFiles {
    CertificateFiles {
        chain: keys_dir.join(CERTIFICATE_FILE),
        key: keys_dir.join("certificate-key.pem"),
    }
}

/// The self-signed certificate for development: ECDSA P-256, made once.
fn development_certificate(keys_dir: &Path) -> Result<CertificateFiles, TlsError> {
    let files = development_files(keys_dir);
    if files.chain.exists() && files.key.exists() {
        private_file::sync_name(&files.chain).map_err(file("sync", &files.chain))?;
        return Ok(files);
    }
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let certificate = rcgen::CertificateParams::new(names)?.self_signed(&key)?;
    write_private(&files.key, key.serialize_pem().as_bytes())?;
    write_private(&files.chain, certificate.pem().as_bytes())?;
    Ok(files)
}

fn secret(path: &Path) -> Result<Vec<u8>, TlsError> {
    match fs::read(path) {
        Ok(secret) if secret.len() == SECRET_BYTES => {
            private_file::sync_name(path).map_err(file("sync", path))?;
            return Ok(secret);
        }
        _ => {}
    }
    let mut secret = vec![0; SECRET_BYTES];
    let random = ring::rand::SystemRandom::new();
    if ring::rand::SecureRandom::fill(&random, &mut secret).is_err() {
        return Err(file("read", path)(std::io::Error::other("no random numbers")));
    }
    write_private(path, &secret)?;
    Ok(secret)
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), TlsError> {
    private_file::replace(path, bytes).map_err(file("write", path))
}

fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> TlsError {
    let path = path.to_path_buf();
    move |source| TlsError::File { action, path, source }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

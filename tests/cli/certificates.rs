//! Certificates that are read again while the server runs, and who may read what is on the disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use crate::harness::{Running, in_time, run, serve, tidings};

/// Writes a certificate and its key as `NAME.pem` and `NAME-key.pem`; gives its fingerprint.
fn certificate(home: &TempDir, name: &str) -> String {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    fs::write(home.path().join(format!("{name}.pem")), made.pem()).unwrap();
    fs::write(home.path().join(format!("{name}-key.pem")), key.serialize_pem()).unwrap();
    let digest = ring::digest::digest(&ring::digest::SHA256, made.der());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The exit code of a message to bob, by a client that trusts this fingerprint alone.
fn send(home: &TempDir, address: &str, fingerprint: &str, what: &str) -> Option<i32> {
    let args = ["send", "--from", "ann", "--to", "bob", what, "--server", address];
    let args = [&args[..], &["--fingerprint", fingerprint]].concat();
    run(home, &args).status.code()
}

/// Whether HTTPS is spoken by the certificate of this file.
fn is_spoken(url: &str, chain: &Path) -> bool {
    let (url, pem) = (format!("{url}/healthz"), fs::read(chain).unwrap());
    in_time("an answer", move || {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let certificate = reqwest::Certificate::from_pem(&pem).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([certificate]).no_proxy();
        let asked = client.build().unwrap().get(url).send();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(asked).is_ok()
    })
}

#[test]
fn certificates_are_read_again_on_sighup_and_one_of_no_use_changes_nothing() {
    let home = TempDir::new().unwrap();
    let old = certificate(&home, "in-force");
    let old_file = home.path().join("old.pem");
    fs::copy(home.path().join("in-force.pem"), &old_file).unwrap();
    let files = ["in-force.pem", "in-force-key.pem"];
    let more = [
        &["--certificate", files[0], "--key", files[1]][..],
        &["--http-certificate", files[0], "--http-key", files[1]],
        &["--http-listen", "127.0.0.1:0"],
    ];
    let (mut server, address, fingerprint) = serve(&home, &more.concat());
    let url = server.hears("http: listening on ").replace("http: listening on ", "");
    assert_eq!((&fingerprint, is_spoken(&url, &old_file)), (&old, true));
    let args = ["listen", "bob", "--server", &address, "--fingerprint", &old];
    let mut bob = Running::start(tidings(&home, &args));
    bob.await_log("bob listens on device");

    let new = certificate(&home, "in-force");
    server.signal("HUP");
    server.await_log(&new);
    let new_file = home.path().join("in-force.pem");
    assert!(is_spoken(&url, &new_file) && !is_spoken(&url, &old_file));
    assert_eq!(send(&home, &address, &new, "by the new one"), Some(0));
    assert_ne!(send(&home, &address, &old, "by the old one"), Some(0));
    bob.hears("by the new one");

    let kept = home.path().join("kept.pem");
    fs::copy(&new_file, &kept).unwrap();
    for (file, told) in [(&new_file, "not a PEM file"), (&home.path().join(files[1]), "PEM file")] {
        let good = fs::read(file).unwrap();
        fs::write(file, "nothing").unwrap();
        server.signal("HUP");
        let said = server.await_log("certificates were not read");
        assert!(said.contains(told) && said.contains("stays as it was"), "{said}");
        fs::write(file, good).unwrap();
        assert_eq!(send(&home, &address, &new, "still by the new one"), Some(0));
        assert!(is_spoken(&url, &kept));
    }
    certificate(&home, "other");
    fs::copy(home.path().join("other-key.pem"), home.path().join(files[1])).unwrap();
    server.signal("HUP");
    server.await_log("certificates were not read");
    assert_eq!(send(&home, &address, &new, "a key of another certificate"), Some(0));
    bob.hears("a key of another certificate");
    assert_eq!(server.stop("TERM").0.code(), Some(0));
}

#[test]
fn a_certificate_of_no_use_to_one_port_changes_that_of_no_other() {
    let home = TempDir::new().unwrap();
    let old = certificate(&home, "quic");
    certificate(&home, "http");
    let more = [
        &["--certificate", "quic.pem", "--key", "quic-key.pem"][..],
        &["--http-certificate", "http.pem", "--http-key", "http-key.pem"],
        &["--http-listen", "127.0.0.1:0"],
    ];
    let (mut server, address, _) = serve(&home, &more.concat());
    certificate(&home, "quic");
    fs::write(home.path().join("http.pem"), "nothing").unwrap();
    server.signal("HUP");
    let said = server.await_log("certificates were not read");
    assert!(said.contains("http.pem"), "{said}");
    assert_eq!(send(&home, &address, &old, "still by the old one"), Some(0));
    assert_eq!(server.stop("TERM").0.code(), Some(0));
}

#[test]
fn certificates_that_are_read_again_make_no_keys() {
    let home = TempDir::new().unwrap();
    let (mut server, ..) = serve(&home, &[]);
    let keys = home.path().join("tidings-data/keys");
    fs::remove_file(keys.join("secret")).unwrap();
    server.signal("HUP");
    server.await_log("certificates were read again");
    fs::remove_file(keys.join("certificate.pem")).unwrap();
    server.signal("HUP");
    server.await_log("certificates were not read");
    for made in ["secret", "certificate.pem"] {
        assert!(!keys.join(made).exists(), "{made}");
    }
    assert_eq!(server.stop("TERM").0.code(), Some(0));
}

/// What others than the server's user may do with a file or folder.
fn others_may(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o077
}

#[test]
fn nobody_else_may_enter_the_data_folder_or_read_a_key() {
    let home = TempDir::new().unwrap();
    let (mut server, address, fingerprint) =
        serve(&home, &["--http-listen", "127.0.0.1:0", "--data", "deep/data"]);
    server.hears("http: listening on ");
    assert_eq!(send(&home, &address, &fingerprint, "hi"), Some(0));
    assert_eq!(server.stop("TERM").0.code(), Some(0));
    let data = home.path().join("deep/data");
    assert_eq!(others_may(&data), 0, "the data folder");
    let keys = fs::read_dir(data.join("keys")).unwrap();
    let keys: Vec<_> = keys.map(|entry| entry.unwrap().path()).collect();
    assert!(keys.len() >= 4, "{keys:?}");
    for key in keys {
        assert_eq!(others_may(&key), 0, "{}", key.display());
    }
}

#[test]
fn a_data_folder_that_was_open_to_others_is_closed_and_the_log_says_so() {
    let home = TempDir::new().unwrap();
    let data = home.path().join("tidings-data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    let (mut server, ..) = serve(&home, &[]);
    server.await_log("others could enter the data folder");
    assert_eq!(others_may(&data), 0);
    assert_eq!(server.stop("TERM").0.code(), Some(0));
}

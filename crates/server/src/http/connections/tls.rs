//! With which certificate do we speak TLS?
//!
//! From files, read again when they change (a bad pair is reported and the old one kept), or one
//! made at start.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::{ConfigError, Tls};

/// How often files are looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The certificate in use.
pub struct Certificates {
    current: RwLock<Arc<ServerConfig>>,
    files: Option<Files>,
}

#[derive(Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificates {
    /// Reads or makes the certificate; `None` where TLS is off.
    pub fn open(tls: &Tls) -> Result<Option<Arc<Self>>, ConfigError> {
        let (config, files) = match tls {
            Tls::Off => return Ok(None),
            Tls::Files { certificate, key } => {
                let files = Files { certificate: certificate.clone(), key: key.clone() };
                (files.read()?, Some(files))
            }
            Tls::SelfSigned => (self_signed()?, None),
        };
        Ok(Some(Arc::new(Self { current: RwLock::new(Arc::new(config)), files })))
    }

    /// Returns what accepts the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Watches the files for ever.
    pub async fn reload_on_change(self: Arc<Self>) {
        let Some(files) = &self.files else { return };
        let mut seen = files.changed_at();
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let now = files.changed_at();
            if now != seen {
                seen = now;
                self.reload();
            }
        }
    }

    fn reload(&self) {
        let Some(files) = &self.files else { return };
        match files.read() {
            Ok(config) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                tracing::info!(certificate = %files.certificate.display(), "the certificate was read again");
            }
            Err(error) => {
                tracing::warn!(%error, "the new certificate cannot be used; the old one stays")
            }
        }
    }
}

impl Files {
    fn changed_at(&self) -> [Option<(SystemTime, u64)>; 2] {
        let changed_at = |path: &Path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        [changed_at(&self.certificate), changed_at(&self.key)]
    }

    fn read(&self) -> Result<ServerConfig, ConfigError> {
        let fault = |option: &str, path: &Path, words: &str| ConfigError {
            option: option.to_owned(),
            reason: format!("cannot use {}: {words}", path.display()),
        };
        let of_certificate = |words: &str| fault("http.tls_certificate", &self.certificate, words);
        let of_key = |words: &str| fault("http.tls_key", &self.key, words);
        let chain: Vec<_> = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect)
            .map_err(|error| of_certificate(&pem_words(&error, NO_CERTIFICATE)))?;
        if chain.is_empty() {
            return Err(of_certificate(NO_CERTIFICATE));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| of_key(&pem_words(&error, NO_KEY)))?;
        server_config(chain, key).map_err(|error| match error {
            rustls::Error::InvalidCertificate(_) => of_certificate(
                "its certificate is damaged or not X.509; write the whole chain into the file, the server's own first",
            ),
            rustls::Error::InconsistentKeys(_) => of_key(&format!(
                "it is not the key of the first certificate in {}; name the two files that were made together",
                self.certificate.display()
            )),
            _ => of_key(
                "its key is damaged or of an unknown kind; use ECDSA P-256 or P-384, Ed25519, or RSA of 2048 bits",
            ),
        })
    }
}

const NO_CERTIFICATE: &str =
    "there is no certificate in it; it should have lines like -----BEGIN CERTIFICATE----- (PEM)";
const NO_KEY: &str = "there is no key in it that needs no passphrase; it should have a line like -----BEGIN PRIVATE KEY----- \
     (PEM; openssl pkey takes a passphrase away)";

/// Returns the fault of a PEM file in words. The parser's own words may show lines of the file, and
/// a key is secret.
fn pem_words(error: &pem::Error, nothing: &str) -> String {
    match error {
        pem::Error::Io(error) => match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            std::io::ErrorKind::PermissionDenied => {
                "this user may not read it; change its owner or its permissions".to_owned()
            }
            kind => format!("reading it failed: {kind}"),
        },
        pem::Error::NoItemsFound => nothing.to_owned(),
        _ => "its PEM is damaged (lines of BEGIN, base64 and END); copy the whole file again".to_owned(),
    }
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Makes a certificate for this machine's names and addresses.
fn self_signed() -> Result<ServerConfig, ConfigError> {
    let fault = |error: &dyn std::fmt::Display| ConfigError {
        option: "http.self_signed".to_owned(),
        reason: format!("cannot make a certificate: {error}"),
    };
    let mut names = vec!["localhost".to_owned()];
    names.extend(std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned()));
    // Without a list of them the certificate is for the names alone.
    names.extend(if_addrs::get_if_addrs().unwrap_or_default().iter().map(|interface| interface.ip().to_string()));
    names.retain(|name| !name.is_empty());
    names.sort();
    names.dedup();
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| fault(&error))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    server_config(vec![made.cert.der().clone()], key).map_err(|error| fault(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_can_be_made_for_this_machine() {
        assert!(Certificates::open(&Tls::SelfSigned).unwrap().is_some());
        assert!(Certificates::open(&Tls::Off).unwrap().is_none());
    }

    #[test]
    fn files_are_read_again_and_a_bad_one_leaves_the_old() {
        let folder = std::env::temp_dir().join(format!("nowcast-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let files = Files { certificate: folder.join("c.pem"), key: folder.join("k.pem") };
        let tls = Tls::Files { certificate: files.certificate.clone(), key: files.key.clone() };
        let write = |host: &str| {
            let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
            std::fs::write(&files.certificate, made.cert.pem()).unwrap();
            std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        };
        let error = |tls: &Tls| Certificates::open(tls).err().unwrap().to_string();
        assert!(error(&tls).starts_with("http.tls_certificate: cannot use "));

        // The error for each fault of a file; `certificate` and `key` are the contents of the
        // files.
        write("a.example");
        let certificate = std::fs::read_to_string(&files.certificate).unwrap();
        let key = std::fs::read_to_string(&files.key).unwrap();
        let other =
            rcgen::generate_simple_self_signed(vec!["c.example".to_owned()]).unwrap().signing_key.serialize_pem();
        let in_pem = |kind: &str, base64: &str| format!("-----BEGIN {kind}-----\n{base64}\n-----END {kind}-----\n");
        for (certificate, key, option, words) in [
            (key.as_str(), key.as_str(), "http.tls_certificate", "there is no certificate in it"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", &key, "http.tls_certificate", "its PEM is damaged"),
            (&in_pem("CERTIFICATE", "?secret?"), &key, "http.tls_certificate", "its PEM is damaged"),
            (&in_pem("CERTIFICATE", "AAAA"), &key, "http.tls_certificate", "its certificate is damaged"),
            (&certificate, "", "http.tls_key", "there is no key in it that needs no passphrase"),
            (&certificate, &in_pem("ENCRYPTED PRIVATE KEY", "AAAA"), "http.tls_key", "needs no passphrase"),
            (&certificate, "-----BEGIN PRIVATE KEY\nsecret\n", "http.tls_key", "its PEM is damaged"),
            (&certificate, &in_pem("PRIVATE KEY", "AAAA"), "http.tls_key", "its key is damaged or of an unknown kind"),
            (&certificate, &other, "http.tls_key", "it is not the key of the first certificate"),
        ] {
            std::fs::write(&files.certificate, certificate).unwrap();
            std::fs::write(&files.key, key).unwrap();
            let said = error(&tls);
            assert!(said.starts_with(&format!("{option}: cannot use ")) && said.contains(words), "{said}");
            for word in ["::", "0x", "[45", "secret", "Mismatch", "DER", "rustls", "expected"] {
                assert!(!said.contains(word), "{said}");
            }
        }

        write("a.example");
        let certificates = Certificates::open(&tls).unwrap().unwrap();
        let current = || Arc::as_ptr(&certificates.current.read().unwrap());
        let first = current();
        std::fs::write(&files.key, "nonsense").unwrap();
        assert!(error(&tls).starts_with("http.tls_key: cannot use "));
        certificates.reload();
        assert_eq!(current(), first);
        write("b.example");
        let made = rcgen::generate_simple_self_signed(vec!["c.example".to_owned()]).unwrap();
        let right = std::fs::read(&files.key).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        assert!(error(&tls).starts_with("http.tls_key: "), "a key that belongs to another certificate");
        std::fs::write(&files.key, right).unwrap();
        let seen = files.changed_at();
        certificates.reload();
        assert_ne!(current(), first);
        assert_eq!(seen, files.changed_at());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

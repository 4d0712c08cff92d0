//! Whom do we believe to be the server, over https?

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Where systems keep the certificates they trust: Debian, Fedora, Alpine.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Whose certificates are taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Those that the system trusts, or the file that `SSL_CERT_FILE` names.
    #[default]
    System,
    /// Those that one of this file has signed, or that are in it.
    File(PathBuf),
    /// All.
    Anybody,
}

/// Returns the configuration of TLS. A system without trusted authorities is an error only if TLS
/// `is_needed` from the start.
pub(crate) fn config(trust: &Trust, is_needed: bool) -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match trust {
        Trust::System => builder.with_root_certificates(match system_roots() {
            Err(error) if is_needed => return Err(error),
            roots => roots.unwrap_or_else(|_| RootCertStore::empty()),
        }),
        Trust::File(file) => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Named::read(file, provider)?))
        }
        Trust::Anybody => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))),
    };
    Ok(Arc::new(builder.with_no_client_auth()))
}

fn system_roots() -> anyhow::Result<RootCertStore> {
    let named = std::env::var("SSL_CERT_FILE").ok();
    let system = SYSTEM_ROOTS.iter().copied().find(|file| Path::new(file).exists());
    let file = named.as_deref().or(system).context(
        "this system has no file of trusted certificates; name one (--ca), or do not check at all (--insecure)",
    )?;
    roots(&certificates(Path::new(file))?, Path::new(file))
}

/// Those of a PEM file that can be read: a few that cannot are no reason to do without the others.
fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_file_iter(file).with_context(|| format!("{} cannot be read", file.display()))?;
    Ok(all.filter_map(Result::ok).collect())
}

fn roots(certificates: &[CertificateDer<'static>], file: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(certificates.iter().cloned());
    ensure!(taken > 0, "{} has no certificate that can be used", file.display());
    Ok(roots)
}

/// Believes servers whose certificate is in a file, or was signed by one of the file. The first is
/// what a server with a certificate of its own making needs: such a one often calls itself an
/// authority, and no authority may be a server.
#[derive(Debug)]
struct Named {
    own: Vec<CertificateDer<'static>>,
    signed: Arc<WebPkiServerVerifier>,
}

impl Named {
    fn read(file: &Path, provider: Arc<CryptoProvider>) -> anyhow::Result<Named> {
        let own = certificates(file)?;
        let roots = Arc::new(roots(&own, file)?);
        Ok(Named { own, signed: WebPkiServerVerifier::builder_with_provider(roots, provider).build()? })
    }
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.own.contains(certificate) {
            return Ok(ServerCertVerified::assertion());
        }
        self.signed.verify_server_cert(certificate, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}

/// Accepts every server certificate. The server's signature must still fit the certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

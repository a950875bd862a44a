//! A certificate authority of this process and one server identity under it, good for `localhost` and 127.0.0.1.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use sha2::{Digest as _, Sha256};

/// What a test server shows, and what a client has to trust.
pub struct Identity {
    /// The authority, PEM.
    pub ca_pem: String,
    /// The server's certificate, PEM.
    pub cert_pem: String,
    /// Its key, PKCS 8 PEM.
    pub key_pem: String,
    /// SHA-256 of the server's certificate (DER), hex: what `--tls-pin sha256:` takes.
    pub pin: String,
    ca_file: PathBuf,
}

impl Identity {
    fn for_names(names: &[&str]) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        ca.distinguished_name.push(DnType::CommonName, "mailhaul test authority");
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        leaf.use_authority_key_identifier_extension = true;
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.distinguished_name.push(DnType::CommonName, names[0]);
        let cert = leaf.signed_by(&key, &issuer).unwrap();
        let pin = Sha256::digest(cert.der()).iter().map(|byte| format!("{byte:02x}")).collect();
        let ca_file = keep_file(&ca_pem);
        Self { ca_pem, cert_pem: cert.pem(), key_pem: key.serialize_pem(), pin, ca_file }
    }

    /// An identity for other names than `localhost` under an authority of its own.
    pub fn of(names: &[&str]) -> Self {
        Self::for_names(names)
    }

    /// The authority as a PEM file, for `--ca-file`.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// The server side of TLS with this identity.
    pub fn acceptor(&self) -> native_tls::TlsAcceptor {
        let identity = native_tls::Identity::from_pkcs8(self.cert_pem.as_bytes(), self.key_pem.as_bytes()).unwrap();
        native_tls::TlsAcceptor::new(identity).unwrap()
    }

    /// A client that trusts this authority alone.
    pub fn connector(&self) -> native_tls::TlsConnector {
        native_tls::TlsConnector::builder()
            .disable_built_in_roots(true)
            .add_root_certificate(native_tls::Certificate::from_pem(self.ca_pem.as_bytes()).unwrap())
            .build()
            .unwrap()
    }
}

/// Writes the authority where it outlives this function; statics are never dropped, so files of dead processes are
/// removed at the next run.
fn keep_file(pem: &str) -> PathBuf {
    const PREFIX: &str = "mailhaul-ca-";
    let directory = std::env::temp_dir();
    for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|id| Path::new("/proc/self").exists() && !Path::new("/proc").join(id).exists()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    let prefix = format!("{PREFIX}{}-", std::process::id());
    let mut file = tempfile::Builder::new().prefix(&prefix).suffix(".pem").tempfile_in(directory).unwrap();
    file.write_all(pem.as_bytes()).unwrap();
    file.into_temp_path().keep().unwrap()
}

/// The identity all test servers of this process share.
pub fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| Identity::for_names(&["localhost", "127.0.0.1"]))
}

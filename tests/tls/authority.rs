//! Authorities and the certificates they sign.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SignatureAlgorithm,
};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

/// Who signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A certificate with its key.
pub struct Identity {
    /// The certificate.
    pub der: CertificateDer<'static>,
    /// The same as PEM.
    pub pem: String,
    /// Its key as PEM.
    pub key_pem: String,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        Self::signing_by(&rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// A new one that signs in a certain way.
    pub fn signing_by(algorithm: &'static SignatureAlgorithm) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut params = CertificateParams::default();
        let name = format!("authority {}", COUNT.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let certificate = params.self_signed(&key).expect("signs");
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// A certificate for a DNS name.
    pub fn sign(&self, name: &str) -> Identity {
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        self.sign_with(&params)
    }

    /// Its own certificate, as a server would show it that signs for itself.
    pub fn own(&self) -> Identity {
        Identity {
            der: self.der(),
            pem: self.pem(),
            key_pem: self.issuer.key().serialize_pem(),
        }
    }

    /// A certificate that ended long ago.
    pub fn sign_expired(&self, name: &str) -> Identity {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        self.sign_with(&params)
    }

    fn sign_with(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signs");
        Identity {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    /// Its own certificate.
    pub fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    /// The same as PEM.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }
}

/// The files of a service.
pub struct Files {
    folder: TempDir,
}

impl Files {
    /// Files with a certificate and its key.
    pub fn with(identity: &Identity) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Self { folder };
        files.replace(identity);
        files
    }

    /// Puts another certificate and its key in their place.
    pub fn replace(&self, identity: &Identity) {
        self.write("key.pem", &identity.key_pem);
        self.write("cert.pem", &identity.pem);
    }

    /// Puts a file in its place, whole.
    pub fn write(&self, name: &str, text: &str) -> String {
        let unfinished = self.path(&format!("{name}.new"));
        fs::write(&unfinished, text).expect("written");
        fs::rename(unfinished, self.path(name)).expect("renamed");
        self.name(name)
    }

    /// Where a file is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// The same as text.
    pub fn name(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Where they all are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The arguments that name certificate and key.
    pub fn arguments(&self) -> [String; 4] {
        [
            "--tls-cert".to_owned(),
            self.name("cert.pem"),
            "--tls-key".to_owned(),
            self.name("key.pem"),
        ]
    }
}

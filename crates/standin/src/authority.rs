//! A certificate authority of the stand-in's own, and a certificate for each host it plays.

use crate::StandinError;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::{
    collections::HashMap,
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Signs a certificate for every host that the stand-in plays.
pub(crate) struct Authority {
    file: PathBuf,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    hosts: Mutex<HashMap<String, Arc<ServerConfig>>>,
}

impl Authority {
    /// The authority kept in `dir` (`ca.pem`, `ca-key.pem`), which is made if it is not there.
    pub(crate) fn open(dir: &Path) -> Result<Self, StandinError> {
        let (file, key_file) = (dir.join("ca.pem"), dir.join("ca-key.pem"));
        // The issuer's name and key are all that signing needs, and the name is
        // always the same: the kept certificate itself need not be parsed.
        let params = ca_params()?;
        let (pem, key) = if file.exists() && key_file.exists() {
            let pem = std::fs::read_to_string(&file).map_err(|e| StandinError::file(&file, e))?;
            let key = std::fs::read_to_string(&key_file).map_err(|e| StandinError::file(&key_file, e))?;
            (pem, KeyPair::from_pem(&key)?)
        } else {
            let key = KeyPair::generate()?;
            let pem = params.self_signed(&key)?.pem();
            write(&key_file, 0o600, &key.serialize_pem())?;
            write(&file, 0o644, &pem)?;
            (pem, key)
        };
        Ok(Self { file, pem, issuer: Issuer::new(params, key), hosts: Mutex::default() })
    }

    /// The file that clients are told to trust.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// The content of [`Authority::file`].
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// What to serve TLS with as `host`, made once per host.
    pub(crate) fn server_config(&self, host: &str) -> Result<Arc<ServerConfig>, StandinError> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = hosts.get(host) {
            return Ok(config.clone());
        }
        let config = Arc::new(self.issue(host)?);
        hosts.insert(host.to_owned(), config.clone());
        Ok(config)
    }

    fn issue(&self, host: &str) -> Result<ServerConfig, StandinError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([host.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, host);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn ca_params() -> Result<CertificateParams, StandinError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "Polydev stand-in (for tests only)");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn write(path: &Path, mode: u32, text: &str) -> Result<(), StandinError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|e| StandinError::file(path, e))
}

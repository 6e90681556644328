//! Files of certificates and keys in PEM, of any bytes: unusable, or used without a panic.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{RootCertStore, ServerConfig};

use super::pair::{certificates_of, check_time};

/// A PEM file that is chain, key and roots at once.
pub(crate) fn certificates(input: &[u8]) {
    let path = Path::new("any.pem");
    let Ok(found) = certificates_of(path, input) else { return };
    assert!(!found.is_empty(), "no certificate, and no mistake");
    let mut roots = RootCertStore::empty();
    for certificate in &found {
        if let Ok(end) = check_time(path, certificate, 0) {
            assert!(check_time(path, certificate, end).is_err(), "valid at its end");
        }
        let _ = roots.add(certificate.clone());
    }
    let Ok(key) = PrivateKeyDer::from_pem_slice(input) else { return };
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    if let Ok(config) = config.with_safe_default_protocol_versions() {
        let _ = config.with_no_client_auth().with_single_cert(found, key);
    }
}

//! Whether the ports speak TLS, and with which certificate.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::load::Reader;

/// The certificate of the ports, and who must show one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// Where the certificate comes from.
    pub certificate: Certificate,
    /// The file with the roots of the certificates that clients must show.
    pub client_roots: Option<PathBuf>,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    /// Files that others look after: certificate and key.
    Files(PathBuf, PathBuf),
    /// One that the server makes, in this folder and for these names.
    SelfSigned(PathBuf, Vec<String>),
}

impl Reader<'_> {
    /// Reads what encrypts the ports; none where nothing does.
    pub(super) fn encryption(&mut self, data_dir: &Path, bind_addr: IpAddr) -> Option<Encryption> {
        let mut file = |name| Some(self.text(name)).filter(|path| !path.is_empty()).map(PathBuf::from);
        let (chain, key) = (file("TLS_CERT_FILE"), file("TLS_KEY_FILE"));
        let (folder, client_roots) = (file("TLS_CACHE_DIR"), file("TLS_CLIENT_CA_FILE"));
        let makes_one = self.flag("TLS_AUTO_SELFSIGNED");
        let hosts = self.list("TLS_SELFSIGNED_HOSTS");
        let certificate = match (chain, key) {
            (Some(_), Some(_)) if makes_one => {
                self.mistakes.push("TLS_AUTO_SELFSIGNED: TLS_CERT_FILE is set too; set one of them".into());
                None
            }
            (Some(chain), Some(key)) => Some(Certificate::Files(chain, key)),
            (None, None) if makes_one => {
                let folder = folder.unwrap_or_else(|| data_dir.join("tls"));
                Some(Certificate::SelfSigned(folder, names(hosts, bind_addr)))
            }
            (None, None) => None,
            (chain, _) => {
                let (set, missing) = match chain {
                    Some(_) => ("TLS_CERT_FILE", "TLS_KEY_FILE"),
                    None => ("TLS_KEY_FILE", "TLS_CERT_FILE"),
                };
                self.mistakes.push(format!("{set}: needs {missing} beside it"));
                None
            }
        };
        if certificate.is_none() && client_roots.is_some() {
            self.mistakes.push(
                "TLS_CLIENT_CA_FILE: clients show certificates over TLS only; set TLS_CERT_FILE and TLS_KEY_FILE".into(),
            );
        }
        Some(Encryption { certificate: certificate?, client_roots })
    }
}

/// What a certificate of our own is for: this machine, the address that is listened on, and `hosts`.
fn names(hosts: Vec<String>, bind_addr: IpAddr) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    if !bind_addr.is_unspecified() {
        names.push(bind_addr.to_string());
    }
    // Addresses have many spellings; the certificate has one.
    let plain = |host: String| match host.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => host.to_ascii_lowercase(),
    };
    names.extend(hosts.into_iter().map(plain));
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Environment};

    use super::*;

    fn load(pairs: &[(&str, &str)]) -> Result<Option<Encryption>, Vec<String>> {
        Config::load(&Environment::of_pairs(pairs.iter().copied())).map(|loaded| loaded.config.encryption)
    }

    #[test]
    fn a_certificate_has_a_key_and_one_origin() {
        let (chain, key, own) =
            (("TLS_CERT_FILE", "a.crt"), ("TLS_KEY_FILE", "a.key"), ("TLS_AUTO_SELFSIGNED", "true"));
        assert_eq!(load(&[]).unwrap(), None);
        let certificate = |pairs: &[(&str, &str)]| load(pairs).unwrap().unwrap().certificate;
        assert_eq!(certificate(&[chain, key]), Certificate::Files("a.crt".into(), "a.key".into()));
        let Certificate::SelfSigned(folder, names) = certificate(&[
            own,
            ("TLS_SELFSIGNED_HOSTS", "Obs.internal, 10.0.0.7,fd00:0:0:0:0:0:0:7"),
            ("DATA_DIR", "d"),
        ]) else {
            panic!("not its own");
        };
        assert_eq!(folder, Path::new("d/tls"));
        assert_eq!(names, ["10.0.0.7", "127.0.0.1", "::1", "fd00::7", "localhost", "obs.internal"]);
        for (pairs, wanted) in [
            (vec![chain], "TLS_CERT_FILE: needs TLS_KEY_FILE"),
            (vec![key], "TLS_KEY_FILE: needs TLS_CERT_FILE"),
            (vec![chain, key, own], "set one of them"),
            (vec![("TLS_CLIENT_CA_FILE", "ca.crt")], "over TLS only"),
        ] {
            assert!(load(&pairs).unwrap_err()[0].contains(wanted), "{pairs:?}");
        }
    }
}

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;

use super::selfsigned::VALID_SECONDS;
use super::*;

const NOW: i64 = 1_790_000_000;
const DAY: i64 = 86_400;

fn names() -> Vec<String> {
    ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into()
}

fn own(folder: &Path) -> Options {
    let source = Source::SelfSigned { folder: folder.to_owned(), names: names() };
    Options { source, client_roots: None }
}

/// A certificate for localhost that is valid from one moment to another, and its key.
fn made(folder: &Path, name: &str, (from, to): (i64, i64)) -> Options {
    let mut params = CertificateParams::new(names()).unwrap();
    let time = |at| OffsetDateTime::from_unix_timestamp(at).unwrap();
    (params.not_before, params.not_after) = (time(from), time(to));
    let pair = KeyPair::generate().unwrap();
    let (chain, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    fs::write(&chain, params.self_signed(&pair).unwrap().pem()).unwrap();
    fs::write(&key, pair.serialize_pem()).unwrap();
    Options { source: Source::Files { chain, key }, client_roots: None }
}

fn files(options: &Options) -> (&Path, &Path) {
    let Source::Files { chain, key } = &options.source else { panic!("not of files") };
    (chain, key)
}

#[test]
fn h3_an_own_certificate_is_kept_and_renewed_with_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("tls");
    let read =
        || (fs::read(folder.join("server.crt")).unwrap(), fs::read(folder.join("server.key")).unwrap());
    let first = Encryption::open(own(&folder), NOW).unwrap();
    assert!(first.expires() - NOW <= VALID_SECONDS && first.expires() - NOW > 390 * DAY);
    let (certificate, key) = read();
    // A restart, at once and after a year less a month.
    for later in [0, DAY, 360 * DAY] {
        Encryption::open(own(&folder), NOW + later).unwrap();
        assert_eq!(read(), (certificate.clone(), key.clone()), "{later}");
    }
    assert!(matches!(first.refresh(NOW + DAY), Refreshed::Unchanged));
    // While it runs.
    let due = first.expires() - 29 * DAY;
    let Refreshed::Replaced { expires } = first.refresh(due) else { panic!("not renewed") };
    assert!(expires > due + 390 * DAY && first.expires() == expires);
    let (renewed, same) = read();
    assert!(renewed != certificate && same == key, "clients that know the key know it still");
    // Other names.
    let more = vec!["localhost".to_owned(), "obs.internal".to_owned()];
    let source = Source::SelfSigned { folder: folder.clone(), names: more };
    Encryption::open(Options { source, client_roots: None }, due).unwrap();
    assert!(read().0 != renewed);
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("server.key"))), (0o700, 0o600));
}

#[test]
fn h2_what_cannot_be_used_now_is_refused_and_never_replaces_what_can() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path();
    let good = made(folder, "good", (NOW - DAY, NOW + 90 * DAY));
    let open = |options: &Options| Encryption::open(options.clone(), NOW);
    let (chain, key) = files(&good);
    let (chain_text, key_text) = (fs::read(chain).unwrap(), fs::read(key).unwrap());
    let encryption = open(&good).unwrap();
    let other = made(folder, "other", (NOW - DAY, NOW + 60 * DAY));
    let (other_chain, other_key) = files(&other);
    let stale = made(folder, "stale", (NOW - 9 * DAY, NOW - 1));
    let early = made(folder, "early", (NOW + 1, NOW + DAY));
    for (bad, wanted) in [(&stale, "the certificate ended"), (&early, "the certificate begins")] {
        assert!(open(bad).unwrap_err().to_string().contains(wanted));
    }
    let read = |path: &Path| fs::read(path).unwrap();
    let bad: [(Vec<u8>, Vec<u8>, &str); 6] = [
        (read(other_chain), key_text.clone(), "another's key"),
        (chain_text.clone(), read(other_key), "another's certificate"),
        (read(files(&stale).0), read(files(&stale).1), "one that has ended"),
        (chain_text[..chain_text.len() / 2].to_vec(), key_text.clone(), "half a certificate"),
        (chain_text.clone(), Vec::new(), "an empty key"),
        (b"not PEM".to_vec(), key_text.clone(), "noise"),
    ];
    for (chain_bytes, key_bytes, case) in bad {
        fs::write(chain, chain_bytes).unwrap();
        fs::write(key, key_bytes).unwrap();
        assert!(open(&good).is_err(), "{case}");
        assert!(matches!(encryption.refresh(NOW), Refreshed::Failed(_)), "{case}");
        assert_eq!(encryption.expires(), NOW + 90 * DAY, "{case}");
    }
    fs::remove_file(chain).unwrap();
    assert!(matches!(open(&good), Err(Error::File { .. })));
    assert!(matches!(encryption.refresh(NOW), Refreshed::Failed(Error::File { .. })));
    fs::copy(other_chain, chain).unwrap();
    fs::copy(other_key, key).unwrap();
    let Refreshed::Replaced { expires } = encryption.refresh(NOW) else { panic!("not replaced") };
    assert_eq!(expires, NOW + 60 * DAY);
    assert!(matches!(encryption.refresh(NOW), Refreshed::Unchanged));
    assert_eq!((encryption.reloads()[0], encryption.reloads()[1]), (1, 7));
}

#[test]
fn a_look_tells_what_a_start_would_use_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("tls");
    let look = |options: &Options| Encryption::look(options, NOW);
    assert_eq!(look(&own(&folder)).unwrap(), None);
    assert!(!folder.exists(), "nothing is made");
    let opened = Encryption::open(own(&folder), NOW).unwrap();
    assert_eq!(look(&own(&folder)).unwrap(), Some(opened.expires()));
    let before = fs::read(folder.join("server.crt")).unwrap();
    assert_eq!(Encryption::look(&own(&folder), opened.expires() - 29 * DAY).unwrap(), None, "due");
    assert_eq!(fs::read(folder.join("server.crt")).unwrap(), before, "nothing is renewed");
    fs::write(folder.join("server.key"), "not PEM").unwrap();
    assert!(Encryption::look(&own(&folder), opened.expires() - 29 * DAY).is_err());
    let good = made(directory.path(), "good", (NOW - DAY, NOW + 9 * DAY));
    assert_eq!(look(&good).unwrap(), Some(NOW + 9 * DAY));
    let stale = made(directory.path(), "stale", (NOW - 9 * DAY, NOW - 1));
    assert!(look(&stale).unwrap_err().to_string().contains("the certificate ended"));
    let strangers =
        Options { client_roots: Some("missing.crt".into()), ..own(&directory.path().join("other")) };
    assert!(matches!(look(&strangers), Err(Error::File { .. })));
}

/// Shakes hands with `encryption` as a client that believes `roots` and shows `identity`; true where a byte comes through.
async fn shakes(encryption: &Encryption, roots: &Path, identity: Option<(&Path, &Path)>) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = async {
        let (stream, _) = listener.accept().await.unwrap();
        let shaken = encryption.accept(stream, Duration::from_secs(30)).await;
        if let Some(mut stream) = shaken {
            use tokio::io::AsyncWriteExt;
            let _ = stream.write_all(b"!").await;
            let _ = stream.shutdown().await;
        }
    };
    let connecting = async {
        let mut store = RootCertStore::empty();
        store.add(CertificateDer::from_pem_file(roots).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(store);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = CertificateDer::pem_file_iter(chain).unwrap().map(Result::unwrap).collect();
                config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
            }
        };
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let Ok(mut stream) = TlsConnector::from(Arc::new(config)).connect(name, stream).await else {
            return false;
        };
        use tokio::io::AsyncReadExt;
        let mut byte = [0];
        stream.read_exact(&mut byte).await.is_ok()
    };
    tokio::join!(accepting, connecting).1
}

/// A root and a certificate that it signed, in files.
fn signed_by_a_root(folder: &Path, name: &str) -> [std::path::PathBuf; 3] {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let pair = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["client".to_owned()]).unwrap().signed_by(&pair, &root).unwrap();
    let paths = ["root.crt", "crt", "key"].map(|end| folder.join(format!("{name}.{end}")));
    for (path, text) in paths.iter().zip([root.pem(), leaf.pem(), pair.serialize_pem()]) {
        fs::write(path, text).unwrap();
    }
    paths
}

#[tokio::test]
async fn h5_clients_show_a_certificate_where_one_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path();
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let [root, chain, key] = signed_by_a_root(folder, "known");
    let [_, strange_chain, strange_key] = signed_by_a_root(folder, "strange");
    let crt = folder.join("server.crt");
    let open = Encryption::open(own(folder), now).unwrap();
    assert!(shakes(&open, &crt, None).await);
    assert!(!shakes(&open, &root, None).await, "a client that does not believe the certificate");
    let closed = Encryption::open(Options { client_roots: Some(root), ..own(folder) }, now).unwrap();
    assert!(shakes(&closed, &crt, Some((&chain, &key))).await);
    assert!(!shakes(&closed, &crt, None).await);
    assert!(!shakes(&closed, &crt, Some((&strange_chain, &strange_key))).await);
    assert_eq!(closed.handshakes()[0], 1);
    assert!(closed.handshakes()[1] >= 2);
}

//! A certificate that the server makes for itself, keeps, and renews before it ends.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Error;
use super::pair::certificates;

const DAY: i64 = 86_400;
/// How long one is valid: what browsers accept at most is 398 days.
pub(super) const VALID_SECONDS: i64 = 397 * DAY;
/// How long before its end it is renewed.
const RENEWED: i64 = 30 * DAY;
/// How far the clocks of clients may be behind.
const BEFORE: i64 = 3_600;

/// The files of the certificate and its key in `folder`, made or renewed where that is due. The key stays the same.
pub(super) fn keep(folder: &Path, names: &[String], now: i64) -> Result<(PathBuf, PathBuf), Error> {
    let (chain, key) = files(folder);
    if is_good(&chain, names, now) && key.exists() {
        return Ok((chain, key));
    }
    make_private(folder).map_err(failed(folder))?;
    let pair = match read_key(&key)? {
        Some(pair) => pair,
        None => {
            let pair = KeyPair::generate().map_err(unusable)?;
            write(folder, &key, &pair.serialize_pem(), 0o600).map_err(failed(&key))?;
            pair
        }
    };
    let text = signed(&pair, names, now)?;
    write(folder, &chain, &text, 0o644).map_err(failed(&chain))?;
    Ok((chain, key))
}

/// The files that [`keep`] would leave as they are; none where it would make or renew the certificate. Writes nothing.
pub(super) fn kept(folder: &Path, names: &[String], now: i64) -> Result<Option<(PathBuf, PathBuf)>, Error> {
    let (chain, key) = files(folder);
    if is_good(&chain, names, now) && key.exists() {
        return Ok(Some((chain, key)));
    }
    read_key(&key).map(|_| None)
}

fn files(folder: &Path) -> (PathBuf, PathBuf) {
    (folder.join("server.crt"), folder.join("server.key"))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

/// The key in a file; none where there is no file.
fn read_key(path: &Path) -> Result<Option<KeyPair>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => KeyPair::from_pem(&text)
            .map(Some)
            .map_err(|error| Error::Content { path: path.to_owned(), what: error.to_string() }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

fn unusable(error: rcgen::Error) -> Error {
    Error::Unusable(error.to_string())
}

/// A certificate of `pair` in PEM (P-256).
fn signed(pair: &KeyPair, names: &[String], now: i64) -> Result<String, Error> {
    let mut params = CertificateParams::new(names).map_err(unusable)?;
    let time = |at: i64| OffsetDateTime::from_unix_timestamp(at).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    (params.not_before, params.not_after) = (time(now - BEFORE), time(now - BEFORE + VALID_SECONDS));
    params.distinguished_name.push(DnType::CommonName, "otelcontext");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params.self_signed(pair).map_err(unusable)?.pem())
}

/// Whether the certificate of a file is for `names`, and will be for a while.
fn is_good(path: &Path, names: &[String], now: i64) -> bool {
    let Ok(found) = certificates(path) else { return false };
    let Ok((_, parsed)) = X509Certificate::from_der(&found[0]) else { return false };
    let validity = parsed.validity();
    let lasts = validity.not_before.timestamp() <= now && now < validity.not_after.timestamp() - RENEWED;
    let wanted: BTreeSet<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    lasts && names_of(&parsed) == wanted
}

fn names_of(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return BTreeSet::new() };
    let named = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => {
            let short = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            short.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        _ => None,
    });
    named.collect()
}

fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Writes a file whole or not at all.
fn write(folder: &Path, path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let beside = path.with_extension("part");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let mut file = options.open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

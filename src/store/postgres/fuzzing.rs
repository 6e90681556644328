//! Connection strings of any text: understood, or refused without telling a password.

use super::dsn::{Dsn, HOSTS_MAX, Secret};

/// Bytes of a password that is looked for where it must not be: a shorter one stands in other words by chance.
const PASSWORD_BYTES_MIN: usize = 8;

/// A connection string, and a URL whose password it is.
pub(crate) fn dsn(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(dsn) = Dsn::parse(text) {
        assert!((1..=HOSTS_MAX).contains(&dsn.hosts.len()), "{} hosts", dsn.hosts.len());
        let shown = format!("{dsn:?}");
        let is_told = |Secret(password): &Secret| {
            let others = Dsn { password: None, ..dsn.clone() };
            shown.contains(password.as_str()) && !format!("{others:?}").contains(password.as_str())
        };
        assert!(!dsn.password.as_ref().is_some_and(|password| !password.0.is_empty() && is_told(password)));
    }
    let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for known in ["host=db user=u password=", "postgres://u@db/d?password="] {
        let (given, is_url) =
            if known.contains("://") { (escaped.clone(), true) } else { (quoted(text), false) };
        let with = format!("{known}{given}");
        match Dsn::parse(&with) {
            Ok(dsn) => {
                let password = dsn.password.map(|password| password.0).unwrap_or_default();
                assert_eq!(password, text, "as it was given");
            }
            // A sign that nobody can write, or too much of it.
            Err(mistake) => {
                let told = mistake.to_string();
                let is_told = text.len() >= PASSWORD_BYTES_MIN && told.contains(text);
                assert!(!is_told, "a password is told: {told}");
                assert!(with.len() > 1 << 14 || text.contains('\0') || is_url && text.is_empty(), "{told}");
            }
        }
    }
}

/// In single quotes, as libpq reads them.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

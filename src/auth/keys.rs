//! The keys that are bound to tenants, as the key file lists them.
//!
//! The file is one JSON object: `{"keys": [{"id", "sha256", "tenant", "scopes", "expires"}]}`. It holds digests, no keys.
//! A request's key is looked for by its digest, which tells nothing about the key, and compared to its last byte.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;

use super::key::Digest;
use super::rights::{Right, Rights};

/// Keys of one file, at most.
pub(super) const KEYS_MAX: usize = 100_000;
/// Longest id of a key, in bytes.
const ID_BYTES_MAX: usize = 128;
const FIELDS: [&str; 5] = ["id", "sha256", "tenant", "scopes", "expires"];

/// A key that is bound to a tenant.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name, for lists and logs.
    pub id: Arc<str>,
    /// The only tenant that it opens.
    pub tenant: TenantId,
    /// What it may do there.
    pub rights: Rights,
    /// From when on it opens nothing.
    pub expires: Option<UnixNanos>,
    digest: Digest,
}

/// The keys of a file.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    in_order: Vec<Key>,
    ids: HashSet<Arc<str>>,
    by_digest: HashMap<[u8; 32], usize>,
}

/// Why a text is no list of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

impl Unreadable {
    fn new(what: impl Display) -> Self {
        Self(what.to_string())
    }
}

impl Key {
    /// A key of `tenant`, of which only the digest is kept.
    ///
    /// # Errors
    /// When `id` is no plain name.
    pub fn new(
        id: &str,
        secret: &str,
        tenant: TenantId,
        rights: Rights,
        expires: Option<UnixNanos>,
    ) -> Result<Self, Unreadable> {
        let id = name(id).map_err(Unreadable)?;
        Ok(Self { id, tenant, rights, expires, digest: Digest::of(secret.as_bytes()) })
    }

    /// Whether it opens nothing any more.
    pub fn is_expired(&self, now: UnixNanos) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

impl Keys {
    /// Reads the text of a key file.
    ///
    /// # Errors
    /// With the place and the remedy, when anything in it is not understood: half of the keys are worse than none.
    pub fn read(text: &str) -> Result<Self, Unreadable> {
        let root: Value = serde_json::from_str(text).map_err(Unreadable::new)?;
        let listed = root.as_object().filter(|root| root.len() == 1).and_then(|root| root.get("keys"));
        let Some(listed) = listed.and_then(Value::as_array) else {
            return Err(Unreadable::new(
                "is not {\"keys\": [...]}; `otelcontext keys new` writes it, and takes over an existing key with --stdin",
            ));
        };
        let mut keys = Self::default();
        for (index, entry) in listed.iter().enumerate() {
            let at = |what: String| Unreadable(format!("key {}: {what}", index + 1));
            let entry = entry.as_object().ok_or_else(|| at("is not an object".into()))?;
            keys.add(key(entry).map_err(at)?).map_err(|error| at(error.0))?;
        }
        Ok(keys)
    }

    /// The text of a file with these keys.
    pub fn text(&self) -> String {
        let entry = |key: &Key| {
            let mut entry = json!({
                "id": *key.id,
                "sha256": key.digest.to_hex(),
                "tenant": key.tenant.as_str(),
                "scopes": key.rights.names().collect::<Vec<_>>(),
            });
            if let Some(expires) = key.expires.and_then(|at| Timestamp::from_nanosecond(at.0.into()).ok()) {
                entry["expires"] = json!(expires.to_string());
            }
            entry
        };
        format!("{:#}\n", json!({ "keys": self.in_order.iter().map(entry).collect::<Vec<_>>() }))
    }

    /// Adds a key.
    ///
    /// # Errors
    /// When its id or the key itself is there already, or there are [`KEYS_MAX`].
    pub fn add(&mut self, key: Key) -> Result<(), Unreadable> {
        if self.ids.contains(&key.id) {
            return Err(Unreadable(format!("the id `{}` is there already", key.id)));
        }
        if self.in_order.len() == KEYS_MAX {
            return Err(Unreadable(format!("there are more than {KEYS_MAX} keys")));
        }
        if let Some(other) = self.find(&key.digest) {
            return Err(Unreadable(format!("`{}` and `{}` are the same key", key.id, other.id)));
        }
        self.ids.insert(Arc::clone(&key.id));
        self.by_digest.insert(key.digest.0, self.in_order.len());
        self.in_order.push(key);
        Ok(())
    }

    /// Removes the key `id`; false where there is none.
    pub fn remove(&mut self, id: &str) -> bool {
        self.in_order.retain(|key| *key.id != *id);
        self.by_digest = self.in_order.iter().enumerate().map(|(at, key)| (key.digest.0, at)).collect();
        self.ids.remove(id)
    }

    /// All keys, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.in_order.iter()
    }

    /// The key with this digest.
    pub(super) fn find(&self, digest: &Digest) -> Option<&Key> {
        let key = self.by_digest.get(&digest.0).and_then(|at| self.in_order.get(*at))?;
        key.digest.is(digest).then_some(key)
    }
}

fn key(entry: &Map<String, Value>) -> Result<Key, String> {
    if let Some(field) = entry.keys().find(|field| !FIELDS.contains(&field.as_str())) {
        return Err(format!("the field `{}` is not one of {}", field.escape_debug(), FIELDS.join(", ")));
    }
    let text = |field: &str| match entry.get(field).map(Value::as_str) {
        Some(Some(text)) => Ok(text),
        Some(None) => Err(format!("{field} is not a text")),
        None => Err(format!("{field} is missing")),
    };
    let digest = Digest::from_hex(text("sha256")?);
    let tenant = TenantId::try_from(text("tenant")?).map_err(|error| format!("tenant: {error}"))?;
    let expires = match entry.get("expires") {
        None | Some(Value::Null) => None,
        Some(_) => Some(moment(text("expires")?)?),
    };
    Ok(Key {
        id: name(text("id")?)?,
        digest: digest.ok_or("sha256 is not 64 hexadecimal digits, the SHA-256 of the key")?,
        tenant,
        rights: rights(entry.get("scopes"))?,
        expires,
    })
}

fn name(id: &str) -> Result<Arc<str>, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte);
    if (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_plain) {
        return Ok(id.into());
    }
    Err(format!("id: has 1 to {ID_BYTES_MAX} characters of A-Z a-z 0-9 . _ : @ -"))
}

fn rights(scopes: Option<&Value>) -> Result<Rights, String> {
    let names = scopes.and_then(Value::as_array).ok_or("scopes is not a list of ingest, read, admin")?;
    let mut seen = HashSet::new();
    for name in names {
        let right = name.as_str().and_then(Right::named);
        seen.insert(right.ok_or_else(|| format!("scopes: {name} is not one of ingest, read, admin"))?);
    }
    match seen.is_empty() {
        true => Err("scopes is empty: the key could do nothing".into()),
        false => Ok(seen.into_iter().collect()),
    }
}

fn moment(text: &str) -> Result<UnixNanos, String> {
    let timestamp: Timestamp =
        text.parse().map_err(|_| "expires is not a time such as 2027-01-31T00:00:00Z".to_owned())?;
    i64::try_from(timestamp.as_nanosecond()).map(UnixNanos).map_err(|_| "expires is beyond 2262".into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};

    use super::*;

    fn entry(change: impl Fn(&mut Value)) -> String {
        let mut entry = json!({
            "id": "ci", "sha256": "ab".repeat(32), "tenant": "shop", "scopes": ["ingest"], "expires": "2030-01-01T00:00:00Z"
        });
        change(&mut entry);
        json!({ "keys": [entry] }).to_string()
    }

    #[test]
    fn a_file_says_what_is_wrong_with_it() {
        assert_eq!(Keys::read(&entry(|_| ())).unwrap().iter().count(), 1);
        type Change = fn(&mut Value);
        let cases: [(Change, &str); 12] = [
            (|entry| entry["id"] = json!(""), "key 1: id: has 1 to"),
            (|entry| entry["id"] = json!("a b"), "key 1: id: has 1 to"),
            (|entry| entry["sha256"] = json!("ab"), "sha256 is not 64"),
            (|entry| entry["sha256"] = json!("zz".repeat(32)), "sha256 is not 64"),
            (|entry| entry["sha256"] = json!(7), "sha256 is not a text"),
            (|entry| entry["tenant"] = json!(".."), "tenant: a tenant name"),
            (|entry| entry["scopes"] = json!("read"), "scopes is not a list"),
            (|entry| entry["scopes"] = json!([]), "scopes is empty"),
            (|entry| entry["scopes"] = json!(["write"]), "\"write\" is not one of ingest, read, admin"),
            (|entry| entry["expires"] = json!("tomorrow"), "expires is not a time"),
            (|entry| entry["expires"] = json!("9999-01-01T00:00:00Z"), "expires is beyond 2262"),
            (|entry| entry["key"] = json!("secret"), "the field `key` is not one of id, sha256"),
        ];
        for (change, wanted) in cases {
            let error = Keys::read(&entry(change)).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
        for text in ["", "[]", "{}", r#"{"a-key":"a-tenant"}"#, r#"{"keys":{}}"#, r#"{"keys":[],"more":1}"#] {
            assert!(Keys::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_id_and_no_key_is_there_twice() {
        let tenant = || TenantId::try_from("shop").unwrap();
        let key = |id: &str, secret: &str| Key::new(id, secret, tenant(), Rights::ALL, None).unwrap();
        let mut keys = Keys::default();
        keys.add(key("a", "1")).unwrap();
        assert_eq!(keys.add(key("a", "2")).unwrap_err().to_string(), "the id `a` is there already");
        assert_eq!(keys.add(key("b", "1")).unwrap_err().to_string(), "`b` and `a` are the same key");
        assert!(keys.remove("a") && !keys.remove("a"));
        assert!(keys.find(&Digest::of(b"1")).is_none());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(
            ids in proptest::collection::hash_set("[A-Za-z0-9._:@-]{1,20}", 0..20),
            expires in proptest::option::of(0..i64::MAX),
            bits in any::<u8>(),
        ) {
            let mut keys = Keys::default();
            for id in &ids {
                let rights = [Right::Ingest, Right::Read, Right::Admin];
                let rights = rights.into_iter().enumerate().filter(|(at, _)| *at == 0 || bits >> at & 1 == 1);
                let rights = rights.map(|(_, right)| right).collect();
                let tenant = TenantId::try_from(format!("t-{id}").as_str()).unwrap();
                keys.add(Key::new(id, id, tenant, rights, expires.map(UnixNanos)).unwrap()).unwrap();
            }
            let again = Keys::read(&keys.text()).unwrap();
            prop_assert!(again.text() == keys.text());
            for id in &ids {
                let found = again.find(&Digest::of(id.as_bytes())).unwrap();
                prop_assert!(*found.id == **id && found.expires == expires.map(UnixNanos));
            }
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,200}") {
            let _ = Keys::read(&text);
        }
    }
}

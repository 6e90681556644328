//! Who is let in.

use std::net::IpAddr;
use std::path::PathBuf;

use http::HeaderName;
use ipnet::IpNet;

use super::load::Reader;
use super::storage::{Driver, Storage};

/// Keys beside the operator's, and who vouches for callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The file with the keys that are bound to tenants.
    pub key_file: Option<PathBuf>,
    /// The proxies that vouch for callers.
    pub external: Option<External>,
    /// Questions of one key each second; 0 for any number.
    pub questions_per_second: u32,
}

/// Proxies whose word is taken for who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// Their addresses.
    pub proxies: Vec<IpNet>,
    /// The header in which they name the caller.
    pub header: HeaderName,
}

impl Reader<'_> {
    /// Reads who is let in; refuses a server that lets everybody in where that is not meant.
    pub(super) fn access(&mut self, production: bool, bind_addr: IpAddr, has_api_key: bool) -> Access {
        let key_file = Some(self.text("API_TENANT_KEYS_FILE")).filter(|path| !path.is_empty());
        let access = Access {
            key_file: key_file.map(PathBuf::from),
            external: self.external(),
            questions_per_second: self.number("API_RATE_LIMIT_RPS", 0, 1_000_000) as u32,
        };
        let asks = has_api_key || access.key_file.is_some() || access.external.is_some();
        let allows_all = self.flag("OTELCONTEXT_ALLOW_INSECURE");
        if !bind_addr.is_loopback() && !asks && !allows_all {
            self.mistakes.push(
                "BIND_ADDR: listening beyond loopback needs API_KEY or API_TENANT_KEYS_FILE, or \
                 OTELCONTEXT_ALLOW_INSECURE=true"
                    .into(),
            );
        }
        if production && !asks && !allows_all {
            self.mistakes
                .push("API_KEY: must be set when APP_ENV=production, or API_TENANT_KEYS_FILE".into());
        }
        access
    }

    /// What production does not take, or should know of the database, the address of the ports and whether they are encrypted.
    pub(super) fn look_at_production(
        &mut self,
        production: bool,
        storage: &Storage,
        (bind_addr, is_encrypted): (IpAddr, bool),
    ) {
        let allows_sqlite = self.flag("OTELCONTEXT_ALLOW_SQLITE_PROD");
        if !production {
            return;
        }
        if storage.driver == Driver::Sqlite && !allows_sqlite {
            self.mistakes.push(
                "DB_DRIVER: sqlite has one writer; APP_ENV=production accepts it with \
                 OTELCONTEXT_ALLOW_SQLITE_PROD=true"
                    .into(),
            );
        }
        if !bind_addr.is_loopback() && !is_encrypted {
            self.warnings.push(
                "APP_ENV=production: the ports speak plain text beyond loopback, and keys and telemetry can be read on the \
                 way: set TLS_CERT_FILE and TLS_KEY_FILE, or have a proxy in front speak TLS"
                    .into(),
            );
        }
    }

    fn external(&mut self) -> Option<External> {
        const PROXIES: &str = "AUTH_TRUSTED_PROXIES";
        let trusts = self.flag("AUTH_TRUST_EXTERNAL");
        let named = self.list(PROXIES);
        let header = self.text("AUTH_EXTERNAL_HEADER");
        let mut proxies = Vec::new();
        for name in &named {
            match name.parse::<IpNet>().or_else(|_| name.parse::<IpAddr>().map(IpNet::from)) {
                Ok(net) => proxies.push(net),
                Err(_) => {
                    self.mistake(PROXIES, name, &"is not an address or network such as 10.0.0.0/8");
                }
            }
        }
        let header = HeaderName::try_from(header.as_str())
            .map_err(|_| self.mistake("AUTH_EXTERNAL_HEADER", &header, &"is not the name of a header"));
        if trusts && named.is_empty() {
            self.mistakes.push(format!(
                "AUTH_TRUST_EXTERNAL: needs {PROXIES}, the addresses that may vouch for callers"
            ));
        }
        Some(External { proxies, header: header.ok()? }).filter(|_| trusts)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Environment};

    use super::*;

    fn load(pairs: &[(&str, &str)]) -> Result<Access, Vec<String>> {
        Config::load(&Environment::of_pairs(pairs.iter().copied())).map(|loaded| loaded.config.access)
    }

    #[test]
    fn only_named_proxies_vouch() {
        let trusting = ("AUTH_TRUST_EXTERNAL", "true");
        let access = load(&[trusting, ("AUTH_TRUSTED_PROXIES", "10.0.0.0/8, ::1,192.168.1.7")]).unwrap();
        let external = access.external.unwrap();
        assert_eq!(external.proxies.len(), 3);
        assert_eq!(external.header, "x-forwarded-user");
        assert!(load(&[trusting]).unwrap_err()[0].contains("needs AUTH_TRUSTED_PROXIES"));
        assert!(
            load(&[trusting, ("AUTH_TRUSTED_PROXIES", "proxy.local")]).unwrap_err()[0]
                .contains("is not an address")
        );
        let named = [trusting, ("AUTH_TRUSTED_PROXIES", "::1"), ("AUTH_EXTERNAL_HEADER", "a b")];
        assert!(load(&named).unwrap_err()[0].contains("is not the name of a header"));
        assert_eq!(load(&[("AUTH_TRUSTED_PROXIES", "::1")]).unwrap().external, None);
    }

    #[test]
    fn keys_of_tenants_close_the_doors_too() {
        let open = [("BIND_ADDR", "0.0.0.0")];
        assert_eq!(load(&open).unwrap_err().len(), 1);
        let bound = [("BIND_ADDR", "0.0.0.0"), ("API_TENANT_KEYS_FILE", "/run/keys.json")];
        assert_eq!(load(&bound).unwrap().key_file, Some(PathBuf::from("/run/keys.json")));
        let vouched = [open[0], ("AUTH_TRUST_EXTERNAL", "true"), ("AUTH_TRUSTED_PROXIES", "10.0.0.1")];
        assert!(load(&vouched).is_ok());
        let production = [("APP_ENV", "production"), ("OTELCONTEXT_ALLOW_SQLITE_PROD", "true")];
        assert_eq!(load(&production).unwrap_err().len(), 1);
        assert!(load(&[production[0], production[1], bound[1]]).is_ok());
    }
    #[test]
    fn production_is_warned_of_plain_text_beyond_this_machine() {
        let warnings = |more: &[(&str, &str)]| {
            let safe =
                [("APP_ENV", "production"), ("API_KEY", "k"), ("OTELCONTEXT_ALLOW_SQLITE_PROD", "true")];
            let pairs = safe.into_iter().chain(more.iter().copied());
            let loaded = Config::load(&Environment::of_pairs(pairs));
            loaded.unwrap_or_else(|mistakes| panic!("{mistakes:?}")).warnings
        };
        let beyond = ("BIND_ADDR", "0.0.0.0");
        let told = warnings(&[beyond]);
        assert!(told.len() == 1 && told[0].contains("plain text"), "{told:?}");
        assert!(warnings(&[]).is_empty());
        assert!(warnings(&[beyond, ("TLS_AUTO_SELFSIGNED", "true")]).is_empty());
        assert!(warnings(&[beyond, ("APP_ENV", "development")]).is_empty());
    }
}

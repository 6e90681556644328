//! Where spans of our own go.

use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::load::Reader;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const SERVICE: &str = "OTEL_SERVICE_NAME";

/// Longest name of a service, in bytes.
const SERVICE_BYTES_MAX: usize = 255;
/// Headers of one export.
const HEADERS_MAX: usize = 32;

/// Where spans of our own go, and in whose name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnSpans {
    /// The target: `http://` or `https://`, a host, and perhaps a port.
    pub endpoint: String,
    /// Headers of each export.
    pub headers: HeaderMap,
    /// `service.name` of the spans.
    pub service: String,
}

impl Reader<'_> {
    /// Reads where spans of our own go; none where they are not made.
    pub(super) fn own_spans(&mut self) -> Option<OwnSpans> {
        let endpoint = self.endpoint();
        let headers = self.headers();
        let service = self.text(SERVICE);
        if SERVICE_BYTES_MAX < service.len() || service.chars().any(char::is_control) {
            self.mistake(SERVICE, &service, &format!("is not a name of 1 to {SERVICE_BYTES_MAX} bytes"));
        }
        Some(OwnSpans { endpoint: endpoint?, headers, service })
    }

    fn endpoint(&mut self) -> Option<String> {
        let value = self.text(ENDPOINT);
        let text = value.trim();
        if text.is_empty() {
            return None;
        }
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let address = whole.parse::<Uri>().ok().filter(|address| {
            let is_plain = !whole.contains(['@', '?', '#']) && matches!(address.path(), "" | "/");
            is_plain && matches!(address.scheme_str(), Some("http" | "https"))
        });
        let is_place = |authority: &&Authority| {
            let host = authority.host();
            !host.is_empty() && (authority.port_u16().is_some() || authority.as_str() == host)
        };
        match address.as_ref().and_then(Uri::authority).filter(is_place) {
            Some(authority) => {
                let scheme = address.as_ref().and_then(Uri::scheme_str).unwrap_or("http");
                Some(format!("{scheme}://{authority}"))
            }
            // A password may stand in it, so it is not repeated.
            None => {
                self.mistakes.push(format!(
                    "{ENDPOINT}: is not the address of an OTLP/gRPC receiver such as http://localhost:4317, without \
                     user, path or query"
                ));
                None
            }
        }
    }

    /// The headers, as pairs of name and value with %XX for what cannot stand there. Values are secrets and are told in no
    /// mistake, nor are names, which may be values that were put at the wrong place.
    fn headers(&mut self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let Some(text) = self.secret(HEADERS) else { return headers };
        let pairs = text.split(',').map(str::trim).enumerate().filter(|(_, pair)| !pair.is_empty());
        for (index, pair) in pairs {
            match header(pair) {
                Some((name, value)) => {
                    headers.insert(name, value);
                }
                None => self.mistakes.push(format!(
                    "{HEADERS}: entry {} is not a header as name=value, with %XX for what cannot stand there",
                    index + 1
                )),
            }
        }
        if HEADERS_MAX < headers.len() {
            self.mistakes.push(format!(
                "{HEADERS}: holds {} headers; at most {HEADERS_MAX} are possible",
                headers.len()
            ));
        }
        headers
    }
}

fn header(pair: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = pair.split_once('=')?;
    let name = HeaderName::try_from(name.trim()).ok()?;
    // gRPC keeps these for itself, and carries bytes under names with that end.
    let is_reserved = name.as_str().starts_with("grpc-") || ["content-type", "te"].contains(&name.as_str());
    if is_reserved || name.as_str().ends_with("-bin") {
        return None;
    }
    let mut value = HeaderValue::from_bytes(&percent_decoded(value.trim())?).ok()?;
    // gRPC's texts are of visible ASCII and spaces.
    value.to_str().ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

/// Decodes %XX (RFC 3986, section 2.1), as W3C Baggage asks for values; none where it is cut short.
fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit =
                || char::from(bytes.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let (high, low) = (digit()?, digit()?);
            decoded.push(high * 16 + low);
        } else {
            decoded.push(byte);
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Environment};

    use super::*;

    fn load(pairs: &[(&str, &str)]) -> Result<Option<OwnSpans>, Vec<String>> {
        Config::load(&Environment::of_pairs(pairs.iter().copied())).map(|loaded| loaded.config.own_spans)
    }

    #[test]
    fn nothing_is_exported_unless_it_is_told_where_to() {
        assert_eq!(load(&[]).unwrap(), None);
        assert_eq!(load(&[(ENDPOINT, ""), (SERVICE, "a"), (HEADERS, "x-tenant-id=ops")]).unwrap(), None);
    }

    #[test]
    fn an_address_may_come_without_its_scheme() {
        for (given, endpoint) in [
            ("localhost:4317", "http://localhost:4317"),
            ("http://127.0.0.1:4317/", "http://127.0.0.1:4317"),
            ("[::1]:4317", "http://[::1]:4317"),
            ("https://otel.example.com", "https://otel.example.com"),
        ] {
            let spans = load(&[(ENDPOINT, given)]).unwrap().unwrap();
            assert_eq!(
                (spans.endpoint.as_str(), spans.service.as_str()),
                (endpoint, "otelcontext"),
                "{given}"
            );
        }
    }

    #[test]
    fn headers_are_pairs_of_name_and_value() {
        let given = "X-Tenant-Id=ops, authorization=Bearer%20a%2Cb=c,";
        let spans =
            load(&[(ENDPOINT, "localhost:4317"), (HEADERS, given), (SERVICE, "us")]).unwrap().unwrap();
        assert_eq!(spans.headers.len(), 2);
        assert_eq!(spans.headers["x-tenant-id"], "ops");
        assert_eq!(spans.headers["authorization"], "Bearer a,b=c");
        assert!(!format!("{spans:?}").contains("Bearer"), "{spans:?}");
        assert_eq!(spans.service, "us");
    }

    #[test]
    fn mistakes_name_their_variable_and_tell_no_secret() {
        let long = "n".repeat(SERVICE_BYTES_MAX + 1);
        for (name, value) in [
            (ENDPOINT, "ftp://localhost:4317"),
            (ENDPOINT, "http://localhost:4318/v1/traces"),
            (ENDPOINT, "http://me:hunter2@localhost:4317"),
            (ENDPOINT, "http://"),
            (ENDPOINT, "a b"),
            (ENDPOINT, "localhost:99999"),
            (HEADERS, "hunter2"),
            (HEADERS, "a b=hunter2"),
            (HEADERS, "a=hunter2%2"),
            (HEADERS, "a=hunter2%0A"),
            (HEADERS, "a-bin=hunter2"),
            (HEADERS, "grpc-timeout=1S"),
            (SERVICE, long.as_str()),
        ] {
            let mistakes = load(&[(name, value)]).unwrap_err();
            assert_eq!(mistakes.len(), 1, "{name}: {mistakes:?}");
            assert!(mistakes[0].starts_with(name) && !mistakes[0].contains("hunter2"), "{mistakes:?}");
        }
    }
}

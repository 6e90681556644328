//! What `service=name` in a filter means: who sent an item, or an attribute of it, as those set it who collect the logs of
//! others under a name of their own.

use mcp_tools::Fault;

use crate::model::tenant::Scope;
use crate::query::Query;

use super::fault;

/// The key that may mean either.
const KEY: &str = "service";
/// What is told where an attribute was meant although there is a service of that name.
pub(super) const BY_ATTRIBUTE: &str = "nothing from here on is of the service that `filter` names: what is shown has an \
     attribute `service` of this value, and comes from other services";

/// One way to read a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meaning {
    /// The service that is asked about.
    pub(super) service: Option<String>,
    /// The attributes that are asked for, by key and value.
    pub(super) filter: Vec<(String, String)>,
}

/// How to read a question with this service and these attributes, and how where that finds nothing. A `service` among the
/// attributes is the service of that name where there is one and none is asked about already, and otherwise an attribute.
pub(super) fn meanings(
    (query, scope): (&Query, &Scope),
    service: Option<&str>,
    filter: &[(String, String)],
) -> (Meaning, Option<Meaning>) {
    read(service, filter, |name| query.service(scope, name).is_ok())
}

/// Why there is nothing, with the nearest name where `service` among the attributes is not the name of one.
pub(super) fn why_empty(
    why: String,
    (query, scope): (&Query, &Scope),
    filter: &[(String, String)],
) -> String {
    match unknown(query, scope, filter) {
        Some(unknown) => format!("{why}; {unknown}"),
        None => why,
    }
}

fn unknown(query: &Query, scope: &Scope, filter: &[(String, String)]) -> Option<Fault> {
    let (_, name) = filter.iter().find(|(key, _)| key == KEY)?;
    query.service(scope, name).err().map(fault::of)
}

fn read(
    service: Option<&str>,
    filter: &[(String, String)],
    is_service: impl Fn(&str) -> bool,
) -> (Meaning, Option<Meaning>) {
    let all = filter.to_vec();
    if let Some(service) = service {
        // Said twice, it is still one condition.
        let is_same = |(key, value): &(String, String)| key == KEY && value == service;
        let filter = all.into_iter().filter(|pair| !is_same(pair)).collect();
        return (Meaning { service: Some(service.to_owned()), filter }, None);
    }
    let by_attribute = Meaning { service: None, filter: all };
    let named = filter.iter().position(|(key, value)| key == KEY && is_service(value));
    let Some(at) = named else { return (by_attribute, None) };
    let mut rest = filter.to_vec();
    let (_, name) = rest.remove(at);
    (Meaning { service: Some(name), filter: rest }, Some(by_attribute))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(service: Option<&str>, filter: &[(&str, &str)], first: &str, otherwise: Option<&str>) {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let filter: Vec<_> = filter.iter().map(owned).collect();
        let shown = |meaning: Meaning| {
            let pairs: Vec<String> =
                meaning.filter.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("{}: {}", meaning.service.unwrap_or_default(), pairs.join(" "))
        };
        let (found, other) = read(service, &filter, |name| name == "cart");
        assert_eq!((shown(found).as_str(), other.map(shown).as_deref()), (first, otherwise));
    }

    #[test]
    fn a_service_is_who_sent_it_where_there_is_one_of_that_name() {
        let asked = [("zone", "a"), ("service", "cart")];
        check(None, &asked, "cart: zone=a", Some(": zone=a service=cart"));
        check(None, &[("service", "crat")], ": service=crat", None);
        check(None, &[("zone", "a")], ": zone=a", None);
        check(None, &[], ": ", None);
    }

    #[test]
    fn beside_a_service_it_is_an_attribute() {
        check(Some("agent"), &[("service", "cart")], "agent: service=cart", None);
        check(Some("cart"), &[("service", "cart"), ("zone", "a")], "cart: zone=a", None);
        check(Some("agent"), &[("zone", "a")], "agent: zone=a", None);
    }
}

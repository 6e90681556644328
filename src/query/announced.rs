//! Changes that somebody announced: deployments, flags, configurations and commits that were sent as events.
//!
//! The names of such events follow families rather than a list (the semantic conventions have few of them), so that they are
//! asked for by how a name begins, or by an attribute that says what was changed; what a name says decides. How often a flag
//! was looked up is no change.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::diagnose::evidence::ChangeEvidence;
use crate::model::id::{ServiceId, TenantNumber};
use crate::model::time::Window;
use crate::store::read::logs::StoredLog;

use super::error::Error;
use super::handle::Query;

/// Events whose names begin as those of changes do.
const BY_NAME: &str = "(event.name:deploy* OR event.name:release* OR event.name:roll* OR event.name:feature_flag* OR \
                       event.name:flag* OR event.name:config* OR event.name:vcs.c*) -event.name:feature_flag.evaluat*";
/// Events with an attribute that names what was changed.
const BY_KEY: &str = "event.name:* (feature_flag.key:* OR config.key:* OR config.revision:* OR deployment.id:* OR \
                      deployment.name:*) -event.name:feature_flag.evaluat*";
/// Changes that are looked at, the newest.
const CHANGES_MAX: usize = 200;
/// Of those that are alike in all but the time, the newest: what is sent again and again is a state.
const ALIKE_MAX: usize = 5;
/// Words of a name that say what may change; several of them may stand side by side.
const THINGS: [&str; 14] = [
    "deploy",
    "deployed",
    "deployment",
    "release",
    "released",
    "rollout",
    "rollback",
    "flag",
    "flags",
    "config",
    "configuration",
    "vcs",
    "toggle",
    "setting",
];
/// How words begin that say that something was changed.
const CHANGING: [&str; 8] = ["chang", "updat", "applied", "reload", "toggl", "switch", "enabled", "disabled"];
/// How words begin that say that something was only looked at.
const LOOKING: [&str; 3] = ["evaluat", "exposure", "impression"];
/// Attributes that name a revision: of sources (semantic conventions), or of a configuration.
const REVISIONS: [&str; 2] = ["vcs.ref.head.revision", "config.revision"];
/// The attribute that lists the files of a change.
const FILES: &str = "vcs.change.files";
/// Attributes that say what was changed by their values alone, the most telling first.
const CHANGED: [&str; 4] =
    ["service.version", "feature_flag.key", REVISIONS[0], "deployment.environment.name"];
/// How the keys of others begin that say it, which are told with their keys.
const DETAILS: [&str; 4] = ["config.", "feature_flag.", "flag.", "deployment."];
/// Details of a change that are told, and characters of each.
const DETAILS_MAX: usize = 6;
const DETAIL_CHARS_MAX: usize = 60;

impl Query {
    /// The changes of `window`.
    pub(super) async fn changes(
        &self,
        tenant: TenantNumber,
        window: Window,
    ) -> Result<Vec<ChangeEvidence>, Error> {
        let (named, keyed) = tokio::try_join!(
            Box::pin(self.events(tenant, window, BY_NAME, CHANGES_MAX)),
            Box::pin(self.events(tenant, window, BY_KEY, CHANGES_MAX)),
        )?;
        let mut seen = BTreeSet::new();
        let found = named.into_iter().chain(keyed);
        let found = found.filter(|log| is_change(log.row.detail.event_name()));
        let found = found.filter(|log| seen.insert((log.row.time, log.id)));
        Ok(newest(found.map(|log| described(&log)).collect()))
    }
}

/// The newest of them, and of those that are alike.
fn newest(mut changes: Vec<ChangeEvidence>) -> Vec<ChangeEvidence> {
    changes.sort_by_key(|change| std::cmp::Reverse(change.at));
    let mut alike: BTreeMap<(Option<ServiceId>, String, String), usize> = BTreeMap::new();
    changes.retain(|change| {
        let known = alike.entry((change.service, change.kind.clone(), change.text.clone())).or_default();
        *known += 1;
        *known <= ALIKE_MAX
    });
    changes.truncate(CHANGES_MAX);
    changes
}

/// Whether an event of this name tells that something was changed.
fn is_change(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words: Vec<&str> =
        name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let begins = |known: &[&str]| words.iter().any(|word| known.iter().any(|known| word.starts_with(*known)));
    let is_of_thing = words.iter().any(|word| THINGS.contains(word));
    !begins(&LOOKING) && (is_of_thing || begins(&CHANGING))
}

/// What an event says.
fn described(log: &StoredLog) -> ChangeEvidence {
    let detail = &log.row.detail;
    let attributes: BTreeMap<&str, Cow<'_, str>> =
        detail.attributes().map(|(key, value)| (key, value.render())).collect();
    let body = detail.body_text();
    let revision = REVISIONS.iter().find_map(|key| attributes.get(key));
    ChangeEvidence {
        at: log.row.time,
        service: Some(log.row.service),
        kind: detail.event_name().to_owned(),
        text: text_of(&body, &attributes),
        revision: revision.cloned().unwrap_or_default().into_owned(),
        files: attributes.get(FILES).cloned().unwrap_or_default().into_owned(),
    }
}

/// What the event says in words, and what its attributes say beyond that.
fn text_of(body: &str, attributes: &BTreeMap<&str, Cow<'_, str>>) -> String {
    let is_unsaid = |value: &str| !value.is_empty() && !body.contains(value);
    let values = CHANGED.iter().filter_map(|key| attributes.get(key)).map(|value| value.clone().into_owned());
    let details = attributes.iter().filter(|(key, value)| {
        !CHANGED.contains(key) && DETAILS.iter().any(|begin| key.starts_with(begin)) && is_unsaid(value)
    });
    let details = details.take(DETAILS_MAX).map(|(key, value)| {
        let is_long = value.chars().nth(DETAIL_CHARS_MAX).is_some();
        let shown: String = value.chars().take(DETAIL_CHARS_MAX).collect();
        format!("{key}={shown}{}", if is_long { "…" } else { "" })
    });
    let told = Some(body.to_owned()).into_iter().chain(values.filter(|value| is_unsaid(value)));
    let told: Vec<String> = told.chain(details).filter(|part| !part.is_empty()).collect();
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use crate::model::id::TemplateId;
    use crate::model::log::Severity;
    use crate::model::time::UnixNanos;
    use crate::search::{Ask, Document, Index, Nameless, Options};

    use super::*;

    /// The numbers of those of these events that a query finds, the newest first; each has a name and perhaps a key.
    fn found(text: &str, events: &[(&'static str, &'static str)]) -> Vec<i64> {
        let (tenant, directory) = (TenantNumber(1), tempfile::tempdir().unwrap());
        let options = Options { directory: directory.path().to_owned(), writer_bytes: 15_000_000 };
        let index = Index::open(options).unwrap();
        let document = |(row, (name, key)): (i64, &(&'static str, &'static str))| Document {
            row,
            tenant,
            time: UnixNanos::from_seconds(row),
            service: ServiceId(7),
            severity: Severity(9),
            template: TemplateId(3),
            body: "something happened",
            attributes: [("event.name", *name), (*key, "x")]
                .into_iter()
                .filter(|(key, _)| !key.is_empty())
                .collect::<Vec<_>>(),
        };
        index.add((1..).zip(events).map(document)).unwrap();
        index.commit().unwrap();
        let ask = Ask {
            text: text.to_owned(),
            window: Window::new(UnixNanos(0), UnixNanos::from_seconds(1_000)),
            services: Vec::new(),
            templates: Vec::new(),
            severity_min: Severity(0),
            before: None,
            limit: 100,
            waiting: None,
        };
        index.search(tenant, &ask, &Nameless).unwrap().rows
    }

    #[test]
    fn events_are_asked_for_by_how_their_names_begin_and_by_what_they_say_was_changed() {
        let events = [
            ("deployment.finished", ""),
            ("rollback", ""),
            ("feature_flag.changed", "feature_flag.key"),
            ("feature_flag.evaluation", "feature_flag.key"),
            ("pricing.updated", "config.key"),
            ("vcs.commit", ""),
            ("exception", ""),
        ];
        assert_eq!(found(BY_NAME, &events), [6, 3, 2, 1]);
        assert_eq!(found(BY_KEY, &events), [5, 3]);
    }

    #[test]
    fn a_name_says_whether_something_was_changed() {
        for name in [
            "deployment",
            "deployment.started",
            "deployment.finished",
            "feature_flag.change",
            "feature_flag.changed",
            "flag.updated",
            "vcs.commit",
            "vcs.change",
            "config.change",
            "config.reloaded",
            "configuration.change",
            "release",
            "rollout",
            "pricing.rules.updated",
        ] {
            assert!(is_change(name), "{name}");
        }
        for name in ["feature_flag.evaluation", "flagged", "flag.exposure", "k8s.event", "exception", ""] {
            assert!(!is_change(name), "{name}");
        }
    }

    #[test]
    fn what_was_changed_is_told_by_the_attributes() {
        let long = "x".repeat(200);
        let attributes: BTreeMap<&str, Cow<'_, str>> = [
            ("config.key", "clients.fare".into()),
            ("config.new", "timeout=22ms".into()),
            ("config.old", Cow::from(long.as_str())),
            ("feature_flag.key", "fast".into()),
            ("user.name", "mia".into()),
        ]
        .into();
        let text = text_of("applied to clients.fare", &attributes);
        let wanted =
            format!("applied to clients.fare, fast, config.new=timeout=22ms, config.old={}…", &long[..60]);
        assert_eq!(text, wanted);
        assert_eq!(text_of("", &BTreeMap::new()), "");
    }

    #[test]
    fn what_is_sent_again_and_again_does_not_crowd_others_out() {
        let change = |second, text: &str| ChangeEvidence {
            at: UnixNanos::from_seconds(second),
            service: Some(ServiceId(1)),
            kind: "config.reloaded".to_owned(),
            text: text.to_owned(),
            revision: String::new(),
            files: String::new(),
        };
        let mut all: Vec<ChangeEvidence> = (0..300).map(|second| change(second, "same")).collect();
        all.push(change(7, "other"));
        let kept = newest(all);
        assert_eq!(kept.len(), ALIKE_MAX + 1);
        assert_eq!((kept[0].at, kept[ALIKE_MAX].text.as_str()), (UnixNanos::from_seconds(299), "other"));
    }
}

//! `investigation`: what an agent found out, kept for whoever goes on with it.

use serde_json::{Map, Value};

use super::get_evidence::{IDS_MAX, split};
use crate::arguments::{Argument, CURSOR, LIMIT, MAX_TOKENS, Reader, Spec};
use crate::fault::Fault;

const ACTION: Argument = Argument::choice(
    "action",
    &["write", "resume", "export"],
    "write adds a note (no id: to a new one); resume reads it (no id: lists all); export: Markdown.",
)
.required();
const ID: Argument = Argument::integer("id", 1, u32::MAX, "Which investigation.");
const TITLE: Argument = Argument::text("title", 200, "Of a new one.");
const TEXT: Argument = Argument::text("text", 4_096, "The note.");
const EVIDENCE: Argument = Argument::text("evidence", 4_096, "Evidence ids, `;` between them.");

/// The tool as it is listed.
pub(crate) const SPEC: Spec = Spec {
    name: "investigation",
    title: "Keep an investigation",
    description: "Keeps findings and their evidence as it is now, for another agent to resume.",
    arguments: &[&ACTION, &ID, &TITLE, &TEXT, &EVIDENCE, &LIMIT, &CURSOR, &MAX_TOKENS],
};

/// What an agent wants of an investigation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Deed {
    /// Begin one, with a first note.
    Begin {
        /// 1 to 200 bytes, on one line.
        title: String,
        /// 1 to 4,096 bytes.
        text: String,
        /// At most 10.
        evidence: Vec<String>,
    },
    /// Add a note to one.
    Add {
        /// The investigation.
        id: u32,
        /// 1 to 4,096 bytes.
        text: String,
        /// At most 10.
        evidence: Vec<String>,
    },
    /// Read one, and see what became of its evidence.
    Resume(u32),
    /// List all, the one written to last first.
    List,
    /// Read one as a document.
    Export(u32),
}

/// What an agent wants of an investigation, and how much of it.
///
/// `Begin` and `Add` are for callers that may write. The answer has a table `investigations` beginning with `id`, `title`
/// for `List` and for what was written; tables `notes` (`note`, `written`, `text`, `evidence`) and `evidence` (`id`,
/// `state`: `same`, `drifted`, `gone`, or `unreadable` where the id is) for `Resume`; a table `document` of one column `markdown` for `Export`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InvestigationAsk {
    /// What to do.
    pub deed: Deed,
    /// Rows of the first table.
    pub limit: usize,
    /// Where to go on.
    pub cursor: Option<String>,
    /// The size the answer may have, 200 to 20,000 tokens; rows beyond it are trimmed by the server.
    pub max_tokens: usize,
}

/// Reads the arguments.
pub(crate) fn read(arguments: Map<String, Value>) -> Result<InvestigationAsk, Fault> {
    let mut reader = Reader::new(&SPEC, arguments);
    let action = reader.choice(&ACTION, &[("list", "resume"), ("read", "resume"), ("add", "write")]);
    let id = reader.integer_if_given(&ID);
    let (title, text) = (reader.text(&TITLE), reader.text(&TEXT));
    let evidence = reader.text_as_given(&EVIDENCE).map(|text| split(&text)).unwrap_or_default();
    if evidence.len() > IDS_MAX {
        reader.refuse("`evidence` names more than 10; write several notes");
    }
    if action != Some(0) && (title.is_some() || text.is_some() || !evidence.is_empty()) {
        reader.refuse("`title`, `text` and `evidence` are written only by `action`: `write`");
    }
    let deed = match (action, id) {
        (Some(0), _) => written(&mut reader, id, (title, text, evidence)),
        (Some(2), Some(id)) => Deed::Export(id),
        (Some(2), None) => {
            reader.refuse("`action`: `export` needs an `id`; `action`: `resume` without one lists them");
            Deed::List
        }
        (_, Some(id)) => Deed::Resume(id),
        (_, None) => Deed::List,
    };
    let ask = InvestigationAsk {
        deed,
        limit: reader.limit(50),
        cursor: reader.text(&CURSOR),
        max_tokens: reader.max_tokens(),
    };
    reader.finish(ask)
}

fn written(
    reader: &mut Reader,
    id: Option<u32>,
    (title, text, evidence): (Option<String>, Option<String>, Vec<String>),
) -> Deed {
    if text.is_none() {
        reader.refuse("`action`: `write` needs the note as `text`");
    }
    let text = text.unwrap_or_default();
    match (id, title) {
        (Some(id), None) => Deed::Add { id, text, evidence },
        (None, Some(title)) => {
            let words: Vec<&str> = title.split_whitespace().collect();
            Deed::Begin { title: words.join(" "), text, evidence }
        }
        (Some(_), Some(_)) => {
            reader
                .refuse("a `title` is given once, when an investigation is begun: leave it out beside `id`");
            Deed::List
        }
        (None, None) => {
            reader.refuse("give the `id` of an investigation to add to, or a `title` to begin one");
            Deed::List
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Deed, read};

    fn deed(arguments: serde_json::Value) -> Result<Deed, String> {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        read(arguments).map(|ask| ask.deed).map_err(|fault| fault.to_string())
    }

    #[test]
    fn the_arguments_tell_what_to_do() {
        let (text, title) = ("slow".to_owned(), "Friday".to_owned());
        let evidence = vec!["template:1".to_owned(), "trace:ab".to_owned()];
        assert_eq!(deed(json!({"action": "resume"})), Ok(Deed::List));
        assert_eq!(deed(json!({"action": "list"})), Ok(Deed::List));
        assert_eq!(deed(json!({"action": "resume", "id": 3})), Ok(Deed::Resume(3)));
        assert_eq!(deed(json!({"action": "Export", "id": "3"})), Ok(Deed::Export(3)));
        let begun =
            json!({"action": "write", "title": "Friday", "text": "slow", "evidence": "template:1; trace:ab"});
        assert_eq!(deed(begun), Ok(Deed::Begin { title, text: text.clone(), evidence }));
        let added = json!({"action": "write", "id": 2, "text": "slow"});
        assert_eq!(deed(added), Ok(Deed::Add { id: 2, text, evidence: Vec::new() }));
    }

    #[test]
    fn a_title_has_one_line() {
        let begun = deed(json!({"action": "write", "title": "slow\n\n# since\tFriday", "text": "slow"}));
        assert!(matches!(begun, Ok(Deed::Begin { title, .. }) if title == "slow # since Friday"));
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (arguments, told) in [
            (json!({}), "`action`"),
            (json!({"action": "write", "title": "x"}), "needs the note"),
            (json!({"action": "write", "text": "x"}), "to begin one"),
            (json!({"action": "write", "text": "x", "title": "[U+2028] [U+0085]"}), "`title` is empty"),
            (json!({"action": "write", "text": "[U+200B]".repeat(1_100), "id": 1}), "got 8800 bytes"),
            (json!({"action": "write", "text": "x", "title": "x", "id": 1}), "once"),
            (json!({"action": "export"}), "needs an `id`"),
            (json!({"action": "resume", "text": "x"}), "only by"),
            (json!({"action": "resume", "id": 0}), "`id` must be"),
            (
                json!({"action": "write", "id": 1, "text": "x", "evidence": "trace:1;".repeat(11)}),
                "more than 10",
            ),
        ] {
            let refusal = deed(arguments.clone()).unwrap_err();
            assert!(refusal.contains(told), "{arguments}: {refusal}");
        }
    }
}

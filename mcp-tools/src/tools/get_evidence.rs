//! `get_evidence`: what an answer rests on, opened again.

use serde_json::{Map, Value};

use crate::arguments::{Argument, MAX_TOKENS, Reader, SINCE, Spec, UNTIL};
use crate::fault::Fault;
use crate::time::TimeRange;

/// Most ids of one call.
pub(crate) const IDS_MAX: usize = 10;
const IDS: Argument = Argument::text("ids", 4_096, "Evidence ids, `;` between them; at most 10.").required();

/// The tool as it is listed.
pub(crate) const SPEC: Spec = Spec {
    name: "get_evidence",
    title: "Open evidence",
    description: "Opens evidence ids again: the numbers now and before, in the window of the id; where that was \
                  over, also whether they are still the same or drifted.",
    arguments: &[&IDS, &SINCE.described("Start, for ids without a window. Default 1h."), &UNTIL, &MAX_TOKENS],
};

/// Which evidence an agent wants opened.
///
/// The answer has a table `evidence` beginning with `id`, `state`: `same`, `drifted`, `gone`, or `opened` where the id does
/// not say what it was (its window was not over when it was given), or what it names is a record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GetEvidenceAsk {
    /// The ids as they are given, 1 to 10.
    pub ids: Vec<String>,
    /// The window of ids that name none.
    pub range: TimeRange,
    /// The size the answer may have, 200 to 20,000 tokens; rows beyond it are trimmed by the server.
    pub max_tokens: usize,
}

/// The ids as they are given. Answers write a semicolon within a name out; where one stands all the same, each id begins with
/// its kind.
pub(crate) fn split(text: &str) -> Vec<String> {
    const KINDS: [&str; 8] =
        ["operation:", "edge:", "instance:", "template:", "series:", "change:", "trace:", "span:"];
    let mut ids: Vec<String> = Vec::new();
    for part in text.split(';') {
        let id = part.trim();
        match ids.last_mut() {
            Some(last) if !id.is_empty() && !KINDS.iter().any(|kind| id.starts_with(kind)) => {
                last.push(';');
                last.push_str(part.trim_end());
            }
            _ if id.is_empty() => {}
            _ => ids.push(id.to_owned()),
        }
    }
    ids
}

/// Reads the arguments.
pub(crate) fn read(arguments: Map<String, Value>) -> Result<GetEvidenceAsk, Fault> {
    let mut reader = Reader::new(&SPEC, arguments);
    let text = reader.text_as_given(&IDS).unwrap_or_default();
    let ids = split(&text);
    if ids.len() > IDS_MAX {
        reader.refuse("`ids` names more than 10; ask in several calls");
    }
    let ask = GetEvidenceAsk { ids, range: reader.range(), max_tokens: reader.max_tokens() };
    reader.finish(ask)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn ids_are_told_apart_by_their_kinds() {
        assert_eq!(split("template:1; trace:ab ;"), ["template:1", "trace:ab"]);
        assert_eq!(split("operation:a GET /x;y=1; template:2"), ["operation:a GET /x;y=1", "template:2"]);
        assert_eq!(split("payment"), ["payment"]);
        assert!(split(" ; ").is_empty());
    }
}

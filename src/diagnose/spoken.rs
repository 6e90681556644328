//! Of whom a text speaks: a caller that logs or measures the trouble of another service often says whose it is.

use crate::model::id::ServiceId;

use super::view::View;

/// Shortest name that is looked for where it is one word: shorter ones are words of many texts.
const WORD_MIN: usize = 8;
/// Shortest name of several parts that is looked for.
const NAME_MIN: usize = 4;

/// The names of all nodes, the longest first.
pub(super) struct Names {
    lower: Vec<(String, ServiceId)>,
}

impl Names {
    pub(super) fn new(view: &View<'_>) -> Self {
        let telling =
            |name: &str| name.len() >= WORD_MIN || name.len() >= NAME_MIN && name.contains(['-', '_', '.']);
        let nodes = view.nodes.values().filter(|node| telling(&node.name));
        let mut lower: Vec<_> = nodes.map(|node| (node.name.to_ascii_lowercase(), node.id)).collect();
        lower.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
        Self { lower }
    }

    /// The one node that `text` of `speaker` names; none where it names nobody, itself, or several.
    pub(super) fn other_in(&self, text: &str, speaker: ServiceId) -> Option<ServiceId> {
        let mut text = text.to_ascii_lowercase();
        let mut found = None;
        for (name, id) in &self.lower {
            while let Some(at) = position(&text, name) {
                if *id == speaker || found.is_some_and(|known| known != *id) {
                    return None;
                }
                found = Some(*id);
                // What is part of a longer name is not named itself.
                text.replace_range(at..at + name.len(), &" ".repeat(name.len()));
            }
        }
        found
    }
}

/// Where `name` stands by itself in `text`. Underscores end a name, since names of metrics are made with them.
fn position(text: &str, name: &str) -> Option<usize> {
    let goes_on = |c: char| c.is_alphanumeric() || c == '-';
    text.match_indices(name)
        .map(|(at, _)| at)
        .find(|at| !text[..*at].ends_with(goes_on) && !text[at + name.len()..].starts_with(goes_on))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: &[&str]) -> Names {
        let mut lower: Vec<_> =
            of.iter().enumerate().map(|(id, name)| ((*name).to_owned(), ServiceId(id as u32))).collect();
        lower.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Names { lower }
    }

    #[test]
    fn a_text_speaks_of_whom_it_names() {
        let names = names(&["web-shop", "order-service", "order", "stock.db"]);
        let other = |text: &str| names.other_in(text, ServiceId(0)).map(|id| id.0);
        assert_eq!(other("call to Order-Service:8080 timed out"), Some(1));
        assert_eq!(other("order-service_endpoint_error_ratio"), Some(1));
        assert_eq!(other("stock.db refused; stock.db is gone"), Some(3));
        assert_eq!(other("order-service-7d9f-x2 restarts"), None);
        assert_eq!(other("web-shop lost order-service"), None);
        assert_eq!(other("order-service and stock.db are gone"), None);
        assert_eq!(other("nothing"), None);
    }
}

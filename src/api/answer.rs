//! Answers: pages of items that stay within their bound, and single objects.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::model::time::Window;

use super::cursor::{Place, Seal};
use super::problem::Problem;
use super::time::rfc3339;

/// Most bytes of the items of one answer. One item alone may be larger, so that every page moves on.
const ITEMS_BYTES_MAX: usize = 16 << 20;

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    bytes: Vec<u8>,
    kind: &'static str,
}

/// A stretch of time: its begin is inside, its end is not.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[schema(as = Window)]
pub(super) struct WindowView {
    /// First instant inside, in RFC 3339 with nanoseconds.
    #[schema(format = DateTime)]
    from: String,
    /// First instant after it.
    #[schema(format = DateTime)]
    to: String,
}

impl From<Window> for WindowView {
    fn from(window: Window) -> Self {
        Self { from: rfc3339(window.from), to: rfc3339(window.to) }
    }
}

/// What follows the items of a page.
#[derive(Debug, Serialize)]
struct Tail {
    next_cursor: Option<String>,
    window: WindowView,
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete: Option<String>,
}

/// A page on its way out.
pub(super) struct Page<'a> {
    seal: &'a Seal,
    /// The window that was asked for; cursors carry it on.
    asked: Window,
    /// The window that the answer is about, where it is another one.
    pub(super) shown: Window,
    /// Why the answer is not the whole answer, beside that there are further pages.
    pub(super) incomplete: Option<String>,
    items: Vec<u8>,
    next: Option<Place>,
}

impl<'a> Page<'a> {
    /// An empty page of `asked`.
    pub(super) fn new(seal: &'a Seal, asked: Window) -> Self {
        Self { seal, asked, shown: asked, incomplete: None, items: Vec::new(), next: None }
    }

    /// Puts `rows` on the page, each as `view` shows it, until it is full. `next` is where the page after these rows
    /// begins; where they do not all fit, it begins at the first that did not, after the `place` of the one before.
    pub(super) fn fill<T, V: Serialize>(
        &mut self,
        rows: &[T],
        next: Option<Place>,
        view: impl Fn(&T) -> V,
        place: impl Fn(usize, &T) -> Place,
    ) -> Result<(), Problem> {
        self.next = next;
        for (index, row) in rows.iter().enumerate() {
            let item = encode(&view(row))?;
            if !self.items.is_empty() && self.items.len() + item.len() > ITEMS_BYTES_MAX {
                self.next = index.checked_sub(1).map(|before| place(before, &rows[before]));
                break;
            }
            if !self.items.is_empty() {
                self.items.push(b',');
            }
            self.items.extend_from_slice(&item);
        }
        Ok(())
    }

    /// As [`Page::fill`] for a list that is worked out anew for every page: takes what lies `after` so many rows, `limit`
    /// of them.
    pub(super) fn fill_counted<T, V: Serialize>(
        &mut self,
        rows: &[T],
        (after, limit): (usize, usize),
        view: impl Fn(&T) -> V,
    ) -> Result<(), Problem> {
        let begin = after.min(rows.len());
        let end = begin.saturating_add(limit).min(rows.len());
        let place = |count: usize| Place::at([i64::try_from(count).unwrap_or(i64::MAX)]);
        let next = (end < rows.len()).then(|| place(end));
        self.fill(&rows[begin..end], next, view, |index, _| place(begin + index + 1))
    }

    /// The page as an answer.
    pub(super) fn finish(self) -> Result<Answer, Problem> {
        self.finish_with(&NoMore {})
    }

    /// The page as an answer, with the fields of `more` beside its own.
    pub(super) fn finish_with<M: Serialize>(self, more: &M) -> Result<Answer, Problem> {
        let tail = Tail {
            next_cursor: self.next.map(|place| self.seal.close(self.asked, &place)),
            window: self.shown.into(),
            incomplete: self.incomplete,
        };
        let mut bytes = Vec::with_capacity(self.items.len() + 512);
        bytes.extend_from_slice(b"{\"items\":[");
        bytes.extend_from_slice(&self.items);
        bytes.push(b']');
        for fields in [encode(&tail)?, encode(more)?] {
            // Both are objects: what stands between their braces goes on in this one.
            let inner = fields.get(1..fields.len().saturating_sub(1)).unwrap_or_default();
            if !inner.is_empty() {
                bytes.push(b',');
                bytes.extend_from_slice(inner);
            }
        }
        bytes.push(b'}');
        Ok(Answer::json(bytes))
    }
}

/// No fields.
#[derive(Serialize)]
struct NoMore {}

/// How many rows of a counted list lie before the page.
pub(super) fn counted(after: Option<&Place>) -> Result<usize, Problem> {
    let Some(place) = after else { return Ok(0) };
    let [count] = place.fixed().ok_or_else(super::call::foreign_cursor)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

impl Answer {
    /// A single object.
    pub(super) fn object<V: Serialize>(view: &V) -> Result<Self, Problem> {
        encode(view).map(Self::json)
    }

    /// Text that is JSON already.
    pub(super) fn text(json: &str) -> Self {
        Self::json(json.as_bytes().to_vec())
    }

    /// A table as CSV.
    pub(super) const fn csv(bytes: Vec<u8>) -> Self {
        Self { bytes, kind: "text/csv; charset=utf-8; header=present" }
    }

    const fn json(bytes: Vec<u8>) -> Self {
        Self { bytes, kind: "application/json" }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let headers = [(header::CONTENT_TYPE, self.kind), (header::CACHE_CONTROL, "no-store")];
        (StatusCode::OK, headers, self.bytes).into_response()
    }
}

/// Does work of more than half a millisecond where it may block.
pub(super) async fn laid_out<F>(work: F) -> Result<Answer, Problem>
where
    F: FnOnce() -> Result<Answer, Problem> + Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Problem::internal("laying out an answer ended early")))
}

fn encode<V: Serialize>(view: &V) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(view).map_err(|error| Problem::internal(&error.to_string()))
}

//! Bodies that are no message: read within their bound, and told in the words of JSON-RPC 2.0, section 5.1, what is wrong
//! with them.

use std::convert::Infallible;
use std::pin::pin;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use rmcp::model::{ErrorCode, RequestId};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::server::OVERLOADED_CODE;

const JSON: &str = "application/json";

/// The body of an HTTP answer that turns a request away before its message is read: an error of JSON-RPC about no message.
pub fn refusal_json(message: &str) -> String {
    error(ErrorCode::INVALID_REQUEST, None, message)
}

/// The same for a request that may come again later, for which there was no room.
pub fn overloaded_json(message: &str) -> String {
    error(ErrorCode(OVERLOADED_CODE), None, message)
}

/// Whether a request says that its body is JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|name| name.starts_with(JSON))
}

/// The body of a request; of one that is larger than `bytes_max` as much as shows that. None where it did not come whole.
pub(crate) async fn whole<B: Body>(body: B, bytes_max: usize) -> Option<Bytes> {
    let mut body = pin!(body);
    let (mut first, mut read) = (Bytes::new(), BytesMut::new());
    while first.len() + read.len() <= bytes_max {
        let Some(frame) = body.frame().await else { break };
        let Ok(mut data) = frame.ok()?.into_data() else { continue };
        if first.is_empty() && read.is_empty() {
            // What comes in one piece is not copied: who stands in front may have gathered it already.
            first = data.copy_to_bytes(data.remaining());
        } else {
            read.put(std::mem::take(&mut first));
            read.put(data);
        }
    }
    Some(if read.is_empty() { first } else { read.freeze() })
}

/// The answer to a body that did not come whole.
pub(crate) fn cut_short() -> Response<BoxBody<Bytes, Infallible>> {
    bad_request(error(ErrorCode::PARSE_ERROR, None, "the body did not come whole"))
}

/// The answer to a body that is no message.
pub(crate) fn no_message(body: &[u8]) -> Response<BoxBody<Bytes, Infallible>> {
    bad_request(told(body))
}

/// The answer to a body that is larger than `bytes_max`.
pub(crate) fn too_large(bytes_max: usize) -> Response<BoxBody<Bytes, Infallible>> {
    let message = format!("a message has at most {bytes_max} bytes");
    refused(StatusCode::PAYLOAD_TOO_LARGE, refusal_json(&message))
}

fn bad_request(body: String) -> Response<BoxBody<Bytes, Infallible>> {
    refused(StatusCode::BAD_REQUEST, body)
}

fn refused(status: StatusCode, body: String) -> Response<BoxBody<Bytes, Infallible>> {
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

/// What is wrong with a body that is no message.
fn told(body: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(body) else {
        return error(ErrorCode::PARSE_ERROR, None, "the body is no JSON: it is not UTF-8");
    };
    // Nothing of it is kept, however deep it is.
    if let Err(wrong) = serde_json::from_str::<IgnoredAny>(text) {
        return error(ErrorCode::PARSE_ERROR, None, &format!("the body is no JSON: {wrong}"));
    }
    if text.trim_start().starts_with('[') {
        let message = "batches are not part of the protocol since 2025-06-18: send each message in a request of its own";
        return error(ErrorCode::INVALID_REQUEST, None, message);
    }
    let id = serde_json::from_str::<Numbered>(text).ok().and_then(|message| message.id);
    let message = "the body is no message of JSON-RPC: one has `jsonrpc`, which is \"2.0\", and a `method`, and a request has \
                   an `id`, which is a number or text";
    error(ErrorCode::INVALID_REQUEST, id, message)
}

/// A message as far as its id.
#[derive(Deserialize)]
struct Numbered {
    id: Option<RequestId>,
}

fn error(code: ErrorCode, id: Option<RequestId>, message: &str) -> String {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code.0, "message": message}}).to_string()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use http_body::{Body, Frame};
    use http_body_util::Full;
    use serde_json::{Value, json};

    use super::{overloaded_json, refusal_json, told, whole};

    /// A body that comes in these pieces.
    struct Pieces(Vec<&'static str>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.0.is_empty() {
                return Poll::Ready(None);
            }
            let piece = self.0.remove(0);
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece.as_bytes())))))
        }
    }

    #[test]
    fn a_body_that_is_no_message_is_told_what_is_wrong() {
        for (body, code, id, expected) in [
            (&b""[..], -32_700, Value::Null, "no JSON"),
            (b"{", -32_700, Value::Null, "no JSON"),
            (b"{\"id\": 1} x", -32_700, Value::Null, "no JSON"),
            (b"\"\xff\"", -32_700, Value::Null, "not UTF-8"),
            (b" []", -32_600, Value::Null, "batches"),
            (b"[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}]", -32_600, Value::Null, "batches"),
            (b"17", -32_600, Value::Null, "no message"),
            (b"{}", -32_600, Value::Null, "no message"),
            (b"{\"id\":[1],\"method\":1}", -32_600, Value::Null, "no message"),
            (b"{\"jsonrpc\":\"1.0\",\"id\":7,\"method\":\"x\"}", -32_600, json!(7), "no message"),
            (b"{\"jsonrpc\":\"1.0\",\"id\":\"a\"}", -32_600, json!("a"), "no message"),
        ] {
            let told: Value = serde_json::from_str(&told(body)).unwrap();
            let (error, shown) = (&told["error"], String::from_utf8_lossy(body));
            assert_eq!((&error["code"], &told["id"]), (&json!(code), &id), "{shown}: {told}");
            assert!(error["message"].as_str().unwrap().contains(expected), "{shown}: {told}");
            assert_eq!(told["jsonrpc"], "2.0");
        }
        // As deep as it likes.
        assert!(told("[".repeat(100_000).as_bytes()).contains("-32700"));
        assert!(told(format!("{}{}", "[".repeat(1_000), "]".repeat(1_000)).as_bytes()).contains("-32600"));
        let refused: Value = serde_json::from_str(&refusal_json("not \"you\"")).unwrap();
        assert_eq!((&refused["id"], &refused["error"]["message"]), (&Value::Null, &json!("not \"you\"")));
        let refused: Value = serde_json::from_str(&overloaded_json("later")).unwrap();
        assert_eq!((&refused["id"], &refused["error"]["code"]), (&Value::Null, &json!(-32_000)));
    }

    #[tokio::test]
    async fn a_body_is_read_as_far_as_its_bound() {
        assert_eq!(whole(Full::new(bytes::Bytes::from_static(b"abc")), 3).await.unwrap(), "abc");
        assert_eq!(whole(Full::new(bytes::Bytes::new()), 0).await.unwrap(), "");
        let large = whole(Full::new(bytes::Bytes::from_static(b"abcd")), 3).await.unwrap();
        assert!(large.len() > 3);
        // One piece is not copied; several are put together.
        let one = bytes::Bytes::from(b"abc".to_vec());
        let address = one.as_ptr();
        assert_eq!(whole(Full::new(one), 3).await.unwrap().as_ptr(), address);
        assert_eq!(whole(Pieces(vec!["", "ab", "", "c"]), 3).await.unwrap(), "abc");
        assert_eq!(whole(Pieces(vec!["ab", "cd", "ef"]), 3).await.unwrap(), "abcd", "no more is read");
    }
}

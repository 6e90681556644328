//! Whether a span failed that does not say how it ended (semantic conventions for errors, HTTP and RPC spans).
//!
//! Many instruments leave the status unset where the conventions ask for an error. What they say beside it tells:
//! `error.type`, which is there only where the operation ended with an error; an HTTP status of 500 or more; one of those by
//! which a call was turned away (408, 429), where its caller says so; and the codes of gRPC that the conventions count as
//! errors at that end of the call. Other HTTP codes from 400 on are left as they are without `error.type`: who asks whether
//! something is there means the answer that it is not.

use crate::model::packed::UnreadValue;
use crate::model::packed::value::Value;
use crate::model::span::SpanKind;

/// The codes of gRPC in the order of their numbers
/// (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// Those that are the server's failure rather than its caller's: `UNKNOWN`, `DEADLINE_EXCEEDED`, `UNIMPLEMENTED`,
/// `INTERNAL`, `UNAVAILABLE` and `DATA_LOSS`.
const GRPC_SERVER_ERRORS: [u8; 6] = [2, 4, 12, 13, 14, 15];

/// What a span says of its end beside its status.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ending {
    /// The HTTP status code; 0 where there is none.
    pub(super) http_status: u16,
    /// The number of the code of gRPC, where there is one.
    pub(super) grpc: Option<u8>,
    /// Whether `error.type` names an error.
    pub(super) names_error: bool,
}

impl Ending {
    /// Whether a span of this kind failed, going by this alone.
    pub(super) fn is_failure(self, kind: SpanKind) -> bool {
        let by_http = match self.http_status {
            500..600 => true,
            408 | 429 => kind.is_outbound(),
            _ => false,
        };
        let by_grpc = self.grpc.is_some_and(|code| {
            if kind.is_outbound() { code != 0 } else { GRPC_SERVER_ERRORS.contains(&code) }
        });
        self.names_error || by_http || by_grpc
    }
}

/// Whether the value of `error.type` names an error: instruments that always set it write `none` where there was no error.
pub(super) fn names_error(value: UnreadValue<'_>) -> bool {
    match value.read() {
        Value::Text(text) => !text.is_empty() && !text.eq_ignore_ascii_case("none"),
        Value::Int(code) => code != 0,
        _ => false,
    }
}

/// The number of a code of gRPC, which comes as a number (`rpc.grpc.status_code`) or by its name
/// (`rpc.response.status_code`); none for what is no such code: other protocols have codes of their own.
pub(super) fn grpc_code(value: UnreadValue<'_>) -> Option<u8> {
    let value = value.read();
    let named = || match value {
        Value::Text(text) => GRPC_CODES.iter().position(|name| name.eq_ignore_ascii_case(text)),
        _ => None,
    };
    let number = value.as_integer().and_then(|number| usize::try_from(number).ok()).or_else(named)?;
    u8::try_from(number).ok().filter(|_| number < GRPC_CODES.len())
}

#[cfg(test)]
mod tests {
    use crate::model::packed::unread;
    use crate::model::packed::write::Packer;
    use crate::model::span::{Part, SpanDetail};

    use super::*;

    /// What `read` makes of the value that `pack` writes.
    fn read<T>(pack: impl FnOnce(&mut Packer), read: impl Fn(UnreadValue<'_>) -> T) -> T {
        let mut packer = Packer::default();
        pack(&mut packer);
        let detail = SpanDetail::from_checked(packer.finish());
        let value = detail.parts().find_map(|part| match part {
            Part::Attribute(entry) => Some(read(unread(entry).1)),
            _ => None,
        });
        value.unwrap()
    }

    #[test]
    fn codes_of_grpc_are_numbers_or_names() {
        let text = |text: &str| read(|packer| packer.attribute_text(9, "code", text), grpc_code);
        let number = |number: i64| read(|packer| packer.attribute_int(9, "code", number), grpc_code);
        assert_eq!((text("UNAVAILABLE"), text("ok"), text("14")), (Some(14), Some(0), Some(14)));
        assert_eq!((number(0), number(16), number(17), number(-1)), (Some(0), Some(16), None, None));
        assert_eq!((text("20"), text("method_not_found"), text("")), (None, None, None));
    }

    #[test]
    fn the_type_of_an_error_may_say_that_there_was_none() {
        let text = |text: &str| read(|packer| packer.attribute_text(9, "error.type", text), names_error);
        assert!(text("java.io.IOException") && text("_OTHER") && text("500"));
        assert!(!text("") && !text("none") && !text("None"));
        assert!(read(|packer| packer.attribute_int(9, "error.type", 404), names_error));
    }

    #[test]
    fn both_ends_of_a_call_count_their_own_failures() {
        let (client, server, internal) = (SpanKind::CLIENT, SpanKind::SERVER, SpanKind::INTERNAL);
        let http = |kind, http_status| Ending { http_status, ..Ending::default() }.is_failure(kind);
        for kind in [client, server, internal, SpanKind::PRODUCER, SpanKind::CONSUMER] {
            assert!(http(kind, 500) && http(kind, 599), "{kind:?}");
            assert!(!http(kind, 0) && !http(kind, 200) && !http(kind, 404) && !http(kind, 600), "{kind:?}");
        }
        assert!(http(client, 429) && http(client, 408) && http(SpanKind::PRODUCER, 429));
        assert!(!http(server, 429) && !http(internal, 408));
        let grpc = |kind, code| Ending { grpc: Some(code), ..Ending::default() }.is_failure(kind);
        let failing = |kind| (0..17).filter(|code| grpc(kind, *code)).collect::<Vec<u8>>();
        assert_eq!(failing(client), (1..17).collect::<Vec<u8>>());
        assert_eq!(failing(server), GRPC_SERVER_ERRORS);
        let named = Ending { http_status: 404, names_error: true, ..Ending::default() };
        assert!(named.is_failure(client) && named.is_failure(internal));
    }
}

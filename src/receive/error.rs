//! Every way a request is refused.

use std::io;
use std::time::Duration;

use crate::admit;
use crate::auth;
use crate::decode;
use crate::fault::{Kind, chain};

/// Longest text of a refusal in bytes; OTLP asks servers to keep answers small.
const TEXT_BYTES_MAX: usize = 1024;

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller was turned away.
    #[error(transparent)]
    Auth(#[from] auth::Error),
    /// The bytes were not admitted.
    #[error(transparent)]
    Admit(#[from] admit::Error),
    /// The body is not OTLP.
    #[error(transparent)]
    Decode(#[from] decode::Error),
    /// There is nothing at this path.
    #[error("nothing is served here: OTLP over HTTP is at /v1/traces, /v1/logs and /v1/metrics")]
    NotFound,
    /// The method is not POST.
    #[error("only POST is allowed here")]
    Method,
    /// The body is neither protobuf nor JSON by its content type.
    #[error("the content type must be application/x-protobuf or application/json")]
    ContentType,
    /// The body is compressed in a way the server does not know.
    #[error("the body may be compressed with gzip or zstd only")]
    Compression,
    /// The body is transferred in a way the server does not know.
    #[error("the only transfer coding that is known here is chunked")]
    TransferCoding,
    /// The request does not say which host it is for, or names several (RFC 9112, 3.2).
    #[error("a request of HTTP/1.1 has exactly one Host header")]
    Host,
    /// Something other than gRPC reached the gRPC port.
    #[error("this port speaks gRPC over HTTP/2 only: OTLP over HTTP has a port of its own, 4318 by default")]
    NotGrpc,
    /// A gRPC method that is not offered.
    #[error("no such method: traces, logs and metrics can be exported here")]
    Unimplemented,
    /// A service that the health check does not know.
    #[error("no such service is served here")]
    NoSuchService,
    /// A gRPC message that does not follow the protocol.
    #[error("the gRPC message is malformed: {what}")]
    Framing {
        /// What is wrong.
        what: &'static str,
    },
    /// A gRPC message that is compressed, nobody knows how.
    #[error("the gRPC message is malformed: it is compressed, but `grpc-encoding` does not say how")]
    Unnamed,
    /// The compressed body is damaged.
    #[error("the body is not valid {format}")]
    Damaged {
        /// `gzip` or `zstd`.
        format: &'static str,
        /// What the decompressor said.
        #[source]
        source: io::Error,
    },
    /// The compressed body needs too much memory to be read.
    #[error("the zstd window is larger than {bytes_max} bytes")]
    WindowTooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// The body came too slowly.
    #[error("the body did not arrive in time")]
    Stalled {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The body broke off.
    #[error("the body broke off")]
    BrokenOff,
    /// The server is starting or stopping.
    #[error("the server is starting or stopping")]
    Closed,
    /// The server does not work yet.
    #[error("the server is starting, or waits for its database or for the server that leads on it")]
    Waiting,
    /// A page of a stranger asks.
    #[error("{0}")]
    Stranger(&'static str),
    /// The pipeline refused.
    #[error("{}", words(*kind))]
    NotAccepted {
        /// What the caller can do about it.
        kind: Kind,
    },
    /// The decoder panicked, and would again.
    #[error("the server failed on this request")]
    Panicked,
    /// Something else panicked.
    #[error("the server failed on this request, by a defect of its own: send the same request again later")]
    Failed,
}

impl Error {
    /// What the caller can do about it.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Auth(error) => error.kind(),
            Self::Admit(error) => error.kind(),
            Self::Decode(error) => error.kind(),
            Self::NotFound | Self::Unimplemented | Self::NoSuchService => Kind::NotFound,
            Self::Method
            | Self::ContentType
            | Self::Compression
            | Self::TransferCoding
            | Self::Host
            | Self::NotGrpc
            | Self::Unnamed
            | Self::Framing { .. }
            | Self::Damaged { .. }
            | Self::BrokenOff => Kind::Invalid,
            Self::WindowTooLarge { .. } => Kind::TooLarge,
            Self::Stalled { .. } => Kind::TimedOut,
            Self::Closed | Self::Waiting | Self::Failed => Kind::Unavailable,
            Self::Stranger(_) => Kind::Denied,
            Self::NotAccepted { kind } => *kind,
            Self::Panicked => Kind::Internal,
        }
    }

    /// The whole chain of causes in at most 1 KiB, for the caller.
    pub(super) fn text(&self) -> String {
        shorten(chain(self))
    }
}

const fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::Overloaded => "the server is at a limit: send the same request again later",
        Kind::Unavailable | Kind::TimedOut => {
            "the server cannot store data now: send the same request again later"
        }
        Kind::Internal => "the server failed on this request",
        _ => "the request was refused",
    }
}

/// At most 1 KiB of `text`, cut between characters.
pub(super) fn shorten(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

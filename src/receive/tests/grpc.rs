use tonic::Code;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tower::ServiceExt;

use crate::receive::grpc::export_path;
use crate::receive::inflate::tests::{gzip, zstd};

use super::*;

const HEALTH: &str = "/grpc.health.v1.Health/Check";

async fn channel(server: &Server) -> Channel {
    Channel::from_shared(format!("http://{}", server.grpc)).unwrap().connect().await.unwrap()
}

/// One length-prefixed message.
fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag][..], &length, message].concat()
}

/// Sends `body` as it is to `path`; the answer's message, or its status.
async fn call(
    channel: &Channel,
    path: &str,
    headers: &[(&'static str, &str)],
    body: Vec<u8>,
) -> Result<Vec<u8>, Status> {
    use http_body_util::BodyExt;
    let mut request = axum::http::Request::post(path).header("content-type", "application/grpc");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::new(http_body_util::Full::new(bytes::Bytes::from(body)))).unwrap();
    let (head, body) = channel.clone().oneshot(request).await.unwrap().into_parts();
    assert_eq!(
        (head.status.as_u16(), &head.headers["content-type"]),
        (200, &"application/grpc".parse().unwrap())
    );
    assert_eq!(head.headers["grpc-accept-encoding"], "identity,gzip,zstd");
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or(head.headers);
    let status = Status::from_header_map(&trailers).expect("no grpc-status");
    if status.code() != Code::Ok {
        return Err(status);
    }
    let body = collected.to_bytes();
    assert_eq!(frame(0, &body[5..]), body, "one uncompressed message");
    Ok(body[5..].to_vec())
}

/// Checks a refusal; tells whether it carries RetryInfo.
fn check(result: Result<Vec<u8>, Status>, code: Code, case: &str) {
    let status = result.expect_err(case);
    assert_eq!(status.code(), code, "{case}: {status}");
    assert!(!status.message().is_empty() && status.message().len() <= 1024, "{case}");
    let has_retry_info = String::from_utf8_lossy(status.details()).contains("google.rpc.RetryInfo");
    assert_eq!(has_retry_info, code == Code::Unavailable, "{case}");
}

/// A well-behaved client: tonic's own framing and compression, with messages as bytes.
#[derive(Default)]
struct BytesCodec;

impl tonic::codec::Codec for BytesCodec {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl tonic::codec::Encoder for BytesCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut tonic::codec::EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(buffer, &item);
        Ok(())
    }
}

impl tonic::codec::Decoder for BytesCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut tonic::codec::DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; bytes::Buf::remaining(buffer)];
        bytes::Buf::copy_to_slice(buffer, &mut message);
        Ok(Some(message))
    }
}

#[tokio::test]
async fn a_usual_client_exports_every_signal_with_every_compression() {
    let server = Server::open().await;
    let channel = channel(&server).await;
    for signal in Signal::ALL {
        for encoding in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
            let mut client = tonic::client::Grpc::new(channel.clone());
            if let Some(encoding) = encoding {
                client = client.send_compressed(encoding).accept_compressed(encoding);
            }
            client.ready().await.unwrap();
            let mut request = tonic::Request::new(one(signal));
            request.metadata_mut().insert("x-tenant-id", "acme".parse().unwrap());
            let path = axum::http::uri::PathAndQuery::from_static(export_path(signal));
            let response = client.unary(request, path, BytesCodec).await.unwrap();
            assert_eq!(response.into_inner(), Vec::<u8>::new(), "full success is an empty message");
            let (tenant, submission) = server.pipeline.accepted.lock().unwrap().pop().unwrap();
            assert_eq!((tenant.as_str(), submission.batch.items()), ("acme", 1));
            assert_eq!((&submission.body[..], submission.batch.signal()), (&one(signal)[..], signal));
        }
    }
    let counted = server.counted();
    assert_eq!(counted["otlp_requests_total{grpc,metrics}"], 3);
    assert_eq!(counted[&format!("grpc_requests_total{{{},OK}}", export_path(Signal::Logs))], 3);
    assert_eq!(server.budget.held_bytes(), 0);
}

#[tokio::test]
async fn empty_partial_and_large_calls() {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
    let server = Server::open().await;
    let channel = channel(&server).await;
    let path = export_path(Signal::Traces);
    assert_eq!(call(&channel, path, &[], frame(0, b"")).await.unwrap(), b"", "A7");
    let body = call(&channel, path, &[], frame(0, &traces(1, 2))).await.unwrap();
    let partial = ExportTraceServiceResponse::decode(&body[..]).unwrap().partial_success.unwrap();
    assert_eq!((partial.rejected_spans, server.pipeline.items()), (2, 1));
    let large = traces(5_000, 0);
    for (encoding, flag, body) in
        [("identity", 0, large.clone()), ("gzip", 1, gzip(&large)), ("zstd", 1, zstd(&large))]
    {
        let answer = call(&channel, path, &[("grpc-encoding", encoding)], frame(flag, &body)).await;
        assert_eq!(answer.unwrap(), b"", "{encoding}");
    }
    let answer = call(&channel, path, &[("grpc-encoding", "gzip")], frame(0, &traces(1, 0))).await;
    assert_eq!(answer.unwrap(), b"", "a call that may compress need not");
    assert_eq!(server.pipeline.items(), 15_002);
}

#[tokio::test]
async fn bad_calls_are_refused_for_good_and_exactly() {
    let server = Server::small(1 << 20).await;
    let channel = channel(&server).await;
    let good = traces(1, 0);
    let zeros = vec![0; 32 << 20];
    let invalid = Code::InvalidArgument;
    let exhausted = Code::ResourceExhausted;
    let cases = [
        ("A3 random", "identity", frame(0, &[0xff; 50]), invalid),
        ("no message", "identity", Vec::new(), invalid),
        ("cut prefix", "identity", vec![0, 0, 0], invalid),
        ("cut message", "identity", frame(0, &good)[..20].to_vec(), invalid),
        ("two messages", "identity", [frame(0, &good), frame(0, &good)].concat(), invalid),
        ("flag 2", "identity", frame(2, &good), invalid),
        ("compressed, no encoding", "identity", frame(1, &gzip(&good)), Code::Internal),
        ("B4 plain as gzip", "gzip", frame(1, &good), invalid),
        ("B4 gzip in gzip", "gzip", frame(1, &gzip(&gzip(&good))), invalid),
        ("B3 uncompressed", "identity", frame(0, &zeros[..(1 << 20) + 1]), exhausted),
        ("B3 prefix alone", "identity", vec![0, 0xff, 0xff, 0xff, 0xff], exhausted),
        ("B3 gzip bomb", "gzip", frame(1, &gzip(&zeros)), exhausted),
        ("B2 zstd bomb", "zstd", frame(1, &zstd(&zeros)), exhausted),
        ("B6 empty spans", "gzip", frame(1, &gzip(&empty_spans(500_000))), exhausted),
        ("unknown compression", "snappy", frame(1, &good), Code::Unimplemented),
    ];
    for (case, encoding, body, code) in cases {
        let answer = call(&channel, export_path(Signal::Traces), &[("grpc-encoding", encoding)], body).await;
        check(answer, code, case);
    }
    let answer = call(&channel, export_path(Signal::Logs), &[("x-tenant-id", "a|b")], frame(0, b"")).await;
    check(answer, invalid, "I3");
    for path in [
        "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Import",
        "/",
    ] {
        check(call(&channel, path, &[], frame(0, b"")).await, Code::Unimplemented, path);
    }
    assert_eq!((server.pipeline.items(), server.budget.held_bytes()), (0, 0));
}

#[tokio::test]
async fn c_temporary_refusals_are_unavailable_with_retry_info() {
    let server = Server::open().await;
    let channel = channel(&server).await;
    let path = export_path(Signal::Traces);
    let kinds = [Kind::Overloaded, Kind::Unavailable, Kind::TimedOut];
    for (kind, code) in
        kinds.map(|kind| (kind, Code::Unavailable)).into_iter().chain([(Kind::Internal, Code::Internal)])
    {
        server.pipeline.refuse(Some(kind));
        check(call(&channel, path, &[], frame(0, &traces(1, 0))).await, code, &format!("{kind:?}"));
    }
    server.pipeline.refuse(None);
    server.receive.set_serving(false);
    check(call(&channel, path, &[], frame(0, &traces(1, 0))).await, Code::Unavailable, "closed");
    let tight = Server::start(None, Options::default(), Budget::new(1_000)).await;
    let channel = self::channel(&tight).await;
    let large = || frame(0, &traces(100, 0));
    check(call(&channel, path, &[], large()).await, Code::ResourceExhausted, "more than the whole budget");
    let mut others = tight.budget.permit(1_000);
    others.grow(900).unwrap();
    check(call(&channel, path, &[], frame(0, &traces(2, 0))).await, Code::Unavailable, "over the budget");
    drop(others);
    assert_eq!(tight.budget.held_bytes(), 0);
}

#[tokio::test]
async fn i2_metadata_carries_the_key() {
    let server = Server::start(Some(KEY), Options::default(), Budget::new(u64::MAX)).await;
    let channel = channel(&server).await;
    let path = export_path(Signal::Traces);
    let body = || frame(0, &traces(1, 0));
    check(call(&channel, path, &[], body()).await, Code::Unauthenticated, "missing");
    let wrong = [("authorization", "Bearer nope")];
    check(call(&channel, path, &wrong, body()).await, Code::Unauthenticated, "wrong");
    let twice = [("authorization", "Bearer s3cret-key"), ("authorization", "Bearer s3cret-key")];
    check(call(&channel, path, &twice, body()).await, Code::Unauthenticated, "twice");
    let right = [("authorization", "bearer s3cret-key"), ("x-scope-orgid", "acme")];
    assert!(call(&channel, path, &right, body()).await.is_ok());
    assert_eq!(server.pipeline.accepted.lock().unwrap()[0].0, "acme");
    assert!(call(&channel, HEALTH, &[], frame(0, b"")).await.is_ok(), "probes need no key");
}

#[tokio::test]
async fn health_follows_the_doors() {
    let server = Server::open().await;
    let channel = channel(&server).await;
    let service = |name: &str| frame(0, &length_delimited(0x0a, name.as_bytes()));
    let known = service("opentelemetry.proto.collector.logs.v1.LogsService");
    assert_eq!(call(&channel, HEALTH, &[], frame(0, b"")).await.unwrap(), [0x08, 1]);
    assert_eq!(call(&channel, HEALTH, &[], known).await.unwrap(), [0x08, 1]);
    let packed = frame(1, &gzip(&[]));
    assert_eq!(call(&channel, HEALTH, &[("grpc-encoding", "gzip")], packed).await.unwrap(), [0x08, 1]);
    check(call(&channel, HEALTH, &[], service("nobody")).await, Code::NotFound, "unknown service");
    check(call(&channel, HEALTH, &[], frame(0, &[0xff])).await, Code::InvalidArgument, "garbage");
    check(call(&channel, HEALTH, &[], service(&"x".repeat(2_000))).await, Code::ResourceExhausted, "long");
    check(
        call(&channel, "/grpc.health.v1.Health/Watch", &[], frame(0, b"")).await,
        Code::Unimplemented,
        "watch",
    );
    server.receive.set_serving(false);
    assert_eq!(call(&channel, HEALTH, &[], frame(0, b"")).await.unwrap(), [0x08, 2]);
}

#[tokio::test]
async fn what_is_not_grpc_is_told_where_to_go() {
    let server = Server::open().await;
    for path in ["/v1/traces", export_path(Signal::Traces), HEALTH] {
        for content_type in ["application/x-protobuf", "application/json", "application/grpc"] {
            let request = reqwest::Client::new().post(format!("http://{}{path}", server.grpc));
            let response = request.header("content-type", content_type).body("").send().await.unwrap();
            assert_eq!(response.status(), 415, "{path} {content_type} over HTTP/1.1");
            let text = response.text().await.unwrap();
            assert!(text.contains("4318"), "{text}");
        }
    }
}

//! Calls over HTTP/2, with frames of gRPC as a case wants them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::answer::Got;

/// Calls `path` with `frames` on a connection of its own.
pub(super) async fn call(
    host: &str,
    (method, path): (&str, &str),
    headers: &[(String, String)],
    frames: Bytes,
    within: Duration,
) -> Got {
    match tokio::time::timeout(within, called(host, (method, path), headers, frames)).await {
        Ok(Ok(got)) => got,
        Ok(Err(error)) => Got::Closed(format!("{error:#}")),
        Err(_) => Got::Silence,
    }
}

async fn called(
    host: &str,
    (method, path): (&str, &str),
    headers: &[(String, String)],
    frames: Bytes,
) -> Result<Got> {
    let stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(format!("http://{host}{path}"));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let answer = sender.send_request(request.body(Full::new(frames))?).await;
    let got = match answer {
        Ok(answer) => {
            let (head, body) = answer.into_parts();
            let collected = body.collect().await?;
            let trailers = collected.trailers().cloned().unwrap_or_default();
            Ok(read(head.status.as_u16(), &head.headers, &trailers, &collected.to_bytes()))
        }
        Err(error) => Err(error.into()),
    };
    driver.abort();
    got
}

fn read(http_status: u16, head: &HeaderMap, trailers: &HeaderMap, body: &Bytes) -> Got {
    let mut headers = BTreeMap::new();
    for (name, value) in head.iter().chain(trailers) {
        headers.insert(name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let code = headers.get("grpc-status").and_then(|code| code.parse().ok());
    let message = decoded(headers.get("grpc-message").map_or("", String::as_str));
    Got::Grpc { http_status, headers, code, message, body: body.to_vec() }
}

/// Text with percent-encoded bytes, as `grpc-message` has it.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

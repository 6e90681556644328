//! Requests over HTTP/1.1, byte for byte as a case wants them: no client library would send most of these.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::answer::Got;

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How long what was sent before the connection broke has to arrive, for the answer to be read all the same.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Sends `request` as it is and reads the first answer that is not provisional. `is_head` where the answer has no body.
pub(super) async fn exchange(host: &str, request: Bytes, is_head: bool, within: Duration) -> Got {
    match tokio::time::timeout(within, exchanged(host, request, is_head)).await {
        Ok(Ok(got)) => got,
        Ok(Err(error)) => Got::Closed(error.to_string()),
        Err(_) => Got::Silence,
    }
}

async fn exchanged(host: &str, request: Bytes, is_head: bool) -> io::Result<Got> {
    let stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = stream.into_split();
    // A server may answer, and close, before it has read everything: that is not a failure of writing.
    let mut writing = tokio::spawn(async move {
        let written = writer.write_all(&request).await;
        (written, writer)
    });
    let mut answer = Answer::default();
    let mut writer_held = None;
    loop {
        if let Some(got) = answer.complete(is_head, false) {
            writing.abort();
            return Ok(got);
        }
        let mut buffer = [0; 16 << 10];
        tokio::select! {
            read = reader.read(&mut buffer) => match read {
                Ok(0) => break,
                Ok(length) => answer.bytes.extend_from_slice(&buffer[..length]),
                Err(_) if !answer.bytes.is_empty() => break,
                Err(error) => return Err(error),
            },
            written = &mut writing, if writer_held.is_none() => {
                if let Ok((Err(error), _)) = &written
                    && answer.bytes.is_empty()
                {
                    let rest = tokio::time::timeout(LAST_WORDS, reader.read_to_end(&mut answer.bytes)).await;
                    if !matches!(rest, Ok(Ok(_))) && answer.bytes.is_empty() {
                        return Err(io::Error::new(error.kind(), error.to_string()));
                    }
                    break;
                }
                writer_held = Some(written);
            }
        }
        if ANSWER_BYTES_MAX < answer.bytes.len() {
            return Err(io::Error::other("the answer has no end"));
        }
    }
    writing.abort();
    let nothing = || io::Error::new(io::ErrorKind::UnexpectedEof, "without an answer");
    answer.complete(is_head, true).ok_or_else(nothing)
}

/// What has been read so far.
#[derive(Default)]
struct Answer {
    bytes: Vec<u8>,
}

impl Answer {
    /// The answer, once all of it is there.
    fn complete(&mut self, is_head: bool, is_end: bool) -> Option<Got> {
        loop {
            let end = self.bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
            let head = String::from_utf8_lossy(&self.bytes[..end]).into_owned();
            let mut lines = head.split("\r\n");
            let status: u16 = lines.next()?.split(' ').nth(1)?.parse().ok()?;
            if (100..200).contains(&status) {
                self.bytes.drain(..end + 4);
                continue;
            }
            let headers: BTreeMap<String, String> = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect();
            let rest = &self.bytes[end + 4..];
            let body = if is_head || status == 204 || status == 304 {
                Vec::new()
            } else if headers.get("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
                unchunked(rest)?
            } else if let Some(length) = headers.get("content-length") {
                rest.get(..length.parse::<usize>().ok()?)?.to_vec()
            } else if is_end {
                rest.to_vec()
            } else {
                return None;
            };
            return Some(Got::Http { status, headers, body });
        }
    }
}

/// The body in chunks, once the last one is there.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        let chunk = rest.get(line + 2..size.checked_add(line + 2)?)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(chunk);
        rest = rest.get(size.checked_add(line + 4)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &str, is_end: bool) -> Option<(u16, Vec<u8>)> {
        let mut answer = Answer { bytes: bytes.as_bytes().to_vec() };
        match answer.complete(false, is_end)? {
            Got::Http { status, body, .. } => Some((status, body)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn answers_end_by_their_length_their_last_chunk_or_the_connection() {
        let head = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n";
        assert_eq!(read(&format!("{head}Content-Length: 2\r\n\r\nabc"), false), Some((200, b"ab".to_vec())));
        assert_eq!(read(&format!("{head}Content-Length: 2\r\n\r\na"), false), None);
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n");
        assert_eq!(read(&chunked, false), None);
        assert_eq!(read(&format!("{chunked}0\r\n\r\n"), false), Some((200, b"abcd".to_vec())));
        assert_eq!(read(&format!("{head}X: y\r\n\r\nabc"), false), None);
        assert_eq!(read(&format!("{head}X: y\r\n\r\nabc"), true), Some((200, b"abc".to_vec())));
        assert_eq!(read("HTTP/1.1 204 No Content\r\n\r\n", false), Some((204, Vec::new())));
    }
}

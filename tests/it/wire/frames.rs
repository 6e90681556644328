//! Floods of HTTP/2 frames, written by hand: the connection ends, and the server serves on.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::server::{PATIENCE, Server};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const MAX_CONCURRENT_STREAMS: u16 = 3;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of `POST /v1/traces`, in HPACK without a table of its own.
fn head() -> Vec<u8> {
    let literal = |text: &str| [&[text.len() as u8][..], text.as_bytes()].concat();
    [&[0x83, 0x86, 0x04][..], &literal("/v1/traces"), &[0x01], &literal("localhost")].concat()
}

/// A connection that has sent its preface.
struct Connection {
    stream: TcpStream,
}

/// How a flood ended.
#[derive(Debug)]
enum End {
    /// The server said why, as an error code of HTTP/2.
    Told(u32),
    /// The server closed without a word.
    Closed,
}

impl Connection {
    fn open(address: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
        Self { stream }
    }

    /// The next frame; none at the end of the connection.
    fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).ok()?;
        Some((head[3], payload))
    }

    /// Writes `part` again and again, with its number, until the server ends the connection.
    fn flood(mut self, most: u32, part: impl Fn(u32) -> Vec<u8> + Send + 'static) -> End {
        let mut writing = self.stream.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            let begun = Instant::now();
            for number in 0..most {
                match writing.write_all(&part(number)) {
                    Ok(()) => assert!(begun.elapsed() < PATIENCE, "the server takes all of it"),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("the server takes nothing"),
                    Err(_) => return,
                }
            }
        });
        let mut end = End::Closed;
        while let Some((kind, payload)) = self.next() {
            if kind == GOAWAY {
                let code = u32::from_be_bytes(payload[4..8].try_into().unwrap());
                // The first one may only announce the end.
                end = if code == 0 { end } else { End::Told(code) };
            }
        }
        drop(self);
        writer.join().unwrap();
        end
    }
}

/// A flood against each port ends, and other clients are served meanwhile and after.
async fn ends(most: u32, part: impl Fn(u32) -> Vec<u8> + Clone + Send + 'static) -> Vec<End> {
    let server = Server::start(&[]).await;
    let mut ends = Vec::new();
    for address in [&server.grpc, &server.otlp_http, &server.http] {
        let (address, part) = (address.clone(), part.clone());
        let flood = tokio::task::spawn_blocking(move || Connection::open(&address).flood(most, part));
        while !flood.is_finished() {
            let live = reqwest::get(format!("http://{}/live", server.http)).await.unwrap();
            assert_eq!(live.status(), 200);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ends.push(flood.await.unwrap());
    }
    let resident = server.metric("otelcontext_process_resident_memory_bytes").await;
    assert!(resident < 400e6, "{resident} bytes after the floods");
    ends
}

const ENHANCE_YOUR_CALM: u32 = 11;

#[tokio::test]
async fn h6_streams_that_are_reset_as_soon_as_they_begin_end_the_connection() {
    let told = ends(1_000_000, |number| {
        let stream = 2 * number + 1;
        let open = frame(HEADERS, END_HEADERS, stream, &head());
        [open, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    });
    for end in told.await {
        assert!(matches!(end, End::Told(ENHANCE_YOUR_CALM) | End::Closed), "{end:?}");
    }
}

#[tokio::test]
async fn h7_a_head_without_end_ends_the_connection() {
    let told = ends(1_000_000, |number| match number {
        0 => frame(HEADERS, 0, 1, &head()),
        // A header that nobody indexes: four kilobytes of `x`.
        _ => frame(CONTINUATION, 0, 1, &[&[0x00, 1, b'x', 0x7f, 0x81, 0x1f][..], &[b'x'; 4_096]].concat()),
    });
    for end in told.await {
        assert!(matches!(end, End::Told(_) | End::Closed), "{end:?}");
    }
}

#[tokio::test]
async fn h7_empty_data_without_end_ends_the_connection() {
    let told = ends(1_000_000, |number| match number {
        0 => frame(HEADERS, END_HEADERS, 1, &head()),
        _ => frame(DATA, 0, 1, &[]),
    });
    for end in told.await {
        assert!(matches!(end, End::Told(_) | End::Closed), "{end:?}");
    }
}

#[tokio::test]
async fn h8_the_server_says_how_many_streams_it_takes() {
    let server = Server::start(&[("GRPC_MAX_CONCURRENT_STREAMS", "7")]).await;
    let address = server.grpc.clone();
    let told = tokio::task::spawn_blocking(move || {
        let mut connection = Connection::open(&address);
        loop {
            let (kind, payload) = connection.next().expect("the connection ends without settings");
            let mut settings = payload.as_chunks::<6>().0.iter();
            let streams = |setting: &&[u8; 6]| setting[..2] == MAX_CONCURRENT_STREAMS.to_be_bytes();
            if kind == SETTINGS
                && let Some(setting) = settings.find(streams)
            {
                return u32::from_be_bytes(setting[2..].try_into().unwrap());
            }
        }
    });
    assert_eq!(told.await.unwrap(), 7);
}

#[tokio::test]
async fn h7_pings_and_settings_without_pause_take_no_memory() {
    let server = Server::start(&[]).await;
    for kind in [PING, SETTINGS] {
        let before = server.metric("otelcontext_process_resident_memory_bytes").await;
        let address = server.http.clone();
        let flood = tokio::task::spawn_blocking(move || {
            let mut connection = Connection::open(&address);
            let part = if kind == PING { frame(PING, 0, 0, &[7; 8]) } else { frame(SETTINGS, 0, 0, &[]) };
            let mut reading = connection.stream.try_clone().unwrap();
            // Answers are read for a while, and then no more.
            let reader = std::thread::spawn(move || reading.read_exact(&mut vec![0; 1 << 16]));
            let parts = part.repeat(256);
            connection.stream.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
            for _ in 0..4_000 {
                if connection.stream.write_all(&parts).is_err() {
                    break;
                }
            }
            let _ = connection.stream.shutdown(std::net::Shutdown::Both);
            let _ = reader.join().unwrap();
        });
        flood.await.unwrap();
        let grown = server.metric("otelcontext_process_resident_memory_bytes").await - before;
        assert!(grown < 100e6, "{kind}: the server grew by {grown} bytes");
    }
}

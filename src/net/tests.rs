use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use http_body_util::Full;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio::time::timeout;
use tower::service_fn;

use super::*;

const SOON: Duration = Duration::from_millis(300);
const LATE: Duration = Duration::from_secs(5);

fn hasty() -> Options {
    Options { header_timeout: SOON, idle_timeout: SOON * 4, write_timeout: SOON, ..Options::default() }
}

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn start<F, A>(answer: F, options: Options) -> Server
where
    F: Fn(Request<Body>) -> A + Clone + Send + 'static,
    A: Future<Output = Answered> + Send + 'static,
{
    let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let address = listener.address();
    let stop = CancellationToken::new();
    let task = serve(listener, service_fn(answer), (options, None), stop.clone());
    Server { address, stop, task }
}

type Answered = Result<Response<Full<Bytes>>, Infallible>;

fn answered(status: StatusCode, body: impl Into<Bytes>) -> Answered {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    Ok(response)
}

async fn hello(request: Request<Body>) -> Answered {
    match request.uri().path() {
        "/large" => answered(StatusCode::OK, vec![b'x'; 1 << 20]),
        "/flood" => answered(StatusCode::OK, vec![b'x'; 64 << 20]),
        "/refuse" => answered(StatusCode::PAYLOAD_TOO_LARGE, "no"),
        "/never" => std::future::pending().await,
        _ => {
            let peer: SocketAddr = *request.extensions().get().unwrap();
            answered(StatusCode::OK, peer.ip().to_string())
        }
    }
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).await.unwrap()
}

/// Reads until the server closes, and tells how long that took.
async fn until_closed(stream: &mut TcpStream) -> (String, Duration) {
    let start = Instant::now();
    let mut read = Vec::new();
    let _reset_is_closed_too = timeout(LATE, stream.read_to_end(&mut read)).await.expect("still open");
    (String::from_utf8_lossy(&read).into_owned(), start.elapsed())
}

/// Reads one answer whose body ends in `end`.
async fn answer(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        assert!(0 < timeout(LATE, stream.read_buf(&mut read)).await.unwrap().unwrap(), "closed early");
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn the_bind_error_names_the_address() {
    let first = bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let error = bind(first.address()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {}", first.address()));
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[tokio::test]
async fn h4_silent_and_dripping_clients_are_closed_at_the_header_timeout() {
    let server = start(hello, hasty()).await;
    for start in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM", "GET / HT", "GET / HTTP/1.1\r\nhost: a\r\nx: "] {
        let mut stream = connect(&server).await;
        stream.write_all(start.as_bytes()).await.unwrap();
        let (_, waited) = until_closed(&mut stream).await;
        assert!(SOON / 2 <= waited && waited < LATE, "{start:?} was closed after {waited:?}");
    }
    let mut stream = connect(&server).await;
    let begun = Instant::now();
    while stream.write_all(b"G").await.is_ok() && begun.elapsed() < LATE {
        tokio::time::sleep(SOON / 10).await;
    }
    assert!(begun.elapsed() < LATE, "a dripping client was kept");
}

#[tokio::test]
async fn a_polite_client_keeps_its_connection_past_the_header_timeout() {
    let server = start(hello, hasty()).await;
    let mut stream = connect(&server).await;
    for _ in 0..2 {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        assert!(answer(&mut stream, "127.0.0.1").await.starts_with("HTTP/1.1 200"));
        tokio::time::sleep(SOON * 2).await;
    }
    stream.write_all(b"GET / HTTP/1.1\r\nho").await.unwrap();
    let (read, waited) = until_closed(&mut stream).await;
    assert!(read.is_empty() && waited < LATE, "{read}");
}

#[tokio::test]
async fn an_idle_client_is_closed_in_the_end() {
    let server = start(hello, Options { idle_timeout: SOON, ..Options::default() }).await;
    let mut stream = connect(&server).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let (read, _) = until_closed(&mut stream).await;
    assert!(read.ends_with("127.0.0.1"), "{read}");
}

#[tokio::test]
async fn an_http2_client_without_requests_is_kept_until_it_is_idle_and_told_before_it_is_closed() {
    let server = start(hello, hasty()).await;
    let mut stream = connect(&server).await;
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&settings).await.unwrap();
    let begun = Instant::now();
    let mut read = Vec::new();
    let _reset_is_closed_too = timeout(LATE, stream.read_to_end(&mut read)).await.expect("still open");
    assert!(hasty().idle_timeout <= begun.elapsed(), "closed after {:?}", begun.elapsed());
    let frames = std::iter::successors(Some(read.as_slice()), |rest| {
        let length = rest
            .first_chunk::<3>()
            .map(|length| length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)));
        rest.get(9 + length?..)
    });
    let kinds: Vec<u8> = frames.filter_map(|frame| frame.get(3).copied()).collect();
    assert!(kinds.contains(&7), "no GOAWAY among the frames {kinds:?}");
}

#[tokio::test]
async fn h7_an_http2_client_whose_window_stays_shut_is_cut_off() {
    // Windows of streams begin at so much (RFC 9113, section 6.9.2), and never open.
    for (path, window) in [("/", 0), ("/large", 0), ("/large", 1)] {
        shut(path, window).await;
    }
}

async fn shut(path: &str, window: u8) {
    let server = start(hello, Options { idle_timeout: LATE * 2, ..hasty() }).await;
    let mut stream = connect(&server).await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, window]).await.unwrap();
    let length = u8::try_from(path.len()).unwrap();
    let ask = [&[0x82, 0x04, length], path.as_bytes(), &[0x86, 0x41, 1, b'a']].concat();
    let head = [0, 0, u8::try_from(ask.len()).unwrap(), 1, 5, 0, 0, 0, 1];
    stream.write_all(&[&head[..], &ask].concat()).await.unwrap();
    let begun = Instant::now();
    let mut read = Vec::new();
    let _reset_is_closed_too = timeout(LATE, stream.read_to_end(&mut read)).await.expect("still open");
    let open = begun.elapsed();
    let (least, most) = (hasty().write_timeout, hasty().write_timeout * 3 + Duration::from_secs(1));
    assert!(least <= open && open < most, "{path}, {window}: closed after {open:?}");
}

#[tokio::test]
async fn h4_a_client_that_never_reads_is_cut_off() {
    let server = start(hello, hasty()).await;
    let mut stream = connect(&server).await;
    stream.write_all(b"GET /flood HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(SOON * 3).await;
    let (read, _) = until_closed(&mut stream).await;
    assert!(read.len() < 64 << 20, "everything was sent to a client that did not read");
}

#[tokio::test]
async fn an_early_refusal_reaches_a_client_that_is_still_sending() {
    let server = start(hello, Options::default()).await;
    let mut stream = connect(&server).await;
    let head = format!("POST /refuse HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", 32 << 20);
    stream.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![0; 1 << 20];
    for _ in 0..32 {
        stream.write_all(&piece).await.expect("the connection was reset while the body was sent");
    }
    let (read, _) = until_closed(&mut stream).await;
    assert!(read.starts_with("HTTP/1.1 413"), "{read}");
}

#[tokio::test]
async fn b9_heads_beyond_the_limit_are_refused() {
    let server = start(hello, Options::default()).await;
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(70 << 10));
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(1000));
    for head in [long, many] {
        let mut stream = connect(&server).await;
        let _may_be_cut_off = stream.write_all(head.as_bytes()).await;
        let (read, _) = until_closed(&mut stream).await;
        assert!(read.is_empty() || read.starts_with("HTTP/1.1 431"), "{read}");
    }
}

#[tokio::test]
async fn c7_at_the_cap_the_next_client_waits_and_then_gets_in() {
    let server = start(hello, Options { connections_max: 1, ..Options::default() }).await;
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut first = connect(&server).await;
    first.write_all(request).await.unwrap();
    answer(&mut first, "127.0.0.1").await;
    let mut second = connect(&server).await;
    second.write_all(request).await.unwrap();
    let mut byte = [0];
    assert!(timeout(SOON, second.read_exact(&mut byte)).await.is_err(), "the cap did not hold");
    drop(first);
    answer(&mut second, "127.0.0.1").await;
}

#[tokio::test]
async fn c7_at_the_cap_who_asks_nothing_makes_room() {
    let options =
        Options { connections_max: 1, header_timeout: SOON, idle_timeout: LATE * 100, ..Options::default() };
    let server = start(hello, options).await;
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    // One that has asked, and one that never does.
    for begin in [&request[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut first = connect(&server).await;
        first.write_all(begin).await.unwrap();
        let mut byte = [0];
        first.read_exact(&mut byte).await.unwrap();
        let mut second = connect(&server).await;
        second.write_all(request).await.unwrap();
        answer(&mut second, "127.0.0.1").await;
    }
}

#[tokio::test]
async fn h9_accept_errors_never_end_the_loop() {
    let calls = AtomicUsize::new(0);
    let accepted = persistently(|| async {
        match calls.fetch_add(1, Ordering::Relaxed) {
            0 => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
            1 => Err(io::Error::from_raw_os_error(24)), // EMFILE
            2 => Err(io::Error::other("something new")),
            call => Ok(call),
        }
    });
    assert_eq!(timeout(LATE, accepted).await, Ok(3));
}

#[tokio::test]
async fn n1_a_stop_lets_a_request_end_and_closes_the_rest() {
    let (begun, mut has_begun) = tokio::sync::mpsc::channel::<()>(1);
    let (release, released) = oneshot::channel::<()>();
    let released = Arc::new(tokio::sync::Mutex::new(Some(released)));
    let slow = move |request: Request<Body>| {
        let (begun, released) = (begun.clone(), Arc::clone(&released));
        async move {
            if request.uri().path() != "/slow" {
                return hello(request).await;
            }
            begun.send(()).await.unwrap();
            let released = released.lock().await.take();
            released.unwrap().await.unwrap();
            answered(StatusCode::OK, "done")
        }
    };
    let server = start(slow, Options::default()).await;
    let mut idle = connect(&server).await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    answer(&mut idle, "127.0.0.1").await;
    let mut busy = connect(&server).await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    has_begun.recv().await.unwrap();
    server.stop.cancel();
    assert_eq!(until_closed(&mut idle).await.0, "");
    assert!(!server.task.is_finished());
    release.send(()).unwrap();
    assert!(until_closed(&mut busy).await.0.ends_with("done"));
    timeout(LATE, server.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn n2_a_stop_ends_at_its_deadline_whatever_clients_do() {
    let options = Options { stop_timeout: SOON, ..Options::default() };
    let server = start(hello, options).await;
    let mut stuck = connect(&server).await;
    stuck.write_all(b"GET /never HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut half = connect(&server).await;
    half.write_all(b"GET / HT").await.unwrap();
    let _silent = connect(&server).await;
    tokio::time::sleep(SOON / 3).await;
    server.stop.cancel();
    timeout(LATE, server.task).await.expect("the stop hangs").unwrap();
}

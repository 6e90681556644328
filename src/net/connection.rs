//! One connection, from its first byte to its last.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Request;
use http::Response;
use http_body::Frame;
use http_body::SizeHint;
use http_body_util::BodyExt;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::Service;
use tower::ServiceExt;
use tracing::debug;

use super::Body;
use super::BoxError;
use super::Options;
use super::stream::Watched;
use super::watch::{Crowd, Overdue, Watch};

/// Least size of hyper's buffer for the head of a request.
const HEADER_BYTES_MIN: u32 = 8 << 10;

/// What all connections of one listener share.
pub(super) struct Settings {
    options: Options,
    builder: Builder<TokioExecutor>,
    stop: CancellationToken,
    /// Whether there is room for more of them.
    pub(super) crowd: Arc<Crowd>,
}

impl Settings {
    /// Settings after `options`; connections begin to leave when `stop` is cancelled.
    pub(super) fn new(options: Options, stop: CancellationToken) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        let header_bytes_max = options.header_bytes_max.max(HEADER_BYTES_MIN);
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(None) // The watch knows better.
            .max_buf_size(header_bytes_max as usize);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(header_bytes_max)
            .max_concurrent_streams(options.streams_max)
            .keep_alive_interval(options.ping_interval)
            .keep_alive_timeout(options.ping_timeout);
        Self { options, builder, stop, crowd: Arc::default() }
    }
}

/// Serves one connection until it ends, is overdue, or has left after a stop.
pub(super) async fn run<I, S, B>(stream: I, peer: SocketAddr, service: S, settings: Arc<Settings>)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let watch = Arc::new(Watch::new(&settings.options, Arc::clone(&settings.crowd)));
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&watch)));
    let entry = Entry { service, peer, watch: Arc::clone(&watch) };
    let mut connection = pin!(settings.builder.serve_connection(io, TowerToHyperService::new(entry)));
    let mut is_leaving = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    debug!(%peer, error, "connection ended");
                }
                return;
            }
            () = settings.stop.cancelled(), if !is_leaving => {}
            why = watch.overdue() => {
                debug!(%peer, ?why, "connection overdue");
                if why != Overdue::Idle {
                    return;
                }
            }
        }
        // The server stops, or the client has been idle: it is told, and given time to leave.
        is_leaving = true;
        watch.leaving();
        connection.as_mut().graceful_shutdown();
    }
}

/// The service as one connection sees it.
#[derive(Clone)]
struct Entry<S> {
    service: S,
    peer: SocketAddr,
    watch: Arc<Watch>,
}

impl<S, R, B> Service<Request<R>> for Entry<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    R: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Answer<B>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let progress = Progress::begin(Arc::clone(&self.watch));
        let watch = Arc::clone(&self.watch);
        let mut request = request.map(|body| {
            Question { body, watch, is_read: false }.map_err(std::io::Error::other).boxed_unsync()
        });
        request.extensions_mut().insert(self.peer);
        let answer = self.service.clone().oneshot(request);
        Box::pin(async move {
            let answer = answer.await?;
            progress.watch.awaits_client(progress.number, 0);
            Ok(answer.map(|body| Answer { body, rest: Bytes::new(), progress }))
        })
    }
}

/// One request in progress, from the service's call to the last byte of the answer.
struct Progress {
    watch: Arc<Watch>,
    number: u64,
}

impl Progress {
    fn begin(watch: Arc<Watch>) -> Self {
        let number = watch.request_began();
        Self { watch, number }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.watch.request_ended(self.number);
    }
}

/// Bytes of an answer that are handed over at a time: what is handed over waits in memory until the client takes it, and is not
/// watched any more.
const PIECE_BYTES: usize = 64 << 10;

/// The body of an answer, piece by piece; the request is in progress as long as it lives.
struct Answer<B> {
    body: B,
    /// Of a frame of the body what was not handed over yet.
    rest: Bytes,
    progress: Progress,
}

impl<B: http_body::Body<Data = Bytes> + Unpin> http_body::Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Self { body, rest, progress: Progress { watch, number } } = self.get_mut();
        // Asked for the next piece: the one before is on its way.
        watch.goes_on(*number);
        if rest.is_empty() {
            match ready!(Pin::new(body).poll_frame(context)).transpose()? {
                None => return Poll::Ready(None),
                Some(frame) => match frame.into_data() {
                    Ok(data) => *rest = data,
                    Err(others) => return Poll::Ready(Some(Ok(others))),
                },
            }
        }
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        watch.awaits_client(*number, piece.len());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

/// The body of a request; it tells the watch when it is given up before its end.
struct Question<B: http_body::Body> {
    body: B,
    watch: Arc<Watch>,
    is_read: bool,
}

impl<B: http_body::Body + Unpin> http_body::Body for Question<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(None | Some(Err(_))) = frame {
            self.is_read = true;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: http_body::Body> Drop for Question<B> {
    fn drop(&mut self) {
        if !self.is_read && !self.body.is_end_stream() {
            self.watch.body_left_unread();
        }
    }
}

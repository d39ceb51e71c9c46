//! The HTTP side of a WebSocket: asking for it, and what the answer means in our own words.
//! The only place that knows tungstenite and HTTP.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::{Response, StatusCode, header};
use topichub_protocol::websocket::deflate::{Agreed, OFFER, confirm};
use topichub_protocol::{ErrorCode, Reconnect};

use crate::address::ServerUrl;
use crate::dial::{Stream, dial};
use crate::error::Error;
use crate::session::Refusal;
use crate::transport::Settings;

/// How an answer begins that agrees.
const AGREED: &[u8] = b"HTTP/1.1 101";

/// The end of its head.
const END: &[u8] = b"\r\n\r\n";

/// What a handshake leaves behind.
pub(crate) struct Shaken {
    pub(crate) stream: Stream,
    /// What has come on it already.
    pub(crate) input: Vec<u8>,
    /// What was agreed on for compressed messages.
    pub(crate) deflate: Option<Agreed>,
}

/// Connects and shakes hands.
pub(crate) async fn shake_hands(settings: &Settings) -> Result<Shaken, Refusal> {
    let url = &settings.url;
    let stream = dial(settings).await.map_err(|error| unreachable(url, error))?;
    let mut request =
        ClientRequestBuilder::new(url.uri().clone()).with_sub_protocol(settings.codec.subprotocol());
    for (name, value) in &settings.headers {
        request = request.with_header(name, value);
    }
    if settings.compression {
        request = request.with_header(header::SEC_WEBSOCKET_EXTENSIONS.as_str(), OFFER);
    }
    let answering = Answering { stream, answer: Vec::new(), given: 0, end: None };
    let shaken = tokio_tungstenite::client_async(request, answering).await;
    let (socket, response) = shaken.map_err(|error| refusal(url, error))?;
    let deflate = agreed(&response, settings.compression).map_err(|why| stranger(url, &why))?;
    let Answering { stream, mut answer, given, .. } = socket.into_inner();
    Ok(Shaken { stream, input: answer.split_off(given), deflate })
}

/// What an answer agrees on beside the subprotocol, which tungstenite does not check.
fn agreed(response: &Response<Option<Vec<u8>>>, is_offered: bool) -> Result<Option<Agreed>, String> {
    let lines = response.headers().get_all(header::SEC_WEBSOCKET_EXTENSIONS);
    let lines: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
    match confirm(lines.iter().map(AsRef::as_ref)) {
        Ok(Some(agreed)) if !is_offered => {
            Err(format!("the server took an extension that was not offered: {agreed}"))
        }
        other => other.map_err(|error| error.to_string()),
    }
}

/// A stream on which nothing is told behind the head of an answer that agrees: tungstenite would read along the first
/// frames, and keep them.
struct Answering {
    stream: Stream,
    answer: Vec<u8>,
    given: usize,
    /// Where the head ends, if the answer is 101.
    end: Option<usize>,
}

impl Answering {
    /// What has come and may be told.
    fn told(&self) -> &[u8] {
        self.answer.get(self.given..self.end.unwrap_or(self.answer.len())).unwrap_or_default()
    }

    fn take(&mut self, bytes: &[u8]) {
        // The end may have begun in what came before.
        let from = self.answer.len().saturating_sub(END.len() - 1);
        self.answer.extend_from_slice(bytes);
        if self.end.is_none() && self.answer.starts_with(AGREED) {
            let new = self.answer.get(from..).unwrap_or_default();
            let at = new.windows(END.len()).position(|four| four == END);
            self.end = at.map(|at| from + at + END.len());
        }
    }
}

impl AsyncRead for Answering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.told().is_empty() && self.end.is_none() {
            let mut bytes = [0; 4096];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(self.stream.as_mut().poll_read(cx, &mut read))?;
            self.take(read.filled());
        }
        let told = self.told();
        let len = told.len().min(out.remaining());
        out.put_slice(told.get(..len).unwrap_or_default());
        self.given += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Answering {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }
}

/// Nobody has been reached.
fn unreachable(url: &Arc<ServerUrl>, source: io::Error) -> Refusal {
    let verdict = match source.kind() {
        io::ErrorKind::Unsupported => Reconnect::Never,
        _ => Reconnect::Later,
    };
    let error = Error::Unreachable { url: Arc::clone(url), source: Arc::new(source) };
    Refusal { error, verdict, after: Duration::ZERO, is_unauthorized: false }
}

/// Whoever has been reached does not speak as we do.
fn stranger(url: &Arc<ServerUrl>, why: &str) -> Refusal {
    let error = Error::Stranger { url: Arc::clone(url), why: why.into(), code: None };
    Refusal { error, verdict: Reconnect::Later, after: Duration::ZERO, is_unauthorized: false }
}

/// Why the handshake failed, and whether to come back.
fn refusal(url: &Arc<ServerUrl>, error: tungstenite::Error) -> Refusal {
    match error {
        tungstenite::Error::Io(source) => unreachable(url, source),
        tungstenite::Error::Http(response) => refusal_by_http(url, &response),
        tungstenite::Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => {
            stranger(url, "the server took none of our subprotocols")
        }
        other => stranger(url, &other.to_string()),
    }
}

pub(crate) fn refusal_by_http(url: &Arc<ServerUrl>, response: &Response<Option<Vec<u8>>>) -> Refusal {
    let url = Arc::clone(url);
    let status = response.status();
    let (why, code) = answer_of(response);
    let (verdict, error) = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            (Reconnect::Never, Error::NotLetIn { url, why, code })
        }
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::UPGRADE_REQUIRED => {
            (Reconnect::Never, Error::Stranger { url, why, code })
        }
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            let seconds = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            let after = seconds.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
            (Reconnect::Later, Error::Full { url, why, after })
        }
        _ => (Reconnect::Later, Error::Stranger { url, why, code }),
    };
    let after = match &error {
        Error::Full { after: Some(after), .. } => *after,
        _ => Duration::ZERO,
    };
    Refusal { error, verdict, after, is_unauthorized: status == StatusCode::UNAUTHORIZED }
}

/// An HTTP answer where a WebSocket was asked for: its status, and what a problem document (RFC 9457) says.
fn answer_of(response: &Response<Option<Vec<u8>>>) -> (Arc<str>, Option<ErrorCode>) {
    let status = response.status();
    let problem: Option<serde_json::Value> =
        response.body().as_deref().and_then(|body| serde_json::from_slice(body).ok());
    let text = |key| problem.as_ref().and_then(|problem| problem.get(key)).and_then(|text| text.as_str());
    let why = match text("detail") {
        Some(detail) => format!("the answer is {status}: {detail}"),
        None => format!("the answer is {status}"),
    };
    (why.into(), text("code").and_then(ErrorCode::parse))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of an answer that comes in two pieces, and what is left.
    fn told(answer: &[u8], cut: usize) -> (Vec<u8>, Vec<u8>) {
        let stream = Box::pin(tokio::io::empty());
        let mut answering = Answering { stream, answer: Vec::new(), given: 0, end: None };
        let mut told = Vec::new();
        for piece in [&answer[..cut], &answer[cut..]] {
            answering.take(piece);
            told.extend_from_slice(answering.told());
            answering.given += answering.told().len();
        }
        (told, answering.answer.split_off(answering.given))
    }

    #[test]
    fn nothing_is_told_behind_the_head_of_an_answer_that_agrees() {
        let (head, frames) =
            (b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\n".as_slice(), b"\x81\x02\r\n\r\n\r\n");
        let answer = [head, frames].concat();
        for cut in 0..answer.len() {
            assert_eq!(told(&answer, cut), (head.to_vec(), frames.to_vec()), "cut at {cut}");
        }
    }

    #[test]
    fn all_is_told_of_a_refusal() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\n\r\n{\"detail\":\"full\"}";
        for cut in 0..answer.len() {
            assert_eq!(told(answer, cut), (answer.to_vec(), Vec::new()), "cut at {cut}");
        }
    }
}

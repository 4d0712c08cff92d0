//! What is in a request, and what in an answer?
//!
//! A request's body is read whole, within a size and a time. An answer's is bytes at once or a stream of events.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Frame, SizeHint};
use tokio::sync::mpsc;

use super::limits::BODY_TIMEOUT;
use super::problem::Problem;

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// Bytes, sent at once.
    Whole(Bytes),
    /// Chunks, sent as they come; ends when the sender is dropped.
    Stream(mpsc::Receiver<Bytes>),
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::Whole(bytes.into())
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(chunks) => chunks.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// Reads a request's body: at most `limit` bytes, within [`BODY_TIMEOUT`].
///
/// Grows as bytes arrive, never by what `Content-Length` claims.
pub async fn read<B>(body: B, limit: usize) -> Result<Bytes, Problem>
where
    B: hyper::body::Body<Data = Bytes>,
{
    // What a client claims to send is refused before it is sent.
    if body.size_hint().lower() > limit as u64 {
        return Err(Problem::too_large(limit));
    }
    tokio::time::timeout(BODY_TIMEOUT, read_all(body, limit)).await.unwrap_or_else(|_| {
        let detail = format!("the body did not arrive within {} seconds", BODY_TIMEOUT.as_secs());
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail, "send it faster"))
    })
}

async fn read_all<B>(body: B, limit: usize) -> Result<Bytes, Problem>
where
    B: hyper::body::Body<Data = Bytes>,
{
    let mut body = std::pin::pin!(body);
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let broken = |_| Problem::new(StatusCode::BAD_REQUEST, "the body broke off", "send it whole");
        // Trailers are of no interest.
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            if bytes.len() + data.len() > limit {
                return Err(Problem::too_large(limit));
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.freeze())
}

/// Like [`read`], and must be UTF-8.
pub async fn read_text<B>(body: B, limit: usize) -> Result<String, Problem>
where
    B: hyper::body::Body<Data = Bytes>,
{
    let bytes = read(body, limit).await?;
    String::from_utf8(bytes.into())
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body is not UTF-8", "send SDP as text"))
}

//! What goes over the connection, when the server must be able to break it:
//! bodies that stop, stall or fail, and sockets that are reset.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// One step of a body.
#[derive(Debug)]
pub enum Step {
    /// These bytes are sent.
    Data(Bytes),
    /// Nothing is sent for a while; what was sent before is flushed.
    Wait(Duration),
    /// The connection is closed.
    Close,
    /// The connection is reset.
    Reset(Arc<AtomicBool>),
}

/// A body as a sequence of steps.
#[derive(Debug, Default)]
pub struct Script {
    steps: VecDeque<Step>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whether its length is told; else it is sent in chunks, or the response
    /// has a Content-Length of its own.
    tells_length: bool,
}

impl Script {
    /// A whole body.
    pub fn whole(body: Bytes, tells_length: bool) -> Self {
        Self { steps: VecDeque::from([Step::Data(body)]), sleep: None, tells_length }
    }

    /// A body that takes these steps.
    pub fn of(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), sleep: None, tells_length: false }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                match sleep.as_mut().poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => self.sleep = None,
                }
            }
            match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Data(bytes)) if bytes.is_empty() => {}
                Some(Step::Data(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Step::Wait(delay)) => self.sleep = Some(Box::pin(tokio::time::sleep(delay))),
                Some(Step::Close) => return Poll::Ready(Some(Err(broken()))),
                Some(Step::Reset(flag)) => {
                    flag.store(true, Ordering::Relaxed);
                    return Poll::Ready(Some(Err(broken())));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.sleep.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if !self.tells_length {
            return SizeHint::default();
        }
        let length = self
            .steps
            .iter()
            .map(|step| if let Step::Data(bytes) = step { bytes.len() } else { 0 })
            .sum::<usize>();
        SizeHint::with_exact(length as u64)
    }
}

fn broken() -> io::Error {
    io::Error::other("the fault that was asked for")
}

/// A connection that is reset instead of closed when its flag is set.
pub struct Wire {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Wire {
    /// Wraps an accepted connection.
    pub fn new(stream: TcpStream, reset: Arc<AtomicBool>) -> Self {
        Self { stream, reset }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            // Closing with a linger time of zero sends RST in place of FIN.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A connection that is to be reset must not say goodbye first.
        if self.reset.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

//! What flows over a connection.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::dial::Line;
use super::pool::Place;
use crate::proxy::caps::Permit;

/// A body that ends where nothing of it came for too long.
struct Patient {
    body: Incoming,
    limit: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)));
        }
        let limit = self.limit;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Some(Err("nothing came for too long".into())))
    }
}

pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// What a client sends to a VM.
pub(crate) struct Inbound(Option<Patient>);

impl Inbound {
    pub fn new(body: Incoming, limit: Duration) -> Self {
        Self((!body.is_end_stream()).then_some(Patient { body, limit, waiting: None }))
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            None => Poll::Ready(None),
            Some(body) => body.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|body| body.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |body| body.body.size_hint())
    }
}

/// What a client is sent: a page of the proxy's own, or what a VM answers.
pub(crate) enum Outbound {
    Page(Option<Bytes>),
    Vm(Box<Answer>),
}

/// What a VM answers. Its connection is free for the next request once all of it was read.
pub(crate) struct Answer {
    body: Patient,
    line: Option<(Line, Place)>,
    _permit: Permit,
}

impl Outbound {
    pub fn page(text: impl Into<Bytes>) -> Self {
        Self::Page(Some(text.into()))
    }

    pub fn vm(body: Incoming, limit: Duration, line: Line, place: Place, permit: Permit) -> Self {
        let mut answer =
            Answer { body: Patient { body, limit, waiting: None }, line: Some((line, place)), _permit: permit };
        answer.settle();
        Self::Vm(Box::new(answer))
    }
}

impl Answer {
    fn settle(&mut self) {
        if self.body.body.is_end_stream()
            && let Some((line, place)) = self.line.take()
        {
            place.put(line);
        }
    }
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Page(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Vm(answer) => {
                let frame = ready!(answer.body.poll(cx));
                answer.settle();
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Page(text) => text.is_none(),
            Self::Vm(answer) => answer.body.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Page(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Self::Vm(answer) => answer.body.body.size_hint(),
        }
    }
}

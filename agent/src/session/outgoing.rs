//! What goes to the controller: urgent messages first, readings when there are none.

use std::pin::Pin;
use std::task::{Context, Poll};

use skynet_proto::v1::AgentMessage;
use tokio::sync::mpsc;
use tokio_stream::Stream;

/// Urgent messages that wait for HTTP/2.
const URGENT: usize = 16;
/// Batches that wait for HTTP/2: one, so that the rest stays in the spool, where it is bounded and counted.
const BULK: usize = 1;

/// The request stream. Ends when both senders are gone.
#[derive(Debug)]
pub(super) struct Outgoing {
    urgent: mpsc::Receiver<AgentMessage>,
    bulk: mpsc::Receiver<AgentMessage>,
}

impl Outgoing {
    /// Senders for urgent messages and for readings, and the stream of both.
    #[must_use]
    pub(super) fn new() -> (mpsc::Sender<AgentMessage>, mpsc::Sender<AgentMessage>, Self) {
        let (urgent_to, urgent) = mpsc::channel(URGENT);
        let (bulk_to, bulk) = mpsc::channel(BULK);
        (urgent_to, bulk_to, Self { urgent, bulk })
    }
}

impl Stream for Outgoing {
    type Item = AgentMessage;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<AgentMessage>> {
        let urgent = self.urgent.poll_recv(cx);
        if let Poll::Ready(Some(message)) = urgent {
            return Poll::Ready(Some(message));
        }
        match self.bulk.poll_recv(cx) {
            // The bulk side has ended; the urgent one may have not.
            Poll::Ready(None) => urgent,
            ready @ Poll::Ready(Some(_)) => ready,
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skynet_proto::v1;
    use skynet_proto::v1::agent_message::Body;
    use tokio_stream::StreamExt;

    #[tokio::test]
    async fn outcomes_overtake_readings_that_wait() {
        let (urgent, bulk, mut outgoing) = Outgoing::new();
        bulk.try_send(AgentMessage { body: Some(Body::Readings(v1::ReadingBatch::default())) }).unwrap();
        assert!(bulk.try_send(AgentMessage { body: None }).is_err(), "readings wait in the spool, not here");
        urgent.try_send(AgentMessage { body: Some(Body::Outcome(v1::Outcome::default())) }).unwrap();
        assert!(matches!(outgoing.next().await.unwrap().body, Some(Body::Outcome(_))));
        assert!(matches!(outgoing.next().await.unwrap().body, Some(Body::Readings(_))));
        drop(bulk);
        urgent.try_send(AgentMessage { body: None }).unwrap();
        assert!(outgoing.next().await.is_some());
        drop(urgent);
        assert!(outgoing.next().await.is_none());
    }
}

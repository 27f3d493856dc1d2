//! The way to one agent: a bounded queue and a word to stop. Nobody waits for a slow agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use skynet_model::command::Command;
use skynet_proto::v1::{ControllerMessage, controller_message::Body};
use skynet_proto::{Code, WireError, convert};
use tokio::sync::{mpsc, watch};

/// Messages that may wait for one agent.
pub const OUTBOX: usize = 256;

/// What a session's stream carries.
pub type Outgoing = Result<ControllerMessage, tonic::Status>;

/// The way to one session of one agent. Clones lead to the same one.
#[derive(Clone, Debug)]
pub struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    outbox: mpsc::Sender<Outgoing>,
    ping: AtomicU64,
    stop: watch::Sender<Option<WireError>>,
}

impl Link {
    /// A link and the stream's end of it.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Outgoing>) {
        let (outbox, stream) = mpsc::channel(OUTBOX);
        (Self(Arc::new(Inner { outbox, ping: AtomicU64::new(0), stop: watch::channel(None).0 })), stream)
    }

    /// Queues a message. When the queue is full the session is stopped: its agent comes back and asks for what it missed.
    pub fn send(&self, body: Body) {
        let sent = self.0.outbox.try_send(Ok(ControllerMessage { body: Some(body) }));
        if let Err(mpsc::error::TrySendError::Full(_)) = sent {
            let message = format!("{OUTBOX} messages wait for this agent, which does not take them");
            self.stop(WireError::new(Code::TooLarge, message));
        }
    }

    /// Queues a ping, from whose arrival the time to live of later commands counts.
    pub fn ping(&self, number: u64) {
        self.send(Body::Ping(skynet_proto::v1::Ping { number }));
        // After it is queued: a command that reads the number stands behind it.
        self.0.ping.store(number, Ordering::Release);
    }

    /// Queues a command.
    pub fn command(&self, command: &Command) {
        self.send(Body::Command(convert::command_to_wire(command, self.0.ping.load(Ordering::Acquire))));
    }

    /// Asks the session to end; the agent is told why. The first reason counts.
    pub fn stop(&self, why: WireError) {
        self.0.stop.send_if_modified(|stop| {
            let first = stop.is_none();
            stop.get_or_insert(why);
            first
        });
    }

    /// Waits until somebody asked the session to end.
    pub async fn stopped(&self) -> WireError {
        let mut stop = self.0.stop.subscribe();
        match stop.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_else(|| WireError::new(Code::Draining, "the session ended")),
            Err(_) => WireError::new(Code::Draining, "the session ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_stops_the_session_and_waits_for_nobody() {
        let (link, _stream) = Link::new();
        for number in 1..=OUTBOX as u64 {
            link.ping(number);
        }
        assert!(link.0.stop.borrow().is_none());
        link.ping(0);
        assert_eq!(link.stopped().await.code, Code::TooLarge);
        link.stop(WireError::new(Code::Draining, "later"));
        assert_eq!(link.stopped().await.code, Code::TooLarge, "the first reason counts");
    }
}

//! The way to the controller: gRPC over its unix socket.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use skynet_proto::v1;
use skynet_proto::v1::operator_service_client::OperatorServiceClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use super::Failure;
use super::clean::clean;

/// How long the controller may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 20;

/// A connection to the controller.
#[derive(Debug)]
pub(super) struct Link {
    client: OperatorServiceClient<Channel>,
    socket: PathBuf,
}

impl Link {
    /// Connects.
    ///
    /// # Errors
    /// [`Failure::Unreachable`], with the socket and the remedy.
    pub(super) async fn open(socket: &Path) -> Result<Self, Failure> {
        // Tried once by hand, because tonic's error does not tell why.
        UnixStream::connect(socket).await.map_err(|e| unreachable(socket, &e))?;
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The name is only for the protocol's headers.
        let endpoint = Endpoint::from_static("http://skynet-controller").connect_timeout(Duration::from_secs(5));
        let channel = endpoint
            .connect_with_connector(connector)
            .await
            .map_err(|e| Failure::Unreachable(format!("no controller answers at {}: {e}", socket.display())))?;
        let client = OperatorServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER);
        Ok(Self { client, socket: socket.to_owned() })
    }

    /// Objects of one kind, as JSON texts.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn list(&mut self, kind: &str, all: bool, limit: u32) -> Result<Vec<String>, Failure> {
        let request = v1::ListRequest { kind: kind.to_owned(), all, limit };
        let answer = self.client.list(request);
        Ok(answered(&self.socket, answer).await?.json)
    }

    /// One object, as JSON text.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn describe(&mut self, kind: &str, name: &str) -> Result<String, Failure> {
        let request = v1::DescribeRequest { kind: kind.to_owned(), name: name.to_owned() };
        let answer = self.client.describe(request);
        Ok(answered(&self.socket, answer).await?.json)
    }

    /// Puts a policy in force.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn push(
        &mut self,
        bundle: Vec<u8>,
        signatures: Vec<Vec<u8>>,
        insecure_unsigned: bool,
    ) -> Result<String, Failure> {
        let request = v1::PushPolicyRequest { bundle, signatures, insecure_unsigned };
        let answer = self.client.push_policy(request);
        Ok(answered(&self.socket, answer).await?.json)
    }

    /// Lets the rollout wait or go on.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn pause_rollout(&mut self, paused: bool) -> Result<String, Failure> {
        let answer = self.client.pause_rollout(v1::PauseRolloutRequest { paused });
        Ok(answered(&self.socket, answer).await?.json)
    }

    /// Ends the rollout.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn roll_back(&mut self, reason: &str) -> Result<String, Failure> {
        let answer = self.client.roll_back(v1::RollBackRequest { reason: reason.to_owned() });
        Ok(answered(&self.socket, answer).await?.json)
    }

    /// Gives a server other labels.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn label(
        &mut self,
        server: &str,
        set: Vec<String>,
        remove: Vec<String>,
    ) -> Result<String, Failure> {
        let request = v1::LabelServerRequest { server: server.to_owned(), set, remove };
        let answer = self.client.label_server(request);
        Ok(answered(&self.socket, answer).await?.json)
    }

    /// Asks for something that a scenario answers.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn request(&mut self, request: v1::RequestRequest) -> Result<String, Failure> {
        let answer = self.client.request(request);
        Ok(answered(&self.socket, answer).await?.json)
    }

    /// Takes an incident over.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn acknowledge(&mut self, incident: &str, comment: &str) -> Result<String, Failure> {
        let request = v1::AcknowledgeRequest { incident: incident.to_owned(), comment: comment.to_owned() };
        let answer = self.client.acknowledge(request);
        Ok(answered(&self.socket, answer).await?.json)
    }

    /// Sets the local latch.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn halt(&mut self, reason: &str) -> Result<String, Failure> {
        let answer = self.client.halt(v1::HaltRequest { reason: reason.to_owned() });
        Ok(answered(&self.socket, answer).await?.json)
    }

    /// Releases the local latch.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn resume(&mut self) -> Result<String, Failure> {
        let answer = self.client.resume(v1::ResumeRequest {});
        Ok(answered(&self.socket, answer).await?.json)
    }

    /// Approves the step of an incident.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn approve(&mut self, request: v1::ApproveRequest) -> Result<String, Failure> {
        Ok(answered(&self.socket, self.client.approve(request)).await?.json)
    }

    /// Adds a silence.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn add_silence(&mut self, request: v1::AddSilenceRequest) -> Result<String, Failure> {
        Ok(answered(&self.socket, self.client.add_silence(request)).await?.json)
    }

    /// Ends a silence.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn expire_silence(&mut self, id: String) -> Result<String, Failure> {
        Ok(answered(&self.socket, self.client.expire_silence(v1::ExpireSilenceRequest { id })).await?.json)
    }

    /// Begins maintenance.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn start_maintenance(&mut self, request: v1::StartMaintenanceRequest) -> Result<String, Failure> {
        Ok(answered(&self.socket, self.client.start_maintenance(request)).await?.json)
    }

    /// Ends maintenance.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn end_maintenance(&mut self, id: String) -> Result<String, Failure> {
        Ok(answered(&self.socket, self.client.end_maintenance(v1::EndMaintenanceRequest { id })).await?.json)
    }

    /// The past of series.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn query(&mut self, request: v1::QueryRequest) -> Result<v1::QueryAnswer, Failure> {
        answered(&self.socket, self.client.query(request)).await
    }

    /// Recorded readings in order of time.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn replay(&mut self, request: v1::ReplayRequest) -> Result<Parts, Failure> {
        let answer = self.client.replay(request);
        Ok(Parts { stream: answered(&self.socket, answer).await?, socket: self.socket.clone() })
    }

    /// The state of the offsite copy, as JSON text.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn store(&mut self) -> Result<String, Failure> {
        self.describe("store", "").await
    }

    /// Walks the offsite copy; progress as it comes.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn verify_store(&mut self) -> Result<Events, Failure> {
        let answer = self.client.verify_store(v1::VerifyStoreRequest {});
        Ok(Events { stream: answered(&self.socket, answer).await?, socket: self.socket.clone() })
    }

    /// The event log from its newest `tail` events on.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn logs(&mut self, follow: bool, tail: u32) -> Result<Events, Failure> {
        let request = v1::LogsRequest { follow, after: 0, tail };
        let stream = answered(&self.socket, self.client.logs(request)).await?;
        Ok(Events { stream, socket: self.socket.clone() })
    }
}

/// Events as they come.
#[derive(Debug)]
pub(super) struct Events {
    stream: tonic::Streaming<v1::Document>,
    socket: PathBuf,
}

impl Events {
    /// The next event as JSON text; none when the log has ended. Waits as long as it takes.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn next(&mut self) -> Result<Option<String>, Failure> {
        let document = self.stream.message().await.map_err(|status| refused(&self.socket, &status))?;
        Ok(document.map(|d| d.json))
    }
}

/// Recorded readings as they come.
#[derive(Debug)]
pub(super) struct Parts {
    stream: tonic::Streaming<v1::ReplayPart>,
    socket: PathBuf,
}

impl Parts {
    /// The next part; none at the end.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn next(&mut self) -> Result<Option<v1::ReplayPart>, Failure> {
        self.stream.message().await.map_err(|status| refused(&self.socket, &status))
    }
}

async fn answered<T>(
    socket: &Path,
    answer: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(ANSWER, answer).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(refused(socket, &status)),
        Err(_) => Err(Failure::Unreachable(format!(
            "the controller at {} did not answer within {} s; see its log",
            socket.display(),
            ANSWER.as_secs()
        ))),
    }
}

fn refused(socket: &Path, status: &tonic::Status) -> Failure {
    let code = status.code();
    let message = clean(status.message());
    let path = socket.display();
    if code == tonic::Code::PermissionDenied || code == tonic::Code::Unauthenticated {
        Failure::Unreachable(format!("the controller at {path} does not take orders from here: {message}"))
    } else if std::error::Error::source(status).is_some() {
        // A source is the transport's: the controller's own refusals have none.
        Failure::Unreachable(format!("the connection to the controller at {path} ended: {message}"))
    } else if code == tonic::Code::Unimplemented {
        Failure::Failed(format!("this controller does not know that request ({message}); is it older than skynetctl?"))
    } else if message.is_empty() {
        Failure::Failed(format!("the controller refused without a reason ({code})"))
    } else {
        Failure::Failed(message.into_owned())
    }
}

pub(super) fn unreachable(socket: &Path, error: &io::Error) -> Failure {
    let path = socket.display();
    let start = "start it (`systemctl start skynet-controller`) or name its socket with --socket or SKYNET_SOCKET";
    let kind = error.kind();
    Failure::Unreachable(if kind == io::ErrorKind::NotFound {
        format!("no controller at {path}: there is no such socket; {start}")
    } else if kind == io::ErrorKind::ConnectionRefused {
        format!("no controller at {path}: the socket is there, but nobody listens; {start}")
    } else if kind == io::ErrorKind::PermissionDenied {
        format!(
            "no permission to use {path}: its folder must be reachable and the socket writable for you; run skynetctl \
             as the controller's user or as root (`ls -l {path}` shows whose it is)"
        )
    } else {
        format!("no controller at {path}: {error}; {start}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_by_the_controller_is_not_an_unreachable_controller() {
        let code = |status: tonic::Status| refused(Path::new("/run/s"), &status).code();
        assert_eq!(code(tonic::Status::unavailable("the journal's disk is full")), 1);
        assert_eq!(code(tonic::Status::not_found("")), 1);
        assert_eq!(code(tonic::Status::unimplemented("")), 1);
        assert_eq!(code(tonic::Status::permission_denied("uid 7 is no operator")), 3);
        assert_eq!(code(tonic::Status::from_error(Box::new(io::Error::from(io::ErrorKind::BrokenPipe)))), 3);
    }

    #[test]
    fn what_stands_in_the_way_is_told_with_its_remedy() {
        let told = |kind: io::ErrorKind| unreachable(Path::new("/run/s"), &kind.into()).to_string();
        for (kind, remedy) in [
            (io::ErrorKind::NotFound, "systemctl start skynet-controller"),
            (io::ErrorKind::ConnectionRefused, "nobody listens"),
            (io::ErrorKind::PermissionDenied, "controller's user or as root"),
            (io::ErrorKind::InvalidInput, "SKYNET_SOCKET"),
        ] {
            let text = told(kind);
            assert!(text.contains("/run/s") && text.contains(remedy), "{text}");
        }
    }
}

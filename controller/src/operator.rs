//! The operators' API on a unix socket: what `skynetctl` speaks.
//!
//! What must never enter: terminal output (that is `ctl`). Who calls is known from the socket; what they may call is in
//! `roles`; a call that changes something is in the journal before its effect.

mod calls;
mod documents;
mod explain;
mod gate;
mod peer;
mod query;
mod replay;
mod request;
mod roles;
mod rollout;
mod socket;
mod standing;
mod store;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use skynet_model::name::{IncidentId, ServerId};
use skynet_proto::v1;
use skynet_proto::v1::operator_service_server::{OperatorService, OperatorServiceServer};
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status};

use crate::core::{Handle, Input, MAX_TEXT, Order, Refused, Steer, View};
use crate::history::History;
use crate::journal::Feed;
use crate::policies::{PolicyError, Terms};
use crate::store::Board;

use gate::{Gate, caller};
use roles::Caller;
pub use roles::Roles;
pub use socket::{SocketError, bind};

/// Answers of one list.
const LIMIT: u32 = 1000;
/// Log lines that wait for one reader.
const LINES: usize = 256;
/// Longest summary of a call in the journal, in bytes.
const MAX_SUMMARY: usize = 300;
/// How long a request other than the log may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Questions about the past that are answered at once; each may hold much memory.
const QUERIES: usize = 2;
/// Largest request: a policy bundle, and room.
const MAX_REQUEST: usize = 4 << 20;
/// Largest answer.
const MAX_ANSWER: usize = 64 << 20;

/// The API.
#[derive(Debug)]
pub struct Operator {
    core: Handle,
    history: Arc<History>,
    feed: Arc<Feed>,
    terms: Terms,
    queries: Arc<Semaphore>,
    replays: Arc<Semaphore>,
    store: Option<Arc<Board>>,
    roles: Arc<Roles>,
}

impl Operator {
    /// The API over the other rooms.
    #[must_use]
    pub fn new(core: Handle, history: Arc<History>, feed: Arc<Feed>, terms: Terms) -> Self {
        Self {
            core,
            history,
            feed,
            terms,
            queries: Arc::new(Semaphore::new(QUERIES)),
            replays: Arc::new(Semaphore::new(1)),
            store: None,
            roles: Arc::default(),
        }
    }

    /// With the offsite copy, where there is one.
    #[must_use]
    pub fn with_store(mut self, store: Option<Arc<Board>>) -> Self {
        self.store = store;
        self
    }

    /// With these roles; without, root and the controller's own user are admins, and nobody else is anything.
    #[must_use]
    pub fn with_roles(mut self, roles: Roles) -> Self {
        self.roles = Arc::new(roles);
        self
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    /// The transport's.
    pub async fn serve(
        self,
        listener: tokio::net::UnixListener,
        stop: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        let roles = Arc::clone(&self.roles);
        let service = OperatorServiceServer::new(self)
            .max_decoding_message_size(MAX_REQUEST)
            .max_encoding_message_size(MAX_ANSWER);
        tonic::transport::Server::builder()
            .max_concurrent_streams(64)
            .concurrency_limit_per_connection(64)
            .serve_with_incoming_shutdown(Gate::new(service, roles), UnixListenerStream::new(listener), stop)
            .await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl for<'a> FnOnce(View<'a>) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let answer = tokio::time::timeout(PATIENCE, self.core.ask(question)).await;
        answer.map_err(|_| busy())?.map_err(|e| status(&e))
    }

    /// Notes a call that changes something, and gives the caller's name. The core takes its inputs in order: the event is
    /// in the journal before what the call leads to.
    async fn called(&self, caller: Caller, summary: String) -> Result<String, Status> {
        let summary = summary[..summary.floor_char_boundary(MAX_SUMMARY)].to_owned();
        let Caller { name: by, role, method } = caller;
        let called = Input::Called { by: by.clone(), role: role.as_str(), method: method.name, summary };
        if self.core.tell(called).await { Ok(by) } else { Err(Status::unavailable("the controller is going down")) }
    }

    async fn order(&self, order: Order) -> Result<Response<v1::Document>, Status> {
        let answer = tokio::time::timeout(PATIENCE, self.core.order(order)).await;
        let document = answer.map_err(|_| busy())?.map_err(|e| status(&e))?;
        Ok(Response::new(v1::Document { json: document.to_string() }))
    }
}

fn busy() -> Status {
    Status::unavailable("the controller is too busy to answer; see its log, and try again")
}

fn status(refused: &Refused) -> Status {
    match refused {
        Refused::NotFound(text) => Status::not_found(text),
        Refused::Precondition(text) => Status::failed_precondition(text),
        Refused::Unavailable(text) => Status::unavailable(text),
    }
}

fn text(what: &str, text: String) -> Result<String, Status> {
    if text.len() > MAX_TEXT {
        return Err(Status::invalid_argument(format!(
            "the {what} has {} bytes; at most {MAX_TEXT} are kept",
            text.len()
        )));
    }
    Ok(text)
}

type Lines = Pin<Box<dyn Stream<Item = Result<v1::Document, Status>> + Send>>;

#[tonic::async_trait]
impl OperatorService for Operator {
    type LogsStream = Lines;
    type ReplayStream = replay::Parts;
    type VerifyStoreStream = Lines;

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::Documents>, Status> {
        caller(request.extensions())?;
        let v1::ListRequest { kind, all, limit } = request.into_inner();
        let limit = if limit == 0 { LIMIT } else { limit.min(10 * LIMIT) } as usize;
        let history = Arc::clone(&self.history);
        let found: Vec<Value> = match kind.as_str() {
            "servers" => {
                let unsigned = self.terms.trust.is_insecure();
                self.ask(move |view| documents::servers(view, &history, unsigned, limit)).await?
            }
            "incidents" => self.ask(move |view| documents::incidents(view, all, limit)).await?,
            "policies" => self.ask(move |view| documents::policies(view, limit)).await?,
            "notices" => self.ask(move |view| documents::notices(view, limit)).await?,
            "approvals" => self.ask(move |view| standing::approvals(view, limit)).await?,
            "silences" => self.ask(move |view| standing::silences(view, limit)).await?,
            "maintenance" => self.ask(move |view| standing::maintenance(view, limit)).await?,
            other => {
                let text = format!(
                    "`{}` is not servers, incidents, policies, notices, approvals, silences or maintenance",
                    other.escape_debug()
                );
                return Err(Status::invalid_argument(text));
            }
        };
        Ok(Response::new(v1::Documents { json: found.iter().map(ToString::to_string).collect() }))
    }

    async fn describe(&self, request: Request<v1::DescribeRequest>) -> Result<Response<v1::Document>, Status> {
        caller(request.extensions())?;
        let v1::DescribeRequest { kind, name } = request.into_inner();
        let bad = |e: skynet_model::name::NameError| Status::invalid_argument(e.to_string());
        let missing = format!("no {} {}; skynetctl get lists what there is", kind.escape_debug(), name.escape_debug());
        let history = Arc::clone(&self.history);
        let terms = self.terms.clone();
        let found: Option<Value> = match kind.as_str() {
            "server" => {
                let id = ServerId::new(&name).map_err(bad)?;
                self.ask(move |view| documents::server_in_full(view, &history, &terms, &id)).await?
            }
            "incident" => {
                let id = IncidentId::new(&name).map_err(bad)?;
                self.ask(move |view| documents::incident_in_full(view, &id)).await?
            }
            "policy" => {
                let version = name.parse::<u64>();
                let version =
                    version.map_err(|_| Status::invalid_argument("a policy is named by its version's number"))?;
                self.ask(move |view| documents::policy(view, version)).await?
            }
            "bundle" if name == "current" => {
                let active = self.ask(|view| view.policies.current().cloned()).await?;
                let active = active.ok_or_else(|| Status::not_found("no policy is in force yet"))?;
                let json = String::from_utf8(active.candidate.bytes.clone());
                let json = json.map_err(|_| Status::internal("the bundle in force is not text"))?;
                return Ok(Response::new(v1::Document { json }));
            }
            "rollout" => Some(self.ask(rollout::status).await?),
            "store" => Some(store::status(self.store.as_deref(), crate::clock::now())),
            other => {
                let text =
                    format!("`{}` is not server, incident, policy, bundle, store or rollout", other.escape_debug());
                return Err(Status::invalid_argument(text));
            }
        };
        let found = found.ok_or_else(|| Status::not_found(missing))?;
        Ok(Response::new(v1::Document { json: found.to_string() }))
    }

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Result<Response<Lines>, Status> {
        caller(request.extensions())?;
        let v1::LogsRequest { follow, after, tail } = request.into_inner();
        let mut after = if after == 0 { self.feed.before_newest(tail as usize) } else { after };
        let feed = Arc::clone(&self.feed);
        let (lines, stream) = mpsc::channel(LINES);
        tokio::spawn(async move {
            loop {
                let (kept, mut coming) = feed.follow(after);
                for event in kept {
                    after = event.seq;
                    if lines.send(line(&event)).await.is_err() {
                        return;
                    }
                }
                if !follow {
                    return;
                }
                loop {
                    let next = tokio::select! {
                        next = coming.recv() => next,
                        () = lines.closed() => return,
                    };
                    match next {
                        Ok(event) => {
                            after = event.seq;
                            if lines.send(line(&event)).await.is_err() {
                                return;
                            }
                        }
                        // A slow reader looks into the ring again; what fell out of that is in the journal only.
                        Err(broadcast::error::RecvError::Lagged(_)) => break,
                        Err(broadcast::error::RecvError::Closed) => return,
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn push_policy(&self, request: Request<v1::PushPolicyRequest>) -> Result<Response<v1::Document>, Status> {
        let by = self.called(caller(request.extensions())?, calls::push(request.get_ref())).await?;
        let v1::PushPolicyRequest { bundle, signatures, insecure_unsigned } = request.into_inner();
        let (terms, now) = (self.terms.clone(), crate::clock::now());
        let checked =
            tokio::task::spawn_blocking(move || terms.check(bundle, signatures, insecure_unsigned, now)).await;
        let checked = checked.map_err(|_| Status::internal("checking the policy was broken off"))?;
        let pushed = match checked {
            Ok(candidate) => self.order(Order::Push { candidate: Box::new(candidate), by: by.clone() }).await,
            Err(PolicyError::Invalid(text)) => Err(Status::invalid_argument(text)),
            Err(PolicyError::Refused(text)) => Err(Status::failed_precondition(text)),
            Err(PolicyError::Storage(text)) => Err(Status::unavailable(text)),
        };
        if let Err(refused) = pushed.as_ref()
            && matches!(refused.code(), tonic::Code::InvalidArgument | tonic::Code::FailedPrecondition)
        {
            let why = refused.message();
            let message = format!("a policy pushed by {by} is refused: {}", &why[..why.floor_char_boundary(MAX_TEXT)]);
            self.core.tell(Input::Remark { server: None, topic: "policy_refused", message }).await;
        }
        pushed
    }

    async fn pause_rollout(&self, request: Request<v1::PauseRolloutRequest>) -> Result<Response<v1::Document>, Status> {
        let by = self.called(caller(request.extensions())?, calls::pause(request.get_ref())).await?;
        let what = if request.into_inner().paused { Steer::Pause } else { Steer::Resume };
        self.order(Order::Steer { what, by }).await
    }

    async fn roll_back(&self, request: Request<v1::RollBackRequest>) -> Result<Response<v1::Document>, Status> {
        let by = self.called(caller(request.extensions())?, request.get_ref().reason.clone()).await?;
        let reason = text("reason", request.into_inner().reason)?;
        self.order(Order::Steer { what: Steer::RollBack { reason }, by }).await
    }

    async fn label_server(&self, request: Request<v1::LabelServerRequest>) -> Result<Response<v1::Document>, Status> {
        let by = self.called(caller(request.extensions())?, calls::label(request.get_ref())).await?;
        self.order(rollout::label(request.into_inner(), by)?).await
    }

    async fn acknowledge(&self, request: Request<v1::AcknowledgeRequest>) -> Result<Response<v1::Document>, Status> {
        let by = self
            .called(
                caller(request.extensions())?,
                calls::about(&request.get_ref().incident, &request.get_ref().comment),
            )
            .await?;
        let v1::AcknowledgeRequest { incident, comment } = request.into_inner();
        let incident = IncidentId::new(&incident).map_err(|e| Status::invalid_argument(e.to_string()))?;
        self.order(Order::Acknowledge { incident, by, comment: text("comment", comment)? }).await
    }

    async fn request(&self, request: Request<v1::RequestRequest>) -> Result<Response<v1::Document>, Status> {
        let by = self.called(caller(request.extensions())?, calls::request(request.get_ref())).await?;
        self.order(request::order(request.into_inner(), by)?).await
    }

    async fn halt(&self, request: Request<v1::HaltRequest>) -> Result<Response<v1::Document>, Status> {
        let by = self.called(caller(request.extensions())?, request.get_ref().reason.clone()).await?;
        let reason = text("reason", request.into_inner().reason)?;
        self.order(Order::Halt { by, reason }).await
    }

    async fn resume(&self, request: Request<v1::ResumeRequest>) -> Result<Response<v1::Document>, Status> {
        let by = self.called(caller(request.extensions())?, String::new()).await?;
        self.order(Order::Resume { by }).await
    }

    async fn approve(&self, request: Request<v1::ApproveRequest>) -> Result<Response<v1::Document>, Status> {
        let by = self
            .called(
                caller(request.extensions())?,
                calls::about(&request.get_ref().incident, &request.get_ref().comment),
            )
            .await?;
        self.order(standing::approve(request.into_inner(), by)?).await
    }

    async fn add_silence(&self, request: Request<v1::AddSilenceRequest>) -> Result<Response<v1::Document>, Status> {
        let by = self.called(caller(request.extensions())?, calls::silence(request.get_ref())).await?;
        self.order(standing::silence(request.into_inner(), by)?).await
    }

    async fn expire_silence(
        &self,
        request: Request<v1::ExpireSilenceRequest>,
    ) -> Result<Response<v1::Document>, Status> {
        let by = self.called(caller(request.extensions())?, request.get_ref().id.clone()).await?;
        self.order(standing::expire_silence(request.into_inner(), by)?).await
    }

    async fn start_maintenance(
        &self,
        request: Request<v1::StartMaintenanceRequest>,
    ) -> Result<Response<v1::Document>, Status> {
        let by = self.called(caller(request.extensions())?, calls::maintenance(request.get_ref())).await?;
        self.order(standing::start_maintenance(request.into_inner(), by)?).await
    }

    async fn end_maintenance(
        &self,
        request: Request<v1::EndMaintenanceRequest>,
    ) -> Result<Response<v1::Document>, Status> {
        let by = self.called(caller(request.extensions())?, request.get_ref().id.clone()).await?;
        self.order(standing::end_maintenance(request.into_inner(), by)?).await
    }

    async fn query(&self, request: Request<v1::QueryRequest>) -> Result<Response<v1::QueryAnswer>, Status> {
        caller(request.extensions())?;
        let known = self.ask(|view| view.servers.keys().cloned().collect::<Vec<_>>()).await?;
        let known = known.into_iter().chain(self.history.servers()).collect();
        let query = query::check(request.into_inner(), &known)?;
        let (history, catalogue) = (Arc::clone(&self.history), self.terms.catalogue);
        // The permit goes with the work: a reader that leaves does not make room for the next while the disk is busy.
        let permit = Arc::clone(&self.queries).acquire_owned().await.map_err(|_| busy())?;
        let answer = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let words: Vec<&str> = catalogue.sensors.iter().flat_map(|s| s.series).map(|s| s.name).collect();
            query::answer(&history, &query, &words)
        });
        let answer = tokio::time::timeout(PATIENCE, answer).await.map_err(|_| busy())?;
        answer.map_err(|_| Status::internal("reading the history was broken off")).flatten().map(Response::new)
    }

    async fn replay(&self, request: Request<v1::ReplayRequest>) -> Result<Response<replay::Parts>, Status> {
        caller(request.extensions())?;
        let known = self.ask(|view| view.servers.keys().cloned().collect::<Vec<_>>()).await?;
        let known = known.into_iter().chain(self.history.servers()).collect();
        let replay = replay::check(request.into_inner(), &known)?;
        // One is enough for the disk, and whoever waits is told.
        let permit = Arc::clone(&self.replays).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted("somebody else replays the past just now; try again when that is over")
        })?;
        Ok(Response::new(replay::parts(Arc::clone(&self.history), replay, permit)))
    }

    async fn verify_store(&self, request: Request<v1::VerifyStoreRequest>) -> Result<Response<Lines>, Status> {
        caller(request.extensions())?;
        store::verify(self.store.as_deref(), &self.feed).map(Response::new)
    }
}

fn line(event: &skynet_model::event::Event) -> Result<v1::Document, Status> {
    let json = serde_json::to_string(event);
    json.map(|json| v1::Document { json }).map_err(|e| Status::internal(format!("event {}: {e}", event.seq)))
}

#[cfg(test)]
mod tests;

//! The gRPC service of agents: the contract's one method, with readings left undecoded ([`AgentFrame`]). The generated
//! server would decode every batch into types of its own first.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use skynet_proto::frame::AgentFrame;
use skynet_proto::v1::agent_service_server::SERVICE_NAME;
use skynet_proto::{MAX_MESSAGE, v1};
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse};
use tonic::codegen::{Service, StdError};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::Fleet;
use crate::core::Outgoing;

/// The path of `AgentService.Session`.
const SESSION: &str = "/skynet.v1.AgentService/Session";

/// A boxed future, as services give.
type Future<T, E> = Pin<Box<dyn std::future::Future<Output = Result<T, E>> + Send>>;

/// The service.
#[derive(Clone, Debug)]
pub(super) struct AgentServer(Arc<Fleet>);

impl AgentServer {
    pub(super) fn new(fleet: Fleet) -> Self {
        Self(Arc::new(fleet))
    }
}

impl NamedService for AgentServer {
    const NAME: &'static str = SERVICE_NAME;
}

impl<B> Service<HttpRequest<B>> for AgentServer
where
    B: tonic::codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = Future<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<B>) -> Self::Future {
        if request.uri().path() != SESSION {
            let unknown = Status::unimplemented("there is no such method here; agent and controller differ in version");
            return Box::pin(async move { Ok(unknown.into_http()) });
        }
        let session = Session(Arc::clone(&self.0));
        Box::pin(async move {
            let codec = ProstCodec::<v1::ControllerMessage, AgentFrame>::default();
            let mut grpc = Grpc::new(codec).apply_max_message_size_config(Some(MAX_MESSAGE), Some(MAX_MESSAGE));
            Ok(grpc.streaming(session, request).await)
        })
    }
}

struct Session(Arc<Fleet>);

impl StreamingService<AgentFrame> for Session {
    type Response = v1::ControllerMessage;
    type ResponseStream = ReceiverStream<Outgoing>;
    type Future = Future<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<AgentFrame>>) -> Self::Future {
        let fleet = Arc::clone(&self.0);
        Box::pin(async move { fleet.session(request) })
    }
}

//! The gate before the API: a call goes on only when its method is in the table and its caller has the role.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Extensions, Status};
use tower::Service;

use super::roles::{Caller, Roles, method};
use crate::plain::plain;

/// A service behind the gate. What comes through carries its [`Caller`].
#[derive(Clone, Debug)]
pub(super) struct Gate<S> {
    inner: S,
    roles: Arc<Roles>,
}

impl<S> Gate<S> {
    pub(super) fn new(inner: S, roles: Arc<Roles>) -> Self {
        Self { inner, roles }
    }

    fn admit(&self, path: &str, peer: Option<&UdsConnectInfo>) -> Result<Caller, Status> {
        let method = method(path).ok_or_else(|| Status::unimplemented("this controller has no such method"))?;
        let peer = peer.and_then(|info| info.peer_cred);
        let peer = peer.ok_or_else(|| Status::unauthenticated("who asks is not known"))?;
        self.roles.admit(peer.uid(), peer.gid(), method).map_err(|why| {
            // Only the log says it: strangers must not be able to fill the journal.
            tracing::warn!("uid {} is refused: {}", peer.uid(), plain(&why));
            Status::permission_denied(why)
        })
    }
}

impl<S: NamedService> NamedService for Gate<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self.admit(request.uri().path(), request.extensions().get::<UdsConnectInfo>()) {
            Ok(caller) => {
                if !caller.method.changes {
                    tracing::debug!("{} calls {}", plain(&caller.name), caller.method.name);
                }
                request.extensions_mut().insert(caller);
                Box::pin(self.inner.call(request))
            }
            Err(refused) => Box::pin(async move { Ok(refused.into_http()) }),
        }
    }
}

/// Who calls. Nothing is answered to a call that did not come through the gate.
pub(super) fn caller(extensions: &Extensions) -> Result<Caller, Status> {
    extensions.get::<Caller>().cloned().ok_or_else(|| Status::unauthenticated("who asks is not known"))
}

//! The offsite copy, for operators.

use std::sync::Arc;

use serde_json::{Value, json};
use skynet_model::time::Timestamp;
use skynet_proto::v1;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Lines;
use crate::journal::Feed;
use crate::store::{Board, Progress, Verifier};

/// The state of the copy; `{"redis": null}` where there is none.
pub(super) fn status(board: Option<&Board>, now: Timestamp) -> Value {
    board.map_or_else(|| json!({ "redis": null }), |board| board.document(now))
}

/// Walks the copy, on a thread of its own. It ends when whoever asked is gone.
pub(super) fn verify(board: Option<&Board>, feed: &Arc<Feed>) -> Result<Lines, Status> {
    let board = board.ok_or_else(|| {
        Status::failed_precondition("there is no offsite copy: the controller's configuration has no [redis]")
    })?;
    let verifier = Verifier::new(board, Arc::clone(feed));
    let (lines, stream) = mpsc::channel(4);
    let (progress, mut coming) = mpsc::channel::<Progress>(4);
    let (ended, end) = oneshot::channel();
    // It reads the journal from disk and hashes much: sessions must not wait for that.
    let thread = std::thread::Builder::new().name("verify".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let result = runtime.map_err(|e| e.to_string()).and_then(|runtime| {
            let walk = runtime.block_on(verifier.run(&progress));
            walk.map_err(|trouble| trouble.to_string())
        });
        drop(progress);
        let _ = ended.send(result);
    });
    thread.map_err(|e| Status::resource_exhausted(format!("no thread to verify on: {e}")))?;
    tokio::spawn(async move {
        while let Some(progress) = coming.recv().await {
            let json = serde_json::to_string(&progress).unwrap_or_default();
            if lines.send(Ok(v1::Document { json })).await.is_err() {
                return;
            }
        }
        let trouble = match end.await {
            Ok(Ok(())) => return,
            Ok(Err(trouble)) => trouble,
            Err(_) => "verifying was broken off".to_owned(),
        };
        let _ = lines.send(Err(Status::unavailable(trouble))).await;
    });
    Ok(Box::pin(ReceiverStream::new(stream)))
}

//! The offsite copy, for operators.

use std::sync::Arc;

use serde_json::{Value, json};
use skynet_model::time::Timestamp;
use skynet_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Lines;
use crate::journal::Feed;
use crate::store::{Board, Progress, Verifier};

/// The state of the copy; `{"redis": null}` where there is none.
pub(super) fn status(board: Option<&Board>, now: Timestamp) -> Value {
    board.map_or_else(|| json!({ "redis": null }), |board| board.document(now))
}

/// Walks the copy. It reads beside the core and ends with whoever asked.
pub(super) fn verify(board: Option<&Board>, feed: &Arc<Feed>) -> Result<Lines, Status> {
    let board = board.ok_or_else(|| {
        Status::failed_precondition("there is no offsite copy: the controller's configuration has no [redis]")
    })?;
    let verifier = Verifier::new(board, Arc::clone(feed));
    let (lines, stream) = mpsc::channel(4);
    let (progress, mut coming) = mpsc::channel::<Progress>(4);
    let walk = tokio::spawn(async move { verifier.run(&progress).await });
    tokio::spawn(async move {
        while let Some(progress) = coming.recv().await {
            let json = serde_json::to_string(&progress).unwrap_or_default();
            if lines.send(Ok(v1::Document { json })).await.is_err() {
                return;
            }
        }
        let trouble = match walk.await {
            Ok(Ok(())) => return,
            Ok(Err(trouble)) => trouble.to_string(),
            Err(_) => "verifying was broken off".to_owned(),
        };
        let _ = lines.send(Err(Status::unavailable(trouble))).await;
    });
    Ok(Box::pin(ReceiverStream::new(stream)))
}

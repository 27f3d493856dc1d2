//! Small files that outlive the acting process: JSON with the format's version, replaced whole.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ActorError;
use crate::ledger::Storage;

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Document<T> {
    format: u32,
    #[serde(flatten)]
    body: T,
}

/// What was kept under `name`; none when nothing was.
pub(super) fn load<T: DeserializeOwned>(storage: &dyn Storage, name: &str) -> Result<Option<T>, ActorError> {
    let failed = |error: String| ActorError::State { file: format!("{}/{name}", storage.place()), error };
    let Some(bytes) = storage.read(name).map_err(|error| failed(error.to_string()))? else { return Ok(None) };
    let document: Document<T> = serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
    if document.format != FORMAT {
        return Err(failed(format!("its format is {}, this version reads {FORMAT}", document.format)));
    }
    Ok(Some(document.body))
}

/// Keeps `body` under `name`; an error is a sentence with the remedy.
pub(super) fn save<T: Serialize>(storage: &dyn Storage, name: &str, body: &T) -> Result<(), String> {
    let bytes = serde_json::to_vec(&Document { format: FORMAT, body }).map_err(|error| error.to_string())?;
    let place = storage.place();
    storage
        .save(name, &bytes)
        .map_err(|error| format!("{place}/{name} cannot be written: {error}; free space on {place}"))
}

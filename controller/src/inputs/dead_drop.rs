//! Dead drops: places where operators leave signed emergency documents, looked at every minute or so.
//!
//! Whoever holds the place can hold a document back or show an old one; they can make none. A document lies as one file or
//! URL, its signatures beside it: `NAME.sig`, which may hold several one after the other, and for files `NAME.*.sig`.

mod place;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use skynet_model::emergency::{EMERGENCY_NAMESPACE, SignedDocument, Terms, Verdict, check};
use skynet_model::time::Timestamp;

use crate::config::EmergencyConfig;
use crate::core::{Handle, Input};
use place::Place;

/// The topic of remarks.
const TOPIC: &str = "emergency";

/// Looks at drops until the core ends.
#[derive(Debug)]
pub struct DeadDrop {
    places: Vec<Place>,
    terms: Terms,
    every: Duration,
    core: Handle,
    clock: fn() -> Timestamp,
}

/// What was said of a place last, so that it is said once.
#[derive(Default)]
struct Said {
    refused: Option<String>,
    unreachable: Option<String>,
}

impl DeadDrop {
    /// With the drops of the configuration.
    ///
    /// # Errors
    /// The CA's file cannot be read, or no HTTP client be made.
    pub fn new(config: &EmergencyConfig, terms: Terms, core: Handle, clock: fn() -> Timestamp) -> Result<Self, String> {
        let (ca, timeout) = (config.ca.as_deref(), config.timeout.std());
        let places = config.drops.iter().map(|drop| Place::new(drop, ca, timeout)).collect::<Result<_, _>>()?;
        Ok(Self { places, terms, every: config.every.std(), core, clock })
    }

    /// Looks at every place at once, and again and again.
    pub async fn run(self) {
        let mut said: Vec<Said> = self.places.iter().map(|_| Said::default()).collect();
        loop {
            for (place, said) in self.places.iter().zip(&mut said) {
                if !self.look(place, said).await {
                    return;
                }
            }
            tokio::time::sleep(jitter(self.every)).await;
        }
    }

    /// One look; false when the core has ended.
    async fn look(&self, place: &Place, said: &mut Said) -> bool {
        let found = match place.fetch().await {
            Ok(found) => found,
            Err(error) => {
                let message = format!("the dead drop {place} cannot be looked at: {error}");
                return self.say(&mut said.unreachable, message).await;
            }
        };
        if said.unreachable.take().is_some() {
            tracing::info!("the dead drop {place} can be looked at again");
        }
        let Some(signed) = found else { return true };
        match self.judge(&signed).await {
            None => false,
            Some(Ok(Verdict::Known)) => true,
            Some(Ok(Verdict::New(taken))) => {
                said.refused = None;
                let SignedDocument { signatures, .. } = signed;
                self.core.tell(Input::Emergency { taken: Box::new(taken), signatures }).await
            }
            Some(Err(error)) => {
                let message = format!("the document in the dead drop {place} is refused: {error}");
                self.say(&mut said.refused, message).await
            }
        }
    }

    /// None when the core has ended.
    async fn judge(&self, signed: &SignedDocument) -> Option<Result<Verdict, String>> {
        let last = self.core.ask(|view| view.engine.emergency().map(|(taken, _)| taken.clone())).await.ok()?;
        let verdict = check(EMERGENCY_NAMESPACE, signed, &self.terms, last.as_ref(), (self.clock)());
        Some(verdict.map_err(|error| error.to_string()))
    }

    /// Says it, unless it was the last word already.
    async fn say(&self, last: &mut Option<String>, message: String) -> bool {
        if last.as_ref() == Some(&message) {
            return true;
        }
        *last = Some(message.clone());
        self.core.tell(Input::Remark { server: None, topic: TOPIC, message }).await
    }
}

/// `every`, a tenth more or less: a fleet of controllers must not come all at once, nor at a time others can tell.
fn jitter(every: Duration) -> Duration {
    let dice = u32::try_from(RandomState::new().build_hasher().finish() % 201).unwrap_or(100);
    every * (900 + dice) / 1000
}

#[cfg(test)]
mod tests;

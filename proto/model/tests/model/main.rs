//! Conditions and policy, as their users see them.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod broken;
mod catalogue;
mod conditions;
mod documents;
mod emergencies;
mod hostile;
mod policies;
mod random;
mod schema;
mod shipped;
mod signatures;
mod signers;

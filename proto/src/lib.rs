//! The wire: generated types, their conversions to the model, and identity (SPIFFE ids, TLS set-up).
//!
//! What must never enter: decisions. Whatever comes from the wire is checked here and handed on as model types.

pub mod convert;
mod error;
pub mod frame;
pub mod identity;
pub mod stream;
pub mod tls;

pub use error::{Code, WireError};

/// The generated types and services of `skynet/v1/*.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::restriction)]
#[rustfmt::skip]
pub mod v1 {
    include!("gen/skynet.v1.rs");
}

/// Largest message that is encoded or decoded, in bytes. Set it on both sides:
/// `max_decoding_message_size` and `max_encoding_message_size`.
pub const MAX_MESSAGE: usize = 4 << 20;

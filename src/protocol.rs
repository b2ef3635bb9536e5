//! The wire rules of MCP, as pure functions: revisions, messages, errors, headers.
//!
//! Nothing here waits, stores or logs. Each rule names the revision and section, or the SEP, it comes from.

pub mod classify;
pub mod era;
pub mod error;
pub mod event_id;
pub mod headers;
pub mod message;

//! The wire rules of MCP, as pure functions: revisions, messages, errors, headers.
//!
//! Nothing here waits, stores or logs. Each rule names the revision and section, or the SEP, it comes from.

pub(crate) mod challenge;
pub(crate) mod classify;
pub(crate) mod era;
pub(crate) mod error;
pub(crate) mod event_id;
pub(crate) mod headers;
pub(crate) mod message;
pub(crate) mod revisions;
pub(crate) mod sse;

//! The live half of a request: the handler that runs it, the peer that the handler talks through, and the reply.

pub mod handler;

//! The live half of a request: the handler that runs it, the peer that the handler talks through, and the reply.

pub mod aside;
pub mod call;
pub mod calls;
pub mod carrier;
pub mod handler;
pub mod hub;
pub mod logged;
pub mod loss;
pub mod notify;
pub mod peer;
mod refusal;
pub mod reply;
pub mod request;
pub mod shares;
pub mod silent;
pub mod spread;
pub mod switchboard;
pub mod tasks;
pub mod topics;

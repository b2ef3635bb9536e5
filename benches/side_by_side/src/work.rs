//! What the servers are asked to do. One file for each kind of work.

pub mod across;
pub mod auth;
pub mod calls;
pub mod fan_out;
pub mod idle;
pub mod instructions;
pub mod restore;
pub mod resume;

//! Measures anynode beside other MCP servers, on the same work, on one machine.
//!
//! - [`server`]: who is measured, and how each is started; [`peer`] is what the programs in `bin/` share.
//! - [`work`]: what they are asked to do. [`load`] does it as often as it can, [`mcp`] checks every answer.
//! - [`issuer`] and [`certificate`]: what callers with credentials need.
//! - [`report`]: what it came to; [`table`] and [`plot`] show it.
//!
//! Each server has one core to itself, the load and Redis have another. Servers take turns, in an order that is turned around
//! each round, so that a machine that gets slower or busier meets all of them.

pub mod certificate;
pub mod cores;
pub mod http;
pub mod issuer;
pub mod load;
pub mod mcp;
pub mod peer;
pub mod plot;
pub mod process;
pub mod report;
pub mod server;
pub mod statistics;
pub mod table;
pub mod work;

//! Everything that is proven against real processes, and the rules that the source keeps.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "test code: a failure is a panic, tasks end with their test, and support serves tests to come"
)]

mod alarms;
mod asking;
mod audit;
mod auth;
mod bad_input;
mod balancers;
mod bounds;
mod browser;
mod cli;
mod copies;
mod edge;
mod embedding;
mod eras;
mod health;
mod library;
mod limits;
mod nodes;
mod notebooks;
mod official_clients;
mod outages;
mod proxied;
mod readme;
mod rolling;
mod skills;
mod sse;
mod start;
mod store;
mod streams;
mod support;
mod tasks;
mod testing;
mod tidy;
mod tls;

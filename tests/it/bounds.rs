//! What a node spends on its clients is bounded, and nothing is left of those that have gone.

mod crowds;
mod idle_streams;
mod leftovers;
mod one_client;
mod redis_memory;
mod session_logs;
mod slow_readers;

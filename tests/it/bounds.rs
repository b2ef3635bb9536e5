//! What a node spends on its clients is bounded, and nothing is left of those that have gone.

mod idle_streams;
mod leftovers;
mod one_client;
mod redis_memory;
mod slow_readers;

//! What a node spends on its clients is bounded, and nothing is left of those that have gone.

mod slow_readers;

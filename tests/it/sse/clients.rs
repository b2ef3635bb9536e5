//! The official client of 2024-11-05, unchanged.

//! The keys of notes.

use crate::session::State;

/// What precedes a note's key in the state it is kept in, so that notes and other state do not mix.
pub(super) const STATE_KEY_PREFIX: &str = "note:";
/// The longest key of a note, in bytes.
pub(super) const NOTE_KEY_BYTES_MAX: usize = State::KEY_BYTES_MAX - STATE_KEY_PREFIX.len(); // 256 - 5 = 251

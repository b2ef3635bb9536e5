//! Placeholder.
#![allow(missing_docs)]
#![allow(missing_debug_implementations)]
use crate::protocol::era::Era;
pub fn session_made() {}
pub fn session_ended() {}
pub fn session_expired() {}
pub fn session_restored(_took: std::time::Duration) {}
pub struct Opened;
pub fn stream_opened() -> Opened {
    Opened
}
pub struct CallInFlight;
pub fn call_begins(_era: Era, _method: &'static str) -> CallInFlight {
    CallInFlight
}
impl CallInFlight {
    pub fn end(self, _outcome: &'static str) {}
}
pub fn refused(_label: &'static str) {}
pub fn active_sessions(_n: usize) {}
pub fn render() -> String {
    String::new()
}

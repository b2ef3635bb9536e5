//! What panics while a seed is played: a runtime catches what its tasks do.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    /// The first panic of the seed that this thread plays, once it is watched.
    static SEEN: RefCell<Option<String>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Watches this thread from now on.
pub(super) fn watch() {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            SEEN.with_borrow_mut(|seen| {
                seen.get_or_insert_with(|| panic.to_string());
            });
            before(panic);
        }));
    });
}

/// The first that was seen on this thread.
pub(super) fn seen() -> Option<String> {
    SEEN.with_borrow(Clone::clone)
}

//! The one integration binary: every test that needs real processes.

mod store;

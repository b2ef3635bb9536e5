//! How a node starts, what it says then, and how it stops.

mod connections;
mod crowded;
mod greeting;
mod halves;
mod listen;
mod logs;
mod probes;
mod stop;
mod store;
mod systemd;
mod unread;

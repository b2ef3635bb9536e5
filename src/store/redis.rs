//! Keeps sessions in Redis so that any node can serve any client.

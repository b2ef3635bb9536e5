//! A node dies, and its calls go on elsewhere.

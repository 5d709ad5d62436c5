//! Invariants of the market and of the server.

//! The WebSocket codec: its vectors, and stories about what vectors cannot say.
#![allow(clippy::unwrap_used)] // `allow-unwrap-in-tests` does not reach functions that tests share

mod connection;
mod deflate;
mod vectors;

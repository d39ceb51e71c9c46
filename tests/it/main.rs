//! A real server on a port of its own, and real clients: the one integration binary.

mod cli;
mod doors;
mod examples;
mod handshake;
mod http;
mod library;
mod purity;
mod support;

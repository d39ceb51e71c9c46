//! A real server on a port of its own, and real clients: the one integration binary.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod administration;
mod admission;
mod auth;
mod bench;
mod broken_server;
mod cable;
mod cli;
mod client;
mod config;
mod doors;
mod drain;
mod examples;
mod fairness;
mod handshake;
mod http;
mod library;
#[cfg(unix)]
mod listeners;
mod metrics;
mod origin;
mod packaging;
mod permissions;
mod proxy;
mod purity;
mod rates;
mod raw_http;
mod service;
mod slow_readers;
mod smuggling;
mod support;
mod sys;
mod tls;
mod tokens;
mod torture;

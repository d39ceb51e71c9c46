//! Connections: HTTP, the WebSocket handshake, sockets and bodies. The only part that knows HTTP and WebSocket types.

pub(crate) mod admission;
mod arrival;
mod cors;
mod credential;
pub(crate) mod encoder;
mod entrance;
pub(crate) mod event_stream;
mod exit;
pub(crate) mod handshake;
pub(crate) mod http;
pub(crate) mod link;
pub(crate) mod listener;
pub(crate) mod origin;
pub(crate) mod problem;
pub(crate) mod proxies;
mod proxy_header;
mod request_head;
pub(crate) mod route;
pub(crate) mod server;
mod socket;
pub(crate) mod source;
pub(crate) mod tls;
pub(crate) mod turnstile;

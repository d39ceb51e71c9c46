//! The `topichub` command.

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let hub = topichub::Hub::start(topichub::Settings::default()).map_err(std::io::Error::other)?;
    let listener = std::net::TcpListener::bind("127.0.0.1:8080")?;
    topichub::serve(hub, listener, 1, |_| {})?.await
}

//! A notification hub inside somebody's web application: a shop that tells its customers what happens to their orders.
//! Browsers connect to `/ws` and subscribe to `orders.alice`; the shop's own code publishes.
//!
//! ```sh
//! cargo run --example embed -- 127.0.0.1:8081
//! curl -X POST 127.0.0.1:8081/orders/alice/shipped
//! ```

use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, Responder, post, web};
use serde::Serialize;
use topichub::{Hub, Settings};

#[derive(Serialize)]
struct Notification<'a> {
    customer: &'a str,
    status: &'a str,
}

/// The shop's business; telling the browsers is one line of it.
#[post("/orders/{customer}/{status}")]
async fn update(path: web::Path<(String, String)>, hub: web::Data<Hub>) -> impl Responder {
    let (customer, status) = path.into_inner();
    let notification = Notification { customer: &customer, status: &status };
    match hub.publish(&format!("orders.{customer}"), &notification).await {
        Ok(position) => HttpResponse::Accepted().body(format!("told, as number {}\n", position.offset)),
        Err(error) => HttpResponse::BadRequest().body(format!("{error}\n")),
    }
}

/// Any part of the program can listen too.
async fn log_everything(hub: Hub) -> Result<(), Box<dyn std::error::Error>> {
    let mut orders = hub.subscribe("orders.>").await?;
    while let Some(message) = orders.next().await {
        let message = message?;
        println!("{} {}", message.topic, String::from_utf8_lossy(message.payload.as_bytes()));
    }
    Ok(())
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8081".to_owned());
    let hub = Hub::start(Settings::default())?;
    let log = hub.clone();
    actix_web::rt::spawn(
        async move { log_everything(log).await.unwrap_or_else(|error| eprintln!("{error}")) },
    );

    let server = HttpServer::new(move || {
        App::new().app_data(web::Data::new(hub.clone())).service(update).configure(|app| hub.configure(app))
    });
    // Else actix lingers a second after the end of each WebSocket.
    let server = server.client_disconnect_timeout(Duration::ZERO).bind(address)?;
    println!("listening at http://{}", server.addrs()[0]);
    Ok(server.run().await?)
}

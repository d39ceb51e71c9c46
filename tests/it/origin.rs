//! Which web pages may use the server, over WebSockets and HTTP, and how browsers are told.

use std::io::Read;

use topichub::Settings;

use crate::support::{Door, Server, read_head, upgrade};

fn server(door: Door, allowed: &[&str]) -> Server {
    let mut settings = Settings::default();
    settings.allowed_origins = allowed.iter().map(|origin| origin.parse().unwrap()).collect();
    settings.trusted_proxies = vec!["127.0.0.2".parse().unwrap()];
    Server::with(door, settings)
}

/// The head of the answer, in lower case.
fn head(server: &Server, request: &str) -> String {
    read_head(&mut server.request_raw(request)).to_ascii_lowercase()
}

fn whole(server: &Server, request: &str) -> String {
    let mut answer = String::new();
    server.request_raw(request).read_to_string(&mut answer).unwrap();
    answer
}

fn publish(origin: &str) -> String {
    format!(
        "POST /topics/news HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\nContent-Length: 1\r\n\
         Connection: close\r\n\r\n1"
    )
}

#[actix_web::test]
async fn a_page_of_another_origin_gets_no_websocket_unless_its_origin_is_allowed() {
    for door in Door::BOTH {
        let server = server(door, &["https://app.example.com", "https://*.example.org"]);
        let cases = [
            ("", 101),
            ("Origin: http://localhost\r\n", 101),
            ("Origin: https://localhost\r\n", 101),
            ("Origin: https://app.example.com\r\n", 101),
            ("Origin: https://live.example.org\r\n", 101),
            ("Origin: http://localhost:3000\r\n", 403),
            ("Origin: https://evil.example\r\n", 403),
            ("Origin: null\r\n", 403),
            ("Origin: http://localhost\r\nOrigin: http://localhost\r\n", 403),
            ("Origin: https://evil.example\r\nX-Forwarded-Host: evil.example\r\n", 403),
        ];
        for (headers, status) in cases {
            let head = head(&server, &upgrade(headers));
            assert!(head.starts_with(&format!("http/1.1 {status} ")), "{door:?}, {headers:?} got {head}");
        }
        let refused = upgrade("Origin: https://evil.example\r\nConnection: close\r\n");
        let answer = whole(&server, &refused);
        assert!(
            answer.contains("application/problem+json") && answer.contains(r#""code":"forbidden""#),
            "{answer}"
        );
        assert!(
            answer.contains("https://evil.example") && answer.contains("allowed_origins in [server]"),
            "{answer}"
        );
    }
}

#[actix_web::test]
async fn a_proxy_that_is_trusted_may_say_by_which_name_the_page_knows_the_server() {
    let mut settings = Settings::default();
    settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    for door in Door::BOTH {
        let server = Server::with(door, settings.clone());
        let origin = "Origin: https://live.example.com\r\n";
        for name in ["X-Forwarded-Host: live.example.com", "Forwarded: for=192.0.2.1;host=live.example.com"] {
            let head = head(&server, &upgrade(&format!("{origin}{name}\r\n")));
            assert!(head.starts_with("http/1.1 101 "), "{door:?}, {name} got {head}");
        }
        assert!(head(&server, &upgrade(origin)).starts_with("http/1.1 403 "), "{door:?}");
    }
}

#[actix_web::test]
async fn a_page_of_another_origin_changes_nothing_over_http() {
    for door in Door::BOTH {
        let server = server(door, &["https://app.example.com"]);
        let mut news = server.hub.subscribe("news").await.unwrap();
        let answer = whole(&server, &publish("https://evil.example"));
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("allowed_origins"), "{answer}");
        assert!(!answer.contains("access-control"), "{answer}");
        for origin in ["https://app.example.com", "http://localhost"] {
            let answer = whole(&server, &publish(origin));
            assert!(answer.starts_with("HTTP/1.1 200 "), "{origin} got {answer}");
        }
        assert_eq!(
            news.next().await.unwrap().unwrap().position.offset,
            1,
            "the refused one was not published"
        );
    }
}

#[actix_web::test]
async fn browsers_are_told_what_pages_of_allowed_origins_may_do_and_read() {
    let ask = |origin: &str| {
        format!(
            "OPTIONS /topics/news HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\n\r\n"
        )
    };
    let look = |origin: &str| {
        format!("GET /topics/news/messages HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\r\n")
    };
    for door in Door::BOTH {
        let server = server(door, &["https://app.example.com"]);
        let preflight = head(&server, &ask("https://app.example.com"));
        assert!(preflight.starts_with("http/1.1 204 "), "{preflight}");
        for line in [
            "access-control-allow-origin: https://app.example.com\r\n",
            "access-control-allow-credentials: true\r\n",
            "access-control-max-age: 600\r\n",
            "vary: origin\r\n",
        ] {
            assert!(preflight.contains(line), "{line} is not in {preflight}");
        }
        let methods = preflight.lines().find(|line| line.starts_with("access-control-allow-methods: "));
        assert!(methods.unwrap().contains("post"), "{preflight}");
        let headers = preflight.lines().find(|line| line.starts_with("access-control-allow-headers: "));
        assert!(headers.unwrap().contains("authorization"), "{preflight}");
        assert!(head(&server, &ask("https://evil.example")).starts_with("http/1.1 403 "));

        let answer = head(&server, &look("https://app.example.com"));
        assert!(answer.starts_with("http/1.1 200 "), "{answer}");
        assert!(answer.contains("access-control-allow-origin: https://app.example.com\r\n"), "{answer}");
        let exposed = answer.lines().find(|line| line.starts_with("access-control-expose-headers: "));
        assert!(exposed.unwrap().contains("etag") && exposed.unwrap().contains("retry-after"), "{answer}");
        let answer = head(&server, &look("https://evil.example"));
        assert!(answer.starts_with("http/1.1 200 ") && answer.contains("vary: origin\r\n"), "{answer}");
        assert!(!answer.contains("access-control"), "the browser keeps it from the page: {answer}");
    }
    let open = server(Door::A, &["*"]);
    let answer = head(&open, &look("https://anybody.example"));
    assert!(answer.contains("access-control-allow-origin: *\r\n"), "{answer}");
    assert!(!answer.contains("access-control-allow-credentials"), "{answer}");
}

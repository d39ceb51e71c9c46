//! TLS: the same port for HTTPS and WSS, certificates that change, clients that need one, and what breaks.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, version};
use serde_json::json;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{Connector, connect_async_tls_with_config};
use topichub::{Settings, Tls, TlsSettings};

use crate::support::{Client, DEADLINE, JSON, Server, masked, upgrade, wait_until};

/// An authority, and files with what it has signed.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

impl Authority {
    fn new(name: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tls-{name}"));
        std::fs::create_dir_all(&directory).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { issuer, directory };
        std::fs::write(authority.path("ca.pem"), authority.issuer.pem()).unwrap();
        authority.renew();
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn sign(&self) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Gives the server another certificate.
    fn renew(&self) -> CertificateDer<'static> {
        let (certificate, key) = self.sign();
        std::fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
        std::fs::write(self.path("certificate.pem"), certificate.pem()).unwrap();
        certificate.der().clone()
    }

    fn settings(&self) -> TlsSettings {
        TlsSettings::new(self.path("certificate.pem"), self.path("key.pem"))
    }

    fn client(&self) -> ClientConfig {
        self.client_with(&version::TLS13, None)
    }

    fn client_with(
        &self,
        version: &'static rustls::SupportedProtocolVersion,
        own: Option<(Certificate, KeyPair)>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]);
        let builder = builder.unwrap().with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }
}

fn serve(settings: Settings, tls: &Tls) -> Server {
    let tls = tls.clone();
    Server::listening(settings, move |tcp| vec![topichub::Listener::from(tcp).with_tls(tls)])
}

type Tunnel = StreamOwned<ClientConnection, TcpStream>;

/// A connection whose handshake is done, or the error that ended it.
fn tunnel(server: &Server, config: &Arc<ClientConfig>) -> io::Result<Tunnel> {
    let name = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(Arc::clone(config), name).unwrap();
    let socket = TcpStream::connect(server.address).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut tunnel = StreamOwned::new(session, socket);
    while tunnel.conn.is_handshaking() {
        tunnel.conn.complete_io(&mut tunnel.sock)?;
    }
    Ok(tunnel)
}

/// The whole answer to a request for `/healthz` that ends the connection.
fn health(server: &Server, config: &Arc<ClientConfig>) -> io::Result<(String, Tunnel)> {
    let mut tunnel = tunnel(server, config)?;
    tunnel.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    // An end without a goodbye would be an error.
    tunnel.read_to_string(&mut answer)?;
    Ok((answer, tunnel))
}

fn certificate_of(tunnel: &Tunnel) -> CertificateDer<'static> {
    tunnel.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

async fn connect(server: &Server, mut config: ClientConfig) -> Client {
    let mut request = format!("wss://localhost:{}/ws", server.address.port()).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", JSON.parse().unwrap());
    // A WebSocket client offers one protocol or none.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = Some(Connector::Rustls(Arc::new(config)));
    let connected = connect_async_tls_with_config(request, None, true, connector).await;
    Client::welcomed(connected.unwrap().0).await
}

#[actix_web::test]
async fn one_port_speaks_https_and_wss() {
    let authority = Authority::new("one-port");
    let server = serve(Settings::default(), &Tls::new(authority.settings()).unwrap());
    let (answer, tunnel) = health(&server, &Arc::new(authority.client())).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok\n"), "{answer}");
    assert_eq!(tunnel.conn.alpn_protocol(), Some(&b"http/1.1"[..]), "browsers offer h2 too");

    for version in [&version::TLS13, &version::TLS12] {
        let mut client = connect(&server, authority.client_with(version, None)).await;
        client.ask(json!({"op": "subscribe", "id": 1, "topic": "big"})).await;
        // Longer than two records, there and back.
        let data = "x".repeat(50_000);
        client.send(json!({"op": "publish", "topic": "big", "data": data})).await;
        assert_eq!(client.next().await["data"], data);
        client.socket.close(None).await.unwrap();
        client.read_to_end().await;
    }
}

#[actix_web::test]
async fn the_end_of_a_websocket_is_said_in_tls_too() {
    let authority = Authority::new("end");
    let server = serve(Settings::default(), &Tls::new(authority.settings()).unwrap());
    // A close of its own, and a frame that breaks the protocol.
    for last in [masked(0x88, &1000u16.to_be_bytes()), masked(0xff, b"")] {
        let mut tunnel = tunnel(&server, &Arc::new(authority.client())).unwrap();
        tunnel.write_all(upgrade("").as_bytes()).unwrap();
        tunnel.write_all(&last).unwrap();
        let mut said = Vec::new();
        tunnel.read_to_end(&mut said).expect("an end without close_notify could be an attacker's");
        assert!(said.starts_with(b"HTTP/1.1 101 "));
    }
}

#[actix_web::test]
async fn what_comes_in_small_pieces_is_put_together_and_a_change_of_keys_is_followed() {
    let authority = Authority::new("pieces");
    let server = serve(Settings::default(), &Tls::new(authority.settings()).unwrap());
    let mut config = authority.client();
    config.max_fragment_size = Some(32);
    let mut tunnel = tunnel(&server, &Arc::new(config)).unwrap();
    for _ in 0..3 {
        tunnel.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok\n") {
            let mut byte = [0];
            tunnel.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        tunnel.conn.refresh_traffic_keys().unwrap();
    }
}

#[actix_web::test]
async fn who_comes_back_with_a_ticket_is_known_again() {
    let authority = Authority::new("ticket");
    let tls = Tls::new(authority.settings()).unwrap();
    let server = serve(Settings::default(), &tls);
    let config = Arc::new(authority.client());
    let kind = || health(&server, &config).unwrap().1.conn.handshake_kind().unwrap();
    assert_eq!(kind(), HandshakeKind::Full);
    assert_eq!(kind(), HandshakeKind::Resumed);
    tls.reload().unwrap();
    assert_eq!(kind(), HandshakeKind::Full, "tickets are those of the certificate");
}

#[actix_web::test]
async fn a_new_certificate_is_used_at_once_and_nobody_is_dropped() {
    let authority = Authority::new("reload");
    let tls = Tls::new(authority.settings()).unwrap();
    let server = serve(Settings::default(), &tls);
    let config = Arc::new(authority.client());
    let mut open = connect(&server, authority.client()).await;
    let now_used = || certificate_of(&health(&server, &config).unwrap().1);

    let second = authority.renew();
    tls.reload().unwrap();
    assert_eq!(now_used(), second);

    std::fs::write(authority.path("certificate.pem"), "no certificate").unwrap();
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.starts_with("there is no certificate in "), "{error}");
    assert_eq!(now_used(), second, "the old one stays");
    let (other, _) = authority.sign();
    std::fs::write(authority.path("certificate.pem"), other.pem()).unwrap();
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.contains("cannot be used with its key"), "{error}");
    assert_eq!(now_used(), second);

    let third = authority.renew();
    wait_until("the files are looked at without being told to", || now_used() == third);
    assert_eq!(open.ask(json!({"op": "ping", "id": 1})).await["op"], "pong");
}

#[actix_web::test]
async fn under_load_a_new_certificate_costs_nobody_anything() {
    const RENEWALS: usize = 20;
    let authority = Authority::new("load");
    let tls = Tls::new(authority.settings()).unwrap();
    let server = Arc::new(serve(Settings::default(), &tls));
    let mut open = Vec::new();
    for _ in 0..20 {
        open.push(connect(&server, authority.client()).await);
    }
    let done = Arc::new(AtomicBool::new(false));
    let newcomers = [0; 2].map(|_| {
        let (server, done, config) = (Arc::clone(&server), Arc::clone(&done), Arc::new(authority.client()));
        std::thread::spawn(move || {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                assert!(health(&server, &config).unwrap().0.ends_with("ok\n"));
                count += 1;
            }
            count
        })
    });
    for renewal in 0..RENEWALS {
        authority.renew();
        tls.reload().unwrap();
        for client in &mut open {
            assert_eq!(client.ask(json!({"op": "ping", "id": renewal})).await["op"], "pong");
        }
    }
    done.store(true, Ordering::Relaxed);
    let came: usize = newcomers.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(came > RENEWALS, "{came} newcomers");
}

#[actix_web::test]
async fn a_proxy_may_name_the_client_before_tls_begins() {
    let authority = Authority::new("proxied");
    let (tls, mut settings) = (Tls::new(authority.settings()).unwrap(), Settings::default());
    settings.connections_per_address_max = 1;
    settings.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let server = Server::listening(settings, move |tcp| {
        vec![topichub::Listener::from(tcp).with_tls(tls).with_proxy_protocol()]
    });
    let config = Arc::new(authority.client());
    let enter = |client: &str| {
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::clone(&config), name).unwrap();
        let mut socket = TcpStream::connect(server.address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.write_all(format!("PROXY TCP4 {client} 127.0.0.1 4711 443\r\n").as_bytes()).unwrap();
        let mut tunnel = StreamOwned::new(session, socket);
        tunnel.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut status = [0; 12];
        tunnel.read_exact(&mut status).map(|()| (status, tunnel))
    };
    let (status, _first) = enter("203.0.113.1").unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    assert!(enter("203.0.113.1").is_err(), "one connection from there is enough");
    enter("203.0.113.2").unwrap();
}

#[actix_web::test]
async fn where_clients_need_a_certificate_only_one_of_the_authority_will_do() {
    let (authority, stranger) = (Authority::new("mutual"), Authority::new("stranger"));
    let mut settings = authority.settings();
    settings.client_ca = Some(authority.path("ca.pem"));
    let server = serve(Settings::default(), &Tls::new(settings).unwrap());
    for version in [&version::TLS13, &version::TLS12] {
        let mut known = authority.client_with(version, Some(authority.sign()));
        // So that the certificate comes in many records.
        known.max_fragment_size = Some(64);
        assert!(health(&server, &Arc::new(known)).unwrap().0.ends_with("ok\n"));
        for own in [None, Some(stranger.sign())] {
            let unknown = Arc::new(authority.client_with(version, own));
            let error = health(&server, &unknown).map(|(answer, _)| answer).unwrap_err();
            assert!(error.to_string().contains("alert"), "it is told why: {error}");
        }
    }
}

#[actix_web::test]
async fn a_handshake_that_fails_or_never_ends_gives_its_place_back() {
    let authority = Authority::new("broken");
    let mut settings = Settings::default();
    settings.handshake_timeout = Duration::from_millis(300);
    settings.handshakes_max = 1;
    let server = serve(settings, &Tls::new(authority.settings()).unwrap());
    let config = Arc::new(authority.client());
    for sent in [&b""[..], b"\x16\x03\x01\x40\x00\x01", upgrade("").as_bytes(), &[0xff; 100_000]] {
        let mut socket = TcpStream::connect(server.address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let _ = socket.write_all(sent);
        let mut answer = Vec::new();
        // The end, with an alert before it or a reset in place of it; a timeout would be neither.
        if let Err(error) = socket.read_to_end(&mut answer) {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
        }
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
        wait_until("the place is free", || health(&server, &config).is_ok());
    }
}

#[actix_web::test]
async fn who_shakes_hands_and_says_nothing_is_hung_up_on_in_time_and_without_a_word() {
    let authority = Authority::new("silent");
    let mut settings = Settings::default();
    settings.handshake_timeout = Duration::from_millis(300);
    let server = serve(settings, &Tls::new(authority.settings()).unwrap());
    let config = Arc::new(authority.client());
    for (sent, answered) in [("", ""), ("GET /healthz HTT", "HTTP/1.1 408 ")] {
        let mut tunnel = tunnel(&server, &config).unwrap();
        tunnel.conn.complete_io(&mut tunnel.sock).unwrap();
        tunnel.write_all(sent.as_bytes()).unwrap();
        let mut answer = String::new();
        let read = tunnel.read_to_string(&mut answer);
        assert!(read.is_ok(), "{read:?} after {answer:?}");
        assert!(answer.starts_with(answered) && answer.is_empty() == answered.is_empty(), "{answer}");
    }
}

#[actix_web::test]
async fn what_is_no_record_ends_a_session_and_hurts_nobody() {
    let authority = Authority::new("garbage");
    let server = serve(Settings::default(), &Tls::new(authority.settings()).unwrap());
    let mut healthy = connect(&server, authority.client()).await;
    for version in [&version::TLS13, &version::TLS12] {
        let config = Arc::new(authority.client_with(version, None));
        let garbage: [&[u8]; 6] = [
            &[0xff; 40],
            b"\x17\x03\x03\x00\x20ciphertext of nobody knows whom....",
            b"\x16\x03\x03\x00\x04\x18\x00\x00\x01",
            b"\x15\x03\x03\x00\x02\x02\x28",
            b"\x17\x03\x03\xff\xff",
            b"\x14\x03\x03\x00\x01\x02",
        ];
        for bytes in garbage {
            let mut tunnel = tunnel(&server, &config).unwrap();
            tunnel.write_all(upgrade("").as_bytes()).unwrap();
            let mut first = [0; 12];
            tunnel.read_exact(&mut first).unwrap();
            assert_eq!(&first, b"HTTP/1.1 101");
            wait_until("the session has begun", || server.hub.sessions() == 2);
            tunnel.sock.write_all(bytes).unwrap();
            wait_until("the session has ended", || server.hub.sessions() == 1);
        }
    }
    assert_eq!(healthy.ask(json!({"op": "ping", "id": 1})).await["op"], "pong");
}

#[actix_web::test]
async fn a_slow_reader_gets_everything_in_order_and_one_that_stalls_is_cut_off_within_its_limits() {
    const MESSAGES: usize = 600;
    let authority = Authority::new("slow");
    let mut settings = Settings::default();
    settings.outbox_bytes_max = 32 * 1024 * 1024;
    let roomy = serve(settings.clone(), &Tls::new(authority.settings()).unwrap());
    settings.outbox_bytes_max = 256 * 1024;
    settings.close_timeout = Duration::from_millis(500);
    let narrow = serve(settings, &Tls::new(authority.settings()).unwrap());
    let filling = "x".repeat(40_000);
    for server in [&roomy, &narrow] {
        let mut slow = connect(server, authority.client()).await;
        slow.ask(json!({"op": "subscribe", "id": 1, "topic": "big"})).await;
        for _ in 0..MESSAGES {
            server.hub.publish("big", &filling).await.unwrap();
        }
        if std::ptr::eq(server, &roomy) {
            for offset in 1..=MESSAGES {
                let message = slow.next().await;
                assert_eq!((&message["offset"], &message["data"]), (&json!(offset), &json!(filling)));
            }
        } else {
            wait_until("the stalled one is cut off", || server.hub.sessions() == 0);
        }
    }
}

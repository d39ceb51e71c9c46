//! One connection through the proxy, up to its end. When what happens to it is decided elsewhere.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::fate::{Fate, Fates, Kind};

/// The most that is forwarded at a time.
const CHUNK_BYTES: usize = 16 * 1024;

/// Forwards between a client and the server, until the connection's fate or one of them ends it.
pub(crate) async fn forward(client: TcpStream, upstream: SocketAddr, fates: Rc<Fates>) {
    // Whatever goes wrong on one side ends both, as with any proxy.
    let _ = try_forward(client, upstream, &fates).await;
}

async fn try_forward(mut client: TcpStream, upstream: SocketAddr, fates: &Fates) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut fate = fates.draw();
    if fate.is_some_and(|fate| fate.kind == Kind::Refuse) && fates.comes(Kind::Refuse) {
        return Ok(());
    }
    let mut server = TcpStream::connect(upstream).await?;
    server.set_nodelay(true)?;
    while let Some(present) = fate {
        if !pass_until(&mut client, &mut server, &present).await? {
            return Ok(());
        }
        if !fates.comes(present.kind) {
            break;
        }
        if present.kind != Kind::Stall {
            return end(client, server, &present).await;
        }
        sleep(present.lasts).await;
        fate = fates.draw();
    }
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// Forwards until the fate's moment has come. False if one side has ended before.
async fn pass_until(client: &mut TcpStream, server: &mut TcpStream, fate: &Fate) -> io::Result<bool> {
    let moment = Instant::now() + fate.after;
    let (mut from_client, mut from_server) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    let mut left = fate.after_bytes;
    loop {
        let (count, up) = tokio::select! {
            () = sleep_until(moment) => return Ok(true),
            read = client.read(&mut from_client) => (read?, true),
            read = server.read(&mut from_server) => (read?, false),
        };
        if count == 0 {
            return Ok(false);
        }
        let is_over = count as u64 >= left;
        // Of the chunk in which it happens only a part goes on, or all of it.
        let part = if is_over && fate.kind == Kind::Truncate { left as usize } else { count };
        if up {
            server.write_all(&from_client[..part]).await?;
        } else {
            client.write_all(&from_server[..part]).await?;
        }
        if is_over {
            return Ok(true);
        }
        left -= count as u64;
    }
}

/// Ends a connection as its fate says.
async fn end(mut client: TcpStream, mut server: TcpStream, fate: &Fate) -> io::Result<()> {
    match fate.kind {
        Kind::Reset => reset(client),
        Kind::Silence => {
            sleep(fate.lasts).await;
            reset(client)
        }
        Kind::HalfClose => {
            client.shutdown().await?;
            drain(&mut client, &mut server, fate.lasts).await
        }
        Kind::Close | Kind::Truncate | Kind::Refuse | Kind::Stall => Ok(()),
    }
}

/// Forwards what the client still says.
async fn drain(client: &mut TcpStream, server: &mut TcpStream, lasts: Duration) -> io::Result<()> {
    timeout(lasts, tokio::io::copy(client, server)).await.map_or(Ok(()), |copied| copied.map(drop))
}

fn reset(stream: TcpStream) -> io::Result<()> {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    /// What a client hears whose server says ten digits, if this comes after four of them; and what the server hears of
    /// the "bye" that the client says then.
    async fn heard(kind: Kind) -> (io::Result<String>, String) {
        let ((mut client, mut near_client), (mut near_server, mut server)) = (pair().await, pair().await);
        let fate =
            Fate { kind, after_bytes: 4, after: Duration::from_secs(10), lasts: Duration::from_millis(50) };
        server.write_all(b"0123456789").await.unwrap();
        let passing = async {
            assert!(pass_until(&mut near_client, &mut near_server, &fate).await.unwrap());
            let _ = end(near_client, near_server, &fate).await;
        };
        let talking = async {
            let mut digits = String::new();
            let read = client.read_to_string(&mut digits).await;
            let _ = client.write_all(b"bye").await;
            drop(client);
            let mut bye = String::new();
            let _ = server.read_to_string(&mut bye).await;
            (read.map(|_| digits), bye)
        };
        tokio::join!(passing, talking).1
    }

    #[tokio::test]
    async fn each_kind_ends_a_connection_in_its_own_way() {
        let digits = |(digits, bye): (io::Result<String>, String)| (digits.unwrap(), bye);
        assert_eq!(digits(heard(Kind::Close).await), ("0123456789".into(), String::new()));
        assert_eq!(digits(heard(Kind::Truncate).await), ("0123".into(), String::new()));
        assert_eq!(digits(heard(Kind::HalfClose).await), ("0123456789".into(), "bye".into()));
        for kind in [Kind::Reset, Kind::Silence] {
            assert_eq!(heard(kind).await.0.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        }
    }

    #[tokio::test]
    async fn a_fate_comes_in_its_time_if_nobody_speaks() {
        let ((_client, mut near_client), (mut near_server, server)) = (pair().await, pair().await);
        let after = Duration::from_millis(10);
        let mut fate = Fate { kind: Kind::Close, after_bytes: 4, after, lasts: Duration::ZERO };
        assert!(pass_until(&mut near_client, &mut near_server, &fate).await.unwrap());
        fate.after = Duration::from_secs(10);
        drop(server);
        assert!(!pass_until(&mut near_client, &mut near_server, &fate).await.unwrap());
    }
}

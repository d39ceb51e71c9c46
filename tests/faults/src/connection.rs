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

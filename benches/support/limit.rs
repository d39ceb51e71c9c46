//! The bare limit: what the kernel alone costs. An epoll program that parses, encodes and looks up nothing: whatever
//! bytes its publisher hands it, it sends to each socket with one call.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::peer;
use super::sys::{Epoll, NO_EVENT};

/// The argument that makes this program the limit.
pub(crate) const ARGUMENT: &str = "bare-limit";

/// What a subscriber is answered, whatever it says.
pub(crate) const ANSWER: [u8; 128] = [b'.'; 128];

const LISTENER: u64 = 0;
const PUBLISHER: u64 = 1;
/// The first subscriber; the next ones count on.
const SUBSCRIBER: u64 = 2;

/// It ends when its publisher does; this is for a publisher that never comes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Who tells the limit what to send.
pub(crate) struct Publisher(TcpStream);

impl Publisher {
    /// Must be the first to connect.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self(peer::connect(address)?))
    }

    /// Has `bytes` sent to every subscriber.
    pub(crate) fn publish(&mut self, bytes: &[u8]) -> io::Result<()> {
        let len = (bytes.len() as u32).to_le_bytes();
        self.0.write_all(&[&len, bytes].concat())
    }
}

/// The program.
pub(crate) fn run() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    eprintln!("the limit listens on {}", listener.local_addr()?);
    let (mut publisher, _) = listener.accept()?;
    let epoll = Epoll::new()?;
    epoll.add(&listener, LISTENER)?;
    epoll.add(&publisher, PUBLISHER)?;

    let (mut subscribers, mut events) = (Vec::<TcpStream>::new(), [NO_EVENT; 64]);
    let (mut len, mut bytes, mut said) = ([0; 4], Vec::new(), [0; 4096]);
    loop {
        let count = epoll.wait(&mut events, PATIENCE)?;
        if count == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        for event in &events[..count] {
            match event.u64 {
                LISTENER => {
                    let (subscriber, _) = listener.accept()?;
                    subscriber.set_nodelay(true)?;
                    epoll.add(&subscriber, SUBSCRIBER + subscribers.len() as u64)?;
                    subscribers.push(subscriber);
                }
                PUBLISHER => {
                    match publisher.read(&mut len[..1]) {
                        Ok(0) => return Ok(()),
                        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                        result => result?,
                    };
                    publisher.read_exact(&mut len[1..])?;
                    bytes.resize(u32::from_le_bytes(len) as usize, 0);
                    publisher.read_exact(&mut bytes)?;
                    subscribers.iter_mut().try_for_each(|subscriber| subscriber.write_all(&bytes))?;
                }
                number => {
                    let Some(subscriber) = subscribers.get_mut((number - SUBSCRIBER) as usize) else {
                        continue;
                    };
                    match subscriber.read(&mut said) {
                        Ok(1..) => subscriber.write_all(&ANSWER)?,
                        // They hang up all together, at the end of a round.
                        Ok(0) | Err(_) => subscribers.clear(),
                    }
                }
            }
        }
    }
}

//! A network cable between a client and a server, to be cut.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Passes on what comes, until it is cut; what connects afterwards gets through again, unless it stays unplugged.
pub(crate) struct Cable {
    pub(crate) address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    streams: Vec<TcpStream>,
    is_unplugged: bool,
}

impl Cable {
    pub(crate) fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Mutex::new(Inner::default()));
        let ours = Arc::clone(&inner);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let mut inner = ours.lock().unwrap();
                if inner.is_unplugged {
                    continue;
                }
                let Ok(far) = TcpStream::connect(server) else { continue };
                pass(&near, &far);
                pass(&far, &near);
                inner.streams.extend([near, far]);
            }
        });
        Self { address, inner }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Cuts what goes through it.
    pub(crate) fn cut(&self) {
        for stream in self.inner.lock().unwrap().streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Cuts it, and nothing gets through until it is plugged in.
    pub(crate) fn unplug(&self) {
        self.inner.lock().unwrap().is_unplugged = true;
        self.cut();
    }

    pub(crate) fn plug(&self) {
        self.inner.lock().unwrap().is_unplugged = false;
    }
}

fn pass(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    thread::spawn(move || {
        let mut bytes = [0; 16_384];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}

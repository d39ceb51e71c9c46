//! The server as a service manager sees it, here one of the test's own.
#![cfg(target_os = "linux")]

use std::os::unix::net::UnixDatagram;

use crate::cli::{Server, directory, topichub};
use crate::support::DEADLINE;

/// Where a server says how it is.
struct Manager(UnixDatagram);

impl Manager {
    /// The next thing said that is not that it is alive.
    fn told(&self) -> String {
        loop {
            let told = self.anything();
            if told != "WATCHDOG=1\n" {
                return told;
            }
        }
    }

    fn anything(&self) -> String {
        let mut buffer = [0; 256];
        let len = self.0.recv(&mut buffer).expect("the server says something");
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }
}

#[test]
fn the_service_manager_is_told_how_the_server_is() {
    let directory = directory("service");
    let (socket, file) = (directory.join("notify"), directory.join("topichub.toml"));
    let _ = std::fs::remove_file(&socket);
    let manager = Manager(UnixDatagram::bind(&socket).unwrap());
    manager.0.set_read_timeout(Some(DEADLINE)).unwrap();
    std::fs::write(&file, "").unwrap();
    let mut command = topichub(&["serve", "--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()]);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "60000").env_remove("WATCHDOG_PID");
    let server = Server::of(command);

    assert_eq!(manager.told(), "READY=1\n");
    for _ in 0..3 {
        assert_eq!(manager.anything(), "WATCHDOG=1\n");
    }
    server.run.signal("HUP");
    let reloading = manager.told();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(manager.told(), "READY=1\n");
    server.run.terminate();
    assert_eq!(manager.told(), "STOPPING=1\n");
    assert_eq!(server.run.end().code, 0);
}

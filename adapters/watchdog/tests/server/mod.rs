//! What the companion's test and its bench have in common: this program, started again as a server with one port and one link.

use kevy_elect_watchdog::companion::{Companion, Lives, Program};
use rustix::fd::{AsFd, AsRawFd};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

/// Starts this program again. What it says, and what it is told, go through pipes.
pub fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments).current_dir(std::env::temp_dir());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

/// Opens a port, says which it is, and takes the first who comes. Says both descriptors too.
pub fn open() -> (TcpListener, TcpStream) {
    let door = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    println!("port {} {}", door.local_addr().unwrap().port(), door.as_raw_fd());
    let (link, _) = door.accept().unwrap();
    println!("link {}", link.as_raw_fd());
    (door, link)
}

/// A companion for these threads and sockets, which runs before all ordinary threads or is one of them.
pub fn accompany(program: &Program, lives: &Lives, sockets: [&dyn AsFd; 2], preferred: bool) -> Companion {
    let companion = Companion::start(program, lives, preferred).unwrap();
    for (key, socket) in (0..).zip(sockets) {
        companion.hand_over(key, socket).unwrap();
    }
    companion
}

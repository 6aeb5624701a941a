//! Many connections at once.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::answers::ask;
use crate::client::{Events, chat, connect, get, written};
use crate::rig::Rig;

#[test]
fn connections_that_do_nothing_hold_nobody_up() {
    let rig = Rig::new();
    let idle: Vec<TcpStream> = (0..200).map(|_| connect(rig.address)).collect();
    let half: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = connect(rig.address);
            stream
                .write_all(b"POST /v1/chat/completions HTTP/1.1\r\nHost: te")
                .unwrap();
            stream
        })
        .collect();
    rig.until("smoltune_connections", 401.0);
    let whole = chat(rig.address, &ask("Name a bird.", 20));
    assert_eq!(whole.status, 200);
    Events::chat(rig.address, &ask("Name a bird.", 20)).all();
    drop((idle, half));
    rig.until("smoltune_connections", 1.0);
}

#[test]
fn a_connection_is_used_again() {
    let rig = Rig::new();
    let mut stream = connect(rig.address);
    let text = written("GET", "/health", "", "").replace("Connection: close\r\n", "");
    for _ in 0..3 {
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer).unwrap();
        assert!(String::from_utf8_lossy(&answer[..length]).starts_with("HTTP/1.1 200"));
    }
    assert_eq!(get(rig.address, "/health").status, 200);
}

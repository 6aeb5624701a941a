//! What only an impatient client shows in a test's time.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::{Ask, Client, Patience, Payload};
use crate::push::{Place, Push};

/// Far longer than anything here takes, far shorter than for ever.
const LONG: Duration = Duration::from_secs(30);

/// A server that does this with its n-th connection; its address, and how many there were.
fn server(does: impl Fn(usize, TcpStream) + Send + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    // It ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            does(seen.fetch_add(1, Ordering::SeqCst), stream.unwrap());
        }
    });
    (address, count)
}

/// Reads a request and answers it.
fn answer(mut stream: &TcpStream, status: u16, body: &str) {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim_end().is_empty() {
            break;
        }
        if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = bytes.trim_end().parse().unwrap();
        }
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
    let bytes = body.len();
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {bytes}\r\n");
    write!(stream, "{head}\r\n{body}").unwrap();
}

fn impatient(address: &str) -> Client {
    let patience = Patience {
        wait: (Duration::from_millis(1), Duration::from_millis(2)),
        read: Duration::from_millis(300),
        write: Duration::from_millis(300),
    };
    Client::patient(address, "token".to_owned(), patience)
}

/// What work gives that could last for ever.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(work()));
    told.recv_timeout(LONG).expect("it ends")
}

#[test]
fn a_connection_that_says_nothing_ends_and_is_asked_again() {
    let (address, count) = server(|n, stream| {
        if n == 0 {
            // Open for as long as the client waits.
            std::thread::spawn(move || (std::thread::sleep(LONG), drop(stream)));
        } else {
            answer(&stream, 200, "{}");
        }
    });
    let status = in_time(move || {
        let url = format!("{address}/x");
        let ask = Ask::get(&url, "asking");
        let answer = impatient(&address).again(&ask, Payload::Nothing);
        answer.map(|answer| answer.status).unwrap()
    });
    assert_eq!((status, count.load(Ordering::SeqCst)), (200, 2));
}

#[test]
fn a_connection_that_takes_nothing_ends() {
    let (address, _) = server(|_, stream| {
        std::thread::spawn(move || (std::thread::sleep(LONG), drop(stream)));
    });
    let error = in_time(move || {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes) = (dir.path().join("large"), 64 << 20);
        std::fs::File::create(&path)
            .unwrap()
            .set_len(bytes)
            .unwrap();
        let url = format!("{address}/x");
        let ask = Ask::put(&url, "uploading");
        let path = &path;
        let part = Payload::Part {
            path,
            from: 0,
            bytes,
        };
        let sent = impatient(&address).once(&ask, part);
        sent.err().unwrap().to_string()
    });
    assert!(error.contains("timeout"), "{error}");
}

#[test]
fn a_conflict_that_does_not_pass_is_no_repository() {
    let (address, count) = server(|_, stream| {
        let why = "Cannot create repo: another conflicting operation is in progress";
        answer(&stream, 409, &format!("{{\"error\":\"{why}\"}}"));
    });
    let push = Push {
        client: impatient(&address),
        place: Place {
            repo: "me/mine",
            revision: "main",
        },
        private: false,
    };
    let error = push.make_repository().unwrap_err().to_string();
    assert!(error.contains("conflicting operation"), "{error}");
    assert_eq!(count.load(Ordering::SeqCst), 6, "five times more");
}

#[test]
fn a_link_is_told_by_its_relation() {
    let next = |link: &str| {
        let answer = super::Answer {
            status: 200,
            body: String::new(),
            etag: None,
            link: Some(link.to_owned()),
        };
        answer.next().map(str::to_owned)
    };
    assert_eq!(
        next("<http://x/?c=a,b>; rel=\"next\"").unwrap(),
        "http://x/?c=a,b"
    );
    let two = "<http://x/1>; rel=\"first\", <http://x/2>; rel=\"next\"";
    assert_eq!(next(two).unwrap(), "http://x/2");
    assert_eq!(next("<http://x/1>; rel=\"last\""), None);
}

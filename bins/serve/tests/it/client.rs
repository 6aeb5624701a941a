//! As little of an HTTP client as the tests need, over plain TCP, so that it can misbehave.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .next()
    }

    /// The text of the only answer.
    pub(crate) fn content(&self) -> String {
        let content = &self.json()["choices"][0]["message"]["content"];
        content
            .as_str()
            .unwrap_or_else(|| panic!("{self:?}"))
            .to_owned()
    }
}

/// The text of a request. `headers` are whole lines.
pub(crate) fn written(method: &str, path: &str, headers: &str, body: &str) -> String {
    let kind = if headers.to_lowercase().contains("content-type") {
        ""
    } else {
        "Content-Type: application/json\r\n"
    };
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\n{kind}{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    // A test that hangs is worse than one that fails.
    stream
        .set_read_timeout(Some(Duration::from_mins(1)))
        .unwrap();
    stream
}

/// Sends `text` as it stands and reads the response to its end.
pub(crate) fn raw(address: SocketAddr, text: &str) -> Response {
    let mut stream = connect(address);
    stream.write_all(text.as_bytes()).unwrap();
    read_response(&mut BufReader::new(stream))
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Response {
    raw(address, &written("GET", path, "", ""))
}

pub(crate) fn post(address: SocketAddr, path: &str, body: &Value) -> Response {
    raw(address, &written("POST", path, "", &body.to_string()))
}

pub(crate) fn chat(address: SocketAddr, body: &Value) -> Response {
    post(address, "/v1/chat/completions", body)
}

fn read_response(reader: &mut impl BufRead) -> Response {
    let (status, head) = read_head(reader);
    let mut body = Vec::new();
    if head.to_lowercase().contains("transfer-encoding: chunked") {
        while let Some(chunk) = read_chunk(reader) {
            body.extend(chunk);
        }
    } else {
        reader.read_to_end(&mut body).unwrap();
    }
    Response {
        status,
        head,
        body: String::from_utf8(body).unwrap(),
    }
}

fn read_head(reader: &mut impl BufRead) -> (u16, String) {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|code| code.parse().ok());
    (
        status.unwrap_or_else(|| panic!("no status in {head:?}")),
        head,
    )
}

fn read_chunk(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let length = usize::from_str_radix(line.trim(), 16)
        .ok()
        .filter(|length| *length > 0)?;
    let mut chunk = vec![0; length + 2];
    reader.read_exact(&mut chunk).ok()?;
    chunk.truncate(length);
    Some(chunk)
}

/// A streamed reply, read event by event.
pub(crate) struct Events(BufReader<TcpStream>);

impl Events {
    /// Asks for a stream and reads the head of the response.
    pub(crate) fn open(address: SocketAddr, path: &str, body: &Value) -> Self {
        let mut body = body.clone();
        body["stream"] = true.into();
        let mut stream = connect(address);
        let text = written("POST", path, "", &body.to_string());
        stream.write_all(text.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let (status, head) = read_head(&mut reader);
        assert_eq!(status, 200, "{head}");
        assert!(head.contains("text/event-stream"), "{head}");
        Self(reader)
    }

    pub(crate) fn chat(address: SocketAddr, body: &Value) -> Self {
        Self::open(address, "/v1/chat/completions", body)
    }

    /// The stream's connection.
    pub(crate) fn connection(&self) -> &TcpStream {
        self.0.get_ref()
    }

    /// Reads to the end; panics unless that is `[DONE]`.
    pub(crate) fn all(self) -> Vec<Value> {
        let mut events: Vec<String> = self.collect();
        assert_eq!(events.pop().as_deref(), Some("[DONE]"), "{events:?}");
        events
            .iter()
            .map(|event| serde_json::from_str(event).unwrap())
            .collect()
    }
}

impl Iterator for Events {
    type Item = String;

    /// What stands after `data:` in the next event; comments are left out. (The server writes each event as one chunk.)
    fn next(&mut self) -> Option<String> {
        loop {
            let event = String::from_utf8(read_chunk(&mut self.0)?).unwrap();
            let line = event.strip_suffix("\n\n").unwrap();
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(data.to_owned());
            }
            assert!(line.starts_with(": "), "no event: {event:?}");
        }
    }
}

/// The text of answer `index` in the chunks of a stream.
pub(crate) fn text_of(chunks: &[Value], index: usize) -> String {
    let choices = chunks.iter().filter_map(|chunk| chunk["choices"].get(0));
    let own = choices.filter(|choice| choice["index"] == index);
    own.filter_map(|choice| {
        choice["delta"]["content"]
            .as_str()
            .or(choice["text"].as_str())
    })
    .collect()
}

//! A hub, and a store of large files, that are threads of the test.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

pub(super) const TOKEN: &str = "hf_the_secret_of_this_test";

/// What came to a hub.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Asked {
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A status, more headers, a body.
pub(super) type Reply = (u16, String, String);

/// What a server says to the n-th request, given those before it.
pub(super) type Says = Box<dyn Fn(&Asked, &[Asked]) -> Reply + Send>;

pub(super) struct Server {
    pub(super) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub(super) fn new(says: impl FnOnce(&str) -> Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let says = says(&address);
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let heard = asked.clone();
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(request) = read(&stream) else {
                    continue;
                };
                let mut heard = heard.lock().unwrap();
                let (status, headers, body) = says(&request, &heard);
                heard.push(request);
                let length = body.len();
                let reply = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
                );
                stream.write_all(reply.as_bytes()).unwrap();
            }
        });
        Self { address, asked }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.asked().iter().map(Asked::line).collect()
    }
}

pub(super) fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |n| n.parse().unwrap());
    assert!(!headers.contains_key("transfer-encoding"), "sizes are told");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked {
        method,
        path,
        headers,
        body,
    })
}

pub(super) fn yes(body: &Value) -> Reply {
    (200, String::new(), body.to_string())
}

pub(super) fn no(status: u16, why: &str) -> Reply {
    (status, String::new(), json!({"error": why}).to_string())
}

/// An entry of a listing.
pub(super) fn entry(kind: &str, path: &str) -> Value {
    json!({"type": kind, "path": path, "oid": "0123", "size": 1})
}

/// A hub that says yes to everything, large files going to `store`; `chunk`: in parts of so many bytes.
pub(super) fn kind(
    hub: String,
    store: String,
    chunk: Option<u64>,
) -> impl Fn(&Asked) -> Reply + Send {
    move |asked: &Asked| {
        let path = asked.path.as_str();
        if path == "/api/repos/create" || path.contains("/branch/") {
            return yes(&json!({"url": format!("{hub}/me/mine")}));
        }
        if path == "/api/models/me/mine" {
            return yes(&json!({"id": "me/mine", "private": true}));
        }
        if path.contains("/tree/") {
            return yes(&json!([entry("file", ".gitattributes")]));
        }
        if path.contains("/preupload/") {
            let mode = |file: &Value| {
                let large = file["path"].as_str().unwrap().ends_with(".safetensors");
                let mode = if large { "lfs" } else { "regular" };
                json!({"path": file["path"], "uploadMode": mode, "shouldIgnore": false})
            };
            let asked = asked.json();
            let files: Vec<Value> = asked["files"]
                .as_array()
                .unwrap()
                .iter()
                .map(mode)
                .collect();
            return yes(&json!({"files": files}));
        }
        if path.ends_with("/info/lfs/objects/batch") {
            let action = |object: &Value| {
                let (oid, size) = (
                    object["oid"].as_str().unwrap(),
                    object["size"].as_u64().unwrap(),
                );
                let upload = match chunk {
                    None => json!({"href": format!("{store}/{oid}?signature=s")}),
                    Some(chunk) => {
                        let mut header = json!({"chunk_size": chunk.to_string()});
                        for part in 1..=size.div_ceil(chunk) {
                            header[part.to_string()] = format!("{store}/{oid}/{part}").into();
                        }
                        json!({"href": format!("{hub}/complete"), "header": header})
                    }
                };
                let verify = json!({"href": format!("{hub}/verify")});
                json!({"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}})
            };
            let asked = asked.json();
            let objects = asked["objects"].as_array().unwrap().iter().map(action);
            return yes(&json!({"objects": objects.collect::<Vec<Value>>()}));
        }
        if path.contains("/commit/") {
            let url = format!("{hub}/me/mine/commit/0123");
            return yes(&json!({"commitUrl": url, "commitOid": "0123"}));
        }
        yes(&json!({}))
    }
}

pub(super) fn store() -> Server {
    Server::new(|_| {
        Box::new(|asked: &Asked, _: &[Asked]| {
            let etag = format!("etag: \"{}\"\r\n", asked.path);
            (200, etag, String::new())
        })
    })
}

/// A hub that is kind but for what `first` says.
pub(super) fn hub(
    store: &Server,
    chunk: Option<u64>,
    first: impl Fn(&Asked, &[Asked]) -> Option<Reply> + Send + 'static,
) -> Server {
    let store = store.address.clone();
    Server::new(move |address| {
        let kind = kind(address.to_owned(), store, chunk);
        Box::new(move |asked, before| first(asked, before).unwrap_or_else(|| kind(asked)))
    })
}

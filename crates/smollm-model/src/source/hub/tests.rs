//! The hub, played by a local server.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn options(cache: &Path, endpoint: &str) -> HubOptions {
    HubOptions {
        cache: Some(cache.to_path_buf()),
        endpoint: endpoint.to_owned(),
        token: None,
        offline: false,
        progress: false,
    }
}

/// A hub with one model, `owner/name`: answers until the test ends. Counts requests; wants `token`
/// for everything if there is one.
struct FakeHub {
    endpoint: String,
    requests: Arc<AtomicUsize>,
}

fn serve(files: &'static [(&'static str, &'static str)], token: Option<&'static str>) -> FakeHub {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let counter = Arc::clone(&counter);
            std::thread::spawn(move || answer(&stream.unwrap(), files, token, &counter));
        }
    });
    FakeHub { endpoint, requests }
}

/// Answers the requests of one connection as the hub does for small files.
fn answer(
    stream: &TcpStream,
    files: &[(&str, &str)],
    token: Option<&str>,
    counter: &AtomicUsize,
) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    loop {
        let request = lines.next()?.ok()?;
        let mut headers = Vec::new();
        while let Some(line) = lines.next()?.ok().filter(|line| !line.is_empty()) {
            headers.push(line.to_ascii_lowercase());
        }
        counter.fetch_add(1, Ordering::SeqCst);
        let name = request
            .split(' ')
            .nth(1)?
            .strip_prefix("/owner/name/resolve/main/");
        let found = files.iter().find(|(file, _)| Some(*file) == name);
        let bearer = token.map(|token| format!("authorization: bearer {token}"));
        let allowed = bearer.is_none_or(|bearer| headers.contains(&bearer));
        let mut out = stream;
        let reply = match found {
            _ if !allowed => "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_owned(),
            None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
            Some((file, text)) => {
                let first_byte = headers.contains(&"range: bytes=0-0".to_owned());
                let body = if first_byte { &text[..1] } else { text };
                format!(
                    "HTTP/1.1 206 Partial Content\r\nETag: \"{}\"\r\nX-Repo-Commit: 0123abcd\r\n\
                     Content-Range: bytes 0-{}/{}\r\nContent-Length: {}\r\n\r\n{body}",
                    file.replace('.', "-"),
                    body.len() - 1,
                    text.len(),
                    body.len(),
                )
            }
        };
        out.write_all(reply.as_bytes()).ok()?;
    }
}

const MODEL: &[(&str, &str)] = &[
    ("config.json", "{\"config\": 1}"),
    ("tokenizer.json", "{\"tokenizer\": 1}"),
    ("tokenizer_config.json", "{\"template\": 1}"),
    ("generation_config.json", "{\"eos\": 2}"),
    (
        "model.safetensors.index.json",
        "{\"weight_map\": {\"a\": \"m-1\", \"b\": \"m-2\"}}",
    ),
    ("m-1", "first shard"),
    ("m-2", "second shard"),
];

#[test]
fn a_model_is_fetched_once_and_then_found() {
    let dir = tempfile::tempdir().unwrap();
    let hub = serve(MODEL, None);
    let online = options(dir.path(), &hub.endpoint);
    let folder = fetch("owner/name", "main", &online).unwrap();
    for (name, text) in MODEL {
        assert_eq!(std::fs::read_to_string(folder.join(name)).unwrap(), *text);
    }
    assert!(folder.ends_with("snapshots/0123abcd"));
    let asked = hub.requests.load(Ordering::SeqCst);
    assert_eq!(fetch("owner/name", "main", &online).unwrap(), folder);
    assert_eq!(
        hub.requests.load(Ordering::SeqCst),
        asked,
        "the cache was not enough"
    );
    let offline = HubOptions {
        offline: true,
        ..online
    };
    assert_eq!(fetch("owner/name", "main", &offline).unwrap(), folder);
    // A lost shard is noticed.
    std::fs::remove_file(folder.join("m-2")).unwrap();
    assert!(fetch("owner/name", "main", &offline).is_err());
}

#[test]
fn the_token_is_sent_and_its_absence_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let hub = serve(MODEL, Some("secret"));
    let without = options(dir.path(), &hub.endpoint);
    let message = fetch("owner/name", "main", &without)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("401") && message.contains("set HF_TOKEN"),
        "{message}"
    );
    let with = HubOptions {
        token: Some("secret".to_owned()),
        ..without
    };
    fetch("owner/name", "main", &with).unwrap();
    assert!(!format!("{with:?}").contains("secret"));
}

#[test]
fn a_model_that_is_not_there_is_told_from_a_dead_network() {
    let dir = tempfile::tempdir().unwrap();
    let hub = serve(&MODEL[..3], None);
    let online = options(dir.path(), &hub.endpoint);
    let message = fetch("owner/other", "main", &online)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("404") && message.contains("check name and revision"),
        "{message}"
    );
    // One without weights.
    let message = fetch("owner/name", "main", &online)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("model.safetensors.index.json"),
        "{message}"
    );
}

#[test]
fn endpoints_are_taken_apart() {
    assert_eq!(
        host_and_port("https://huggingface.co"),
        Some(("huggingface.co", 443))
    );
    assert_eq!(
        host_and_port("http://127.0.0.1:8080/base"),
        Some(("127.0.0.1", 8080))
    );
    assert_eq!(host_and_port("http://[::1]:81"), Some(("::1", 81)));
    assert_eq!(host_and_port("http://[::1]"), Some(("::1", 80)));
    assert_eq!(host_and_port("ftp://host"), None);
    assert_eq!(host_and_port("huggingface.co"), None);
}

#[test]
fn a_dead_endpoint_fails_fast_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), "http://127.0.0.1:1");
    let started = std::time::Instant::now();
    let message = fetch("owner/name", "main", &options)
        .unwrap_err()
        .to_string();
    assert!(started.elapsed() < Duration::from_secs(6));
    assert!(
        message.contains("owner/name") && message.contains(".gguf"),
        "{message}"
    );
    let options = HubOptions {
        offline: true,
        ..options
    };
    let message = fetch("owner/name", "main", &options)
        .unwrap_err()
        .to_string();
    assert!(message.contains("HF_HUB_OFFLINE"), "{message}");
}

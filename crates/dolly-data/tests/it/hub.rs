//! The hub, played by a listener on loopback: what it serves, refuses, or never answers.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use dolly_data::hub::{HubDataset, HubSettings, fetch};
use dolly_data::{ReadOptions, read_parts, read_source};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const ROWS: &str = "{\"instruction\": \"a\", \"response\": \"b\"}\n";

fn settings(cache: &Path, endpoint: String) -> HubSettings {
    HubSettings {
        cache: cache.join("hub"),
        endpoint,
        token: Some("secret".to_owned()),
        offline: false,
        patience: Duration::from_secs(10),
    }
}

fn set(text: &str) -> HubDataset {
    HubDataset::parse(text).unwrap()
}

/// Serves the data set `o/n` with these files, each with [`ROWS`] for content, for ever.
fn serve(files: &[&str]) -> String {
    let files = files.iter().map(|&name| (name.to_owned(), ROWS.into()));
    Hub::start(files.collect(), &[])
}

/// What goes wrong once with a request for a blob.
#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    /// 503.
    Unavailable,
    /// The connection ends after half of the bytes.
    CutHalfWay,
}

/// A hub with the layout of the real one: an API that lists files, `resolve` that redirects to blobs,
/// blobs that know ranges.
struct Hub {
    address: String,
    files: Vec<(String, Vec<u8>)>,
    troubles: Vec<Trouble>,
}

impl Hub {
    fn start(files: Vec<(String, Vec<u8>)>, troubles: &[Trouble]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let mut hub = Self {
            address: address.clone(),
            files,
            troubles: troubles.to_vec(),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                hub.answer(stream);
            }
        });
        address
    }

    fn answer(&mut self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let request = lines.next().unwrap().unwrap();
        let headers: Vec<String> = lines
            .map_while(Result::ok)
            .take_while(|l| !l.is_empty())
            .map(|l| l.to_lowercase())
            .collect();
        let path = request.split(' ').nth(1).unwrap();
        let known = headers.iter().any(|h| h == "authorization: bearer secret");
        let (status, extra, body, sent) = if let Some(name) = path.strip_prefix("/blobs/") {
            self.blob(name, &headers)
        } else if !known {
            ("401 Unauthorized", String::new(), Vec::new(), 0)
        } else if path.starts_with("/api/datasets/o/n/revision/main") {
            let names = self.files.iter();
            let siblings: Vec<String> = names
                .map(|(name, _)| format!("{{\"rfilename\": \"{name}\"}}"))
                .collect();
            let siblings = siblings.join(",");
            let body = format!("{{\"sha\": \"{COMMIT}\", \"siblings\": [{siblings}]}}");
            let sent = body.len();
            ("200 OK", String::new(), body.into_bytes(), sent)
        } else if let Some(name) = path.strip_prefix("/datasets/o/n/resolve/main/") {
            let extra = format!(
                "X-Linked-Etag: \"e-{}\"\r\nX-Repo-Commit: {COMMIT}\r\nLocation: {}/blobs/{name}\r\n",
                name.replace('/', "-"),
                self.address
            );
            ("302 Found", extra, Vec::new(), 0)
        } else {
            ("404 Not Found", String::new(), Vec::new(), 0)
        };
        let head = format!(
            "HTTP/1.1 {status}\r\n{extra}Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        // The client may hang up after the headers.
        let _ = stream.write_all(&[head.as_bytes(), &body[..sent]].concat());
    }

    /// Status, further headers, the body, and how much of it is really sent.
    fn blob(&mut self, name: &str, headers: &[String]) -> (&'static str, String, Vec<u8>, usize) {
        let Some((_, bytes)) = self.files.iter().find(|(file, _)| file == name) else {
            return ("404 Not Found", String::new(), Vec::new(), 0);
        };
        let range = headers.iter().find_map(|h| h.strip_prefix("range: bytes="));
        let (from, to) = range.and_then(|range| range.split_once('-')).unwrap();
        let from: usize = from.parse().unwrap();
        let to = to.parse().map_or(bytes.len(), |to: usize| to + 1);
        let body = bytes[from..to].to_vec();
        let extra = format!("Content-Range: bytes {from}-{}/{}\r\n", to - 1, bytes.len());
        let sent = body.len();
        // The first byte alone is how the client asks for the size; that always goes well.
        let trouble = (sent > 1).then(|| self.troubles.pop()).flatten();
        match trouble {
            Some(Trouble::Unavailable) => ("503 Service Unavailable", String::new(), Vec::new(), 0),
            Some(Trouble::CutHalfWay) => ("206 Partial Content", extra, body, sent / 2),
            None => ("206 Partial Content", extra, body, sent),
        }
    }
}

#[test]
fn ids_are_told_from_paths() {
    let wanted = HubDataset {
        id: "o/n-1.x".into(),
        revision: "v2".into(),
        file: Some("data/a.csv".into()),
    };
    assert_eq!(HubDataset::parse("o/n-1.x@v2:data/a.csv"), Some(wanted));
    for path in [
        "rows.csv",
        "/abs/rows",
        "./here/rows",
        "../up",
        "a/b/c",
        "o/",
        "/n",
        "o/n:",
        "C:\\rows",
    ] {
        assert_eq!(HubDataset::parse(path), None, "{path}");
    }
}

#[test]
fn a_set_is_fetched_once_and_then_cached() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(
        dir.path(),
        serve(&["README.md", "dataset_infos.json", "n.jsonl"]),
    );
    let file = fetch(&set("o/n"), &settings).unwrap();
    assert_eq!(
        (file.files.join(" ").as_str(), file.commit.as_str()),
        ("n.jsonl", COMMIT)
    );
    assert_eq!(read_source(&file.paths[0]).unwrap().len(), 1);
    settings.offline = true;
    assert_eq!(fetch(&set("o/n"), &settings).unwrap(), file);
    let said = fetch(&set("o/other"), &settings).unwrap_err().to_string();
    assert!(
        said.starts_with("o/other: not in the cache") && said.contains("HF_HUB_OFFLINE"),
        "{said}"
    );
}

#[test]
fn what_the_hub_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path(), serve(&["a.jsonl", "b.jsonl"]));
    let said =
        |text: &str, settings: &HubSettings| fetch(&set(text), settings).unwrap_err().to_string();
    assert!(said("o/n", &settings).contains("name one as `o/n:FILE`: a.jsonl, b.jsonl"));
    assert!(said("o/n:c.csv", &settings).contains("no file `c.csv` at revision main"));
    assert!(fetch(&set("o/n:b.jsonl"), &settings).is_ok());
    assert!(said("o/missing", &settings).contains("no such data set"));
    settings.token = None;
    assert!(said("o/missing", &settings).contains("set HF_TOKEN"));
}

#[test]
fn parquet_comes_in_shards() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/dolly-mini-curated");
    let parquet = std::fs::read(fixture.with_extension("parquet")).unwrap();
    let shards = [1, 0].map(|n| {
        (
            format!("data/train-0000{n}-of-00002-abc{n}.parquet"),
            parquet.clone(),
        )
    });
    let other = ("README.md".to_owned(), b"# Data".to_vec());
    let endpoint = Hub::start([&shards[..], &[other]].concat(), &[]);
    let dir = tempfile::tempdir().unwrap();
    let found = fetch(&set("o/n"), &settings(dir.path(), endpoint)).unwrap();
    assert_eq!(found.files, [shards[1].0.as_str(), &shards[0].0]);
    let source = read_parts(&found.paths, &ReadOptions::default()).unwrap();
    let once = read_source(&fixture.with_extension("jsonl")).unwrap();
    assert_eq!(source.len(), 2 * once.len());
    let (all, once) = (source.rows().unwrap().rows, once.rows().unwrap().rows);
    assert_eq!(all[once.len()..], once);

    let endpoint = Hub::start(shards[..1].to_vec(), &[]);
    let said = fetch(&set("o/n"), &settings(&dir.path().join("other"), endpoint));
    assert!(
        said.unwrap_err()
            .to_string()
            .contains("several files could be meant")
    );
}

#[test]
fn a_download_that_breaks_off_is_taken_up_and_never_half_a_file() {
    let content: Vec<u8> = (0..200)
        .flat_map(|n| ROWS.replace('a', &n.to_string()).into_bytes())
        .collect();
    let files = || vec![("n.jsonl".to_owned(), content.clone())];
    let dir = tempfile::tempdir().unwrap();
    let endpoint = Hub::start(files(), &[Trouble::CutHalfWay, Trouble::Unavailable]);
    let found = fetch(&set("o/n"), &settings(dir.path(), endpoint)).unwrap();
    assert_eq!(std::fs::read(&found.paths[0]).unwrap(), content);

    let endpoint = Hub::start(files(), &[Trouble::CutHalfWay; 3]);
    let mut settings = settings(&dir.path().join("other"), endpoint);
    let said = fetch(&set("o/n"), &settings).unwrap_err().to_string();
    assert!(said.contains("could not be fetched"), "{said}");
    // The next command goes on with what has arrived.
    settings.endpoint = Hub::start(files(), &[]);
    let found = fetch(&set("o/n"), &settings).unwrap();
    assert_eq!(std::fs::read(&found.paths[0]).unwrap(), content);
}

#[test]
fn a_hub_that_does_not_answer_is_given_up_soon() {
    let dir = tempfile::tempdir().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = settings(
        dir.path(),
        format!("http://{}", silent.local_addr().unwrap()),
    );
    settings.patience = Duration::from_millis(300);
    let start = Instant::now();
    let said = fetch(&set("o/n"), &settings).unwrap_err().to_string();
    assert!(said.contains("no answer from http://127.0.0.1"), "{said}");
    assert!(start.elapsed() < Duration::from_secs(5));
    drop(silent);
    settings.patience = Duration::from_secs(10);
    let said = fetch(&set("o/n"), &settings).unwrap_err().to_string();
    assert!(
        said.contains("could not be fetched") && said.contains("give a local file"),
        "{said}"
    );
    assert!(start.elapsed() < Duration::from_secs(8));
}

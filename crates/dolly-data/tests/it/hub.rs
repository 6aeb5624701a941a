//! The hub, played by a listener on loopback: what it serves, refuses, or never answers.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use dolly_data::hub::{HubDataset, HubSettings, fetch};
use dolly_data::read_source;

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

/// Serves one data set with these files, each with [`ROWS`] for content, for ever.
fn serve(files: &'static [&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream, files);
        }
    });
    address
}

fn answer(mut stream: TcpStream, files: &[&str]) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let request = lines.next().unwrap().unwrap();
    let headers: Vec<String> = lines
        .map_while(Result::ok)
        .take_while(|l| !l.is_empty())
        .collect();
    let path = request.split(' ').nth(1).unwrap();
    let known = headers
        .iter()
        .any(|h| h.to_lowercase() == "authorization: bearer secret");
    let (status, extra, body) = if !known {
        ("401 Unauthorized", String::new(), String::new())
    } else if path.starts_with("/api/datasets/o/n/revision/main") {
        let siblings: Vec<String> = files
            .iter()
            .map(|f| format!("{{\"rfilename\": \"{f}\"}}"))
            .collect();
        let body = format!(
            "{{\"sha\": \"{COMMIT}\", \"siblings\": [{}]}}",
            siblings.join(",")
        );
        ("200 OK", String::new(), body)
    } else if path.starts_with("/datasets/o/n/resolve/main/") {
        let size = ROWS.len();
        let extra = format!(
            "ETag: \"e1\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Range: bytes 0-0/{size}\r\n"
        );
        ("200 OK", extra, ROWS.to_owned())
    } else {
        ("404 Not Found", String::new(), String::new())
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\n{extra}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    // The client may hang up after the headers.
    let _ = stream.write_all((head + &body).as_bytes());
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
        (file.file.as_str(), file.commit.as_str()),
        ("n.jsonl", COMMIT)
    );
    assert_eq!(read_source(&file.path).unwrap().len(), 1);
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
    settings.endpoint = serve(&["data/train-00000-of-00001.parquet"]);
    settings.token = Some("secret".to_owned());
    settings.cache = dir.path().join("other");
    assert!(said("o/n", &settings).contains("Parquet, which cannot be read yet"));
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

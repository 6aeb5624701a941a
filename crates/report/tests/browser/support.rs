//! A report in a browser, and what is asked of every one.

use std::path::PathBuf;

use report::{ReportData, render};
use serde_json::{Value, json};

use crate::cdp::Browser;

pub(crate) struct Page {
    pub browser: Browser,
    pub url: String,
    pub bytes: usize,
    name: String,
    folder: PathBuf,
}

impl Page {
    /// Renders a report to a file and opens that.
    pub(crate) fn open(name: &str, data: &ReportData) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("report-browser");
        std::fs::create_dir_all(&folder).unwrap();
        let (page, file) = (render(data), folder.join(format!("{name}.html")));
        std::fs::write(&file, &page).unwrap();
        println!("{}: {} bytes", file.display(), page.len());
        let mut browser = Browser::start(&folder.join(format!("profile-{name}")));
        let url = format!("file://{}", file.display());
        browser.size(1440, 900);
        browser.open(&url);
        browser.until("!document.querySelector('#browse').hidden");
        Self {
            browser,
            url,
            bytes: page.len(),
            name: name.into(),
            folder,
        }
    }

    fn write(&self, what: &str, ending: &str, answer: &Value) {
        let data = answer["data"].as_str().unwrap();
        std::fs::write(
            self.folder.join(format!("{}-{what}.{ending}", self.name)),
            decode(data),
        )
        .unwrap();
    }

    /// The window as it is.
    pub(crate) fn screenshot(&mut self, what: &str) {
        let picture = self
            .browser
            .call("Page.captureScreenshot", &json!({ "format": "png" }));
        self.write(what, "png", &picture);
    }

    /// The whole page.
    pub(crate) fn whole(&mut self, what: &str) {
        let parameters = json!({ "format": "png", "captureBeyondViewport": true });
        let size = self.browser.call("Page.getLayoutMetrics", &json!({}))["cssContentSize"].clone();
        let mut parameters = parameters;
        parameters["clip"] =
            json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let picture = self.browser.call("Page.captureScreenshot", &parameters);
        self.write(what, "png", &picture);
    }

    /// The page on paper.
    pub(crate) fn pdf(&mut self, what: &str) {
        let paper = self
            .browser
            .call("Page.printToPDF", &json!({ "printBackground": true }));
        self.write(what, "pdf", &paper);
    }

    /// Whether an event of this kind came.
    pub(crate) fn heard(&self, method: &str) -> bool {
        self.browser
            .events
            .iter()
            .any(|event| event["method"] == method)
    }

    /// No error, no message, no dialog, no request but for the page itself.
    pub(crate) fn nothing_went_wrong(&self) {
        for method in [
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
            "Log.entryAdded",
            "Page.javascriptDialogOpening",
        ] {
            let event = self
                .browser
                .events
                .iter()
                .find(|event| event["method"] == method);
            assert!(event.is_none(), "{event:?}");
        }
        let requests = self
            .browser
            .events
            .iter()
            .filter(|event| event["method"] == "Network.requestWillBeSent");
        for request in requests {
            let url = request["params"]["request"]["url"].as_str().unwrap();
            assert_eq!(url.split('#').next(), Some(self.url.as_str()));
        }
    }
}

/// What the page says of so many rows.
pub(crate) fn counted(shown: usize, all: usize) -> String {
    let grouped = |n: usize| {
        if n < 1_000 {
            n.to_string()
        } else {
            format!("{},{:03}", n / 1_000, n % 1_000)
        }
    };
    if shown == all {
        format!("{} rows", grouped(all))
    } else {
        format!("{} of {} rows", grouped(shown), grouped(all))
    }
}

fn decode(base64: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = base64.bytes().filter(|c| *c != b'=').map(value).collect();
    let join = |four: &[u8]| {
        let bits = (0..4).fold(0_u32, |bits, i| {
            bits << 6 | u32::from(four.get(i).copied().unwrap_or(0))
        });
        bits.to_be_bytes()[1..four.len()].to_vec()
    };
    digits.chunks(4).flat_map(join).collect()
}

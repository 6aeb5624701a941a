//! The report of a quickstart run in a real browser. `cargo test -p compare --features browser --test browser`.
#![cfg(feature = "browser")]
#![allow(clippy::unwrap_used)]

#[path = "../../../crates/report/tests/browser/cdp.rs"]
mod cdp;
#[path = "../../../crates/report/tests/browser/contrast.rs"]
mod contrast;
#[allow(dead_code, reason = "some helpers are for the other pages' tests")]
#[path = "../../../crates/report/tests/browser/support.rs"]
mod support;

use std::path::Path;

use compare::{Extras, build};
use serde_json::json;
use support::Page;

#[test]
fn the_report_of_a_quickstart_run() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/quickstart");
    let extras = Extras {
        train_log: Some(fixtures.join("train_log.jsonl")),
        ..Extras::default()
    };
    let [before, after] = ["baseline.jsonl", "tuned.jsonl"].map(|name| fixtures.join(name));
    let data = build(&before, &after, &extras)
        .unwrap()
        .report("Quickstart");
    let mut page = Page::open("quickstart", &data);
    assert!(page.bytes < 3_000_000);
    for width in [360, 768, 1440] {
        page.browser.size(width, 900);
        let wide = "document.documentElement.scrollWidth - innerWidth";
        assert_eq!(page.browser.eval(wide), json!(0), "sideways at {width}");
        page.whole(&format!("{width}"));
    }
    for scheme in ["light", "dark"] {
        page.browser.media("", scheme);
        page.browser
            .eval("document.querySelector('.examples').scrollIntoView()");
        page.browser.until("!!document.querySelector('#list .row')");
        assert_eq!(page.browser.eval(contrast::FAINT), json!([]), "{scheme}");
    }
    for _ in 0..48 {
        page.browser.press("j");
    }
    let last = "document.activeElement.closest('.row')?.getAttribute('aria-posinset')";
    assert_eq!(page.browser.eval(last), json!("48"));
    page.browser.press("Enter");
    page.browser
        .until("!!document.querySelector('#list .row.open .texts')");
    page.screenshot("last-row");
    page.pdf("print");
    page.nothing_went_wrong();
}

//! The page in a real browser. `cargo test -p report --features browser`; screenshots are written to
//! the folder of test files in Cargo's target folder, which the test prints.
#![cfg(feature = "browser")]
#![allow(clippy::unwrap_used)]

mod cdp;
mod contrast;
mod pages;
mod support;

use pages::ATTACK;
use serde_json::{Value, json};
use support::Page;

#[test]
fn quiet_offline_and_small_at_every_width() {
    for (name, data) in [("small", pages::small()), ("large", pages::large())] {
        let mut page = Page::open(name, &data);
        assert!(page.bytes < 3_000_000, "{name}: {} bytes", page.bytes);
        for (width, height) in [(360, 800), (768, 1024), (1440, 900)] {
            page.browser.size(width, height);
            page.browser.eval("scrollTo(0, 0)");
            let wide = page
                .browser
                .eval("document.documentElement.scrollWidth - innerWidth");
            assert_eq!(
                wide.as_i64(),
                Some(0),
                "{name}: scrolls sideways at {width}"
            );
            page.screenshot(&format!("{width}"));
            page.browser
                .eval("document.querySelector('.examples').scrollIntoView()");
            page.browser.until("!!document.querySelector('#list .row')");
            page.screenshot(&format!("{width}-rows"));
            page.browser.press("j");
            page.browser.press("Enter");
            page.browser
                .until("!!document.querySelector('#list .row.open .texts')");
            let wide = page
                .browser
                .eval("document.documentElement.scrollWidth - innerWidth");
            assert_eq!(
                wide.as_i64(),
                Some(0),
                "{name}: an open row scrolls sideways at {width}"
            );
            page.screenshot(&format!("{width}-open"));
            page.browser.press("Enter");
        }
        page.nothing_went_wrong();
    }
}

#[test]
fn hostile_text_stays_text() {
    let mut page = Page::open("hostile", &pages::large());
    page.browser
        .eval("document.querySelector('.examples').scrollIntoView()");
    page.browser
        .until("!!document.querySelector('#list .head')");
    // The row with the attack in every text has the largest change, so it is the first.
    page.browser
        .eval("document.querySelector('#list .head').click()");
    page.browser
        .eval("for (const c of document.querySelectorAll('#list details')) c.open = true");
    page.browser
        .until("document.querySelectorAll('#list .body .text').length >= 3");
    assert_eq!(page.browser.eval("document.images.length"), json!(0));
    assert_eq!(page.browser.eval("document.scripts.length"), json!(2));
    let gold = page
        .browser
        .eval("document.querySelector('#list .body .texts .text').textContent");
    assert_eq!(gold, Value::from(format!("right answer {ATTACK}")));
    page.browser.eval(
        r#"(() => {
        const s = document.createElement("script");
        s.textContent = "window.ran = true";
        document.body.append(s);
    })()"#,
    );
    assert_eq!(
        page.browser.eval("window.ran === undefined"),
        json!(true),
        "the policy stops other scripts"
    );
    assert!(!page.heard("Page.javascriptDialogOpening"));
}

#[test]
fn filters_search_and_order() {
    let data = pages::large();
    let mut page = Page::open("filters", &data);
    let browser = &mut page.browser;
    browser.eval("document.querySelector('.examples').scrollIntoView()");
    browser.until("!!document.querySelector('#list .row')");
    let in_page = browser.eval("document.querySelectorAll('#list .row').length");
    assert!(
        in_page.as_u64().unwrap() < 80,
        "the list is virtual: {in_page}"
    );
    let count =
        |holds: &dyn Fn(&report::ReportRow) -> bool| data.rows.iter().filter(|r| holds(r)).count();
    let cases: [(&str, usize); 6] = [
        ("#show-win", count(&|r| r.delta() > 0.0)),
        ("#show-loss", count(&|r| r.delta() < 0.0)),
        ("#show-flip", count(&report::ReportRow::flipped)),
        ("#only-short", count(&|r| r.before_score.short)),
        ("#only-truncated", count(&|r| r.truncated)),
        ("#only-nostop", count(&report::ReportRow::no_stop)),
    ];
    for (control, expected) in cases {
        browser.eval(&format!("document.querySelector('{control}').click()"));
        let expected = support::counted(expected, data.rows.len());
        browser.until(&format!(
            "document.querySelector('#count').textContent === {expected:?}"
        ));
        browser.eval("document.querySelector('#controls').reset()");
    }
    let set = |name: &str, value: &str| {
        format!(
            "(() => {{ const f = document.querySelector('#controls').elements.{name}; f.value = {value:?}; f.dispatchEvent(new Event('input', {{ bubbles: true }})); }})()"
        )
    };
    let category = count(&|r| r.category.as_deref() == Some("closed_qa"));
    browser.eval("(() => { const f = document.querySelector('#controls').elements.category; f.value = [...f.options].find(o => o.text.startsWith('closed_qa')).value; f.dispatchEvent(new Event('input', { bubbles: true })); })()");
    let expected = support::counted(category, data.rows.len());
    browser.until(&format!(
        "document.querySelector('#count').textContent === {expected:?}"
    ));
    browser.eval("document.querySelector('#controls').reset()");
    browser.eval(&set("search", "OnError=Alert(1)"));
    browser.until("document.querySelector('#count').textContent === '1 of 1,500 rows'");
    browser.eval(&set("search", "no such words"));
    browser.until("!document.querySelector('#none').hidden");
    browser.eval(&set("search", ""));
    let mut deltas: Vec<f64> = data.rows.iter().map(report::ReportRow::delta).collect();
    deltas.sort_by(f64::total_cmp);
    for (order, first) in [("best", deltas[deltas.len() - 1]), ("worst", deltas[0])] {
        browser.eval(&set("sort", order));
        let shown = format!(
            "{}{:.3}",
            if first < 0.0 { '\u{2212}' } else { '+' },
            first.abs()
        );
        browser.until(&format!(
            "document.querySelector('#list .chip.d').textContent === {shown:?}"
        ));
    }
    page.nothing_went_wrong();
}

#[test]
fn keys_fold_and_links() {
    let mut page = Page::open("keys", &pages::large());
    let browser = &mut page.browser;
    let focused = "document.activeElement.closest('.row')?.getAttribute('aria-posinset')";
    browser.press("j");
    assert_eq!(browser.eval(focused), json!("1"));
    for _ in 0..60 {
        browser.press("j");
    }
    assert_eq!(browser.eval(focused), json!("61"));
    browser.press("k");
    assert_eq!(browser.eval(focused), json!("60"));
    let seen = "(() => { const r = document.activeElement.getBoundingClientRect(); return r.top >= 0 && r.bottom <= innerHeight; })()";
    assert_eq!(browser.eval(seen), json!(true));
    browser.press("Enter");
    browser.until("document.activeElement.getAttribute('aria-expanded') === 'true'");
    browser
        .eval("document.activeElement.closest('.row').querySelector('.context summary')?.click()");
    let marked = browser.eval("document.querySelectorAll('.row.open mark').length");
    assert!(marked.as_u64().unwrap() > 0);
    browser.press("d");
    browser.until("document.querySelectorAll('.row.open del').length > 0 && document.querySelectorAll('.row.open ins').length > 0");
    browser.press("Enter");
    browser.until("document.activeElement.getAttribute('aria-expanded') === 'false'");
    browser.press("/");
    assert_eq!(browser.eval("document.activeElement.name"), json!("search"));
    browser.press("j");
    assert_eq!(
        browser.eval("document.activeElement.value"),
        json!("j"),
        "keys in a field are text"
    );
    let url = page.url.clone();
    page.browser.open(&format!("{url}#row-dolly-1234"));
    page.browser.until("document.querySelector('.row.open .head .q')?.textContent.startsWith('What does passage 1234 ')");
    page.browser.until("(() => { const r = document.querySelector('.row.open').getBoundingClientRect(); return r.top >= 0 && r.top < innerHeight; })()");
    page.browser.eval("location.hash = 'row-' + encodeURIComponent(JSON.parse(document.querySelector('#data').textContent).rows[0][0])");
    page.browser
        .until("document.activeElement.querySelector('.q')?.textContent.startsWith('</script>')");
    page.nothing_went_wrong();
}

#[test]
fn dark_print_and_without_javascript() {
    let mut page = Page::open("styles", &pages::small());
    let colour = "getComputedStyle(document.body).backgroundColor";
    let light = page.browser.eval(colour);
    page.browser.media("", "dark");
    assert_ne!(page.browser.eval(colour), light);
    page.browser.size(1440, 900);
    page.whole("dark");
    page.browser
        .eval("document.querySelector('.examples').scrollIntoView()");
    page.browser.press("j");
    page.browser.press("Enter");
    page.browser.press("d");
    page.screenshot("dark-open");
    page.browser.press("Enter");
    page.browser.media("", "light");
    page.whole("light");
    let matched = "[...document.querySelectorAll('figure h3')].some(h => h.textContent === 'The difference at matched length')";
    assert_eq!(page.browser.eval(matched), json!(true));
    assert!(
        page.browser
            .eval("document.querySelectorAll('rect.noise').length")
            .as_u64()
            > Some(0)
    );
    page.browser.size(360, 800);
    page.whole("360");
    page.browser.size(768, 1024);
    page.whole("768");
    page.pdf("print");
    page.nothing_went_wrong();
    page.browser.call(
        "Emulation.setScriptExecutionDisabled",
        &json!({ "value": true }),
    );
    let url = page.url.clone();
    page.browser.open(&url);
    let rows = page.browser.call("DOM.getDocument", &json!({ "depth": 0 }));
    let find = |selector: &str| json!({ "nodeId": rows["root"]["nodeId"], "selector": selector });
    let found = page
        .browser
        .call("DOM.querySelectorAll", &find("noscript details.row"));
    assert_eq!(found["nodeIds"].as_array().unwrap().len(), 15);
    let found = page
        .browser
        .call("DOM.querySelectorAll", &find("#list .row"));
    assert_eq!(found["nodeIds"].as_array().unwrap().len(), 0);
    page.whole("no-script");
}

#[test]
fn text_can_be_told_from_its_background() {
    let mut page = Page::open("contrast", &pages::small());
    page.browser.size(1440, 900);
    for scheme in ["light", "dark"] {
        page.browser.media("", scheme);
        page.browser
            .eval("document.querySelector('.examples').scrollIntoView()");
        page.browser.until("!!document.querySelector('#list .row')");
        if scheme == "light" {
            page.browser.press("j");
            page.browser.press("Enter");
            page.browser.press("d");
        }
        page.browser
            .until("!!document.querySelector('.row.open del')");
        assert_eq!(page.browser.eval(contrast::FAINT), json!([]), "{scheme}");
        page.screenshot(&format!("{scheme}-differences"));
    }
    let crowded = "[...document.querySelectorAll('.text del')].filter(d => /\\S$/.test(d.previousSibling?.textContent || '')).length";
    assert_eq!(
        page.browser.eval(crowded),
        json!(0),
        "struck-out words stand apart"
    );
}

#[test]
fn a_page_of_one_or_two_rows_is_whole() {
    for rows in [1, 2] {
        let mut page = Page::open(&format!("bare-{rows}"), &pages::bare(rows));
        for width in [360, 1440] {
            page.browser.size(width, 900);
            let wide = "document.documentElement.scrollWidth - innerWidth";
            assert_eq!(page.browser.eval(wide), json!(0), "{rows} rows at {width}");
        }
        page.browser
            .eval("document.querySelector('.examples').scrollIntoView()");
        page.browser.until("!!document.querySelector('#list .row')");
        let drawn = "[...document.querySelectorAll('svg *')].filter(n => [...n.attributes].some(a => /NaN|inf/i.test(a.value))).length";
        assert_eq!(page.browser.eval(drawn), json!(0));
        page.whole("page");
        page.nothing_went_wrong();
    }
}

// Shows the rows of the report. Texts come from models and data sets: they enter the page as text
// nodes only, never as markup.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const SHORT = 1, TRUNCATED = 2, FLIPPED = 4, CUT_BEFORE = 8, CUT_AFTER = 16;
  const rows = data.rows.map((r, index) => ({
    index, name: r[0], question: r[1], context: r[2] === null ? "" : data.contexts[r[2]],
    gold: r[3], before: r[4], after: r[5], category: r[6] === null ? null : data.categories[r[6]],
    flags: r[7], scores: [r[8], r[9]], marks: r[10], leak: r[11], delta: r[12],
  }));

  // ---- small helpers -------------------------------------------------------------------------
  const make = (tag, className, ...children) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...children);
    return node;
  };
  const signed = (x) => (x < 0 ? "\u2212" : x > 0 ? "+" : "") + Math.abs(x).toFixed(3);
  const outcome = (row) => (row.delta > 0 ? "win" : row.delta < 0 ? "loss" : "tie");
  const countWords = (text) => {
    const n = (text.match(/\S+/g) || []).length;
    return n + (n === 1 ? " word" : " words");
  };

  // ---- which rows, in which order ------------------------------------------------------------
  const form = byId("controls");
  const OUTCOMES = {
    all: () => true, win: (r) => r.delta > 0, loss: (r) => r.delta < 0, tie: (r) => r.delta === 0,
    flip: (r) => r.flags & FLIPPED,
  };
  const ORDERS = {
    change: (a, b) => Math.abs(b.delta) - Math.abs(a.delta), best: (a, b) => b.delta - a.delta,
    worst: (a, b) => a.delta - b.delta, file: (a, b) => a.index - b.index,
  };
  const haystack = (row) => (row.text ??= [row.name, row.question, row.context, row.gold, row.before, row.after]
    .join("\n").toLowerCase());
  const chosen = () => {
    const f = form.elements, wanted = f.search.value.trim().toLowerCase();
    let flags = 0;
    if (f.short.checked) flags |= SHORT;
    if (f.truncated.checked) flags |= TRUNCATED;
    const category = f.category ? f.category.value : "";
    return rows.filter((row) => OUTCOMES[f.show.value](row) && (row.flags & flags) === flags
      && (!f.nostop.checked || row.flags & (CUT_BEFORE | CUT_AFTER))
      && (category === "" || row.category === data.categories[category])
      && (wanted === "" || haystack(row).includes(wanted)))
      .sort((a, b) => ORDERS[f.sort.value](a, b) || a.index - b.index);
  };

  // ---- texts with their marks ----------------------------------------------------------------
  // The words of ROUGE, as in marks.rs.
  const WORD = /[a-zA-Z0-9\u212A]*\u0130|[a-zA-Z0-9\u212A]+/g;
  const marked = (text, hex) => {
    const found = [];
    let i = 0;
    for (const match of text.matchAll(WORD)) {
      if (parseInt(hex[i >> 2] || "0", 16) >> (3 - (i & 3)) & 1) {
        found.push([match.index, match.index + match[0].length]);
      }
      i += 1;
    }
    return found;
  };
  const shared = (text, hex) => {
    const parts = [];
    let done = 0;
    for (const [start, end] of marked(text, hex)) {
      parts.push(text.slice(done, start), make("mark", "", text.slice(start, end)));
      done = end;
    }
    return [...parts, text.slice(done)];
  };
  // Gold and answer in one text: what only gold has is struck out, what only the answer has is set off.
  const differences = (gold, goldHex, text, hex) => {
    const a = marked(gold, goldHex), b = marked(text, hex), parts = [];
    let [g, t] = [0, 0];
    const gap = (toGold, toText) => {
      const missing = gold.slice(g, toGold).trim(), extra = text.slice(t, toText);
      if (/[\p{L}\p{N}]/u.test(missing)) {
        if (t > 0) parts.push(" ");
        parts.push(make("del", "", missing));
        if (extra !== "" && !/^\s/.test(extra)) parts.push(" ");
        else if (extra === "" && toText < text.length) parts.push(" ");
      }
      if (/[\p{L}\p{N}]/u.test(extra)) {
        const [, left, middle, right] = extra.match(/^(\s*)([^]*?)(\s*)$/);
        parts.push(left, make("ins", "", middle), right);
      } else parts.push(extra);
    };
    a.forEach(([start, end], i) => {
      if (!b[i]) return;
      gap(start, b[i][0]);
      parts.push(make("mark", "", text.slice(...b[i])));
      [g, t] = [end, b[i][1]];
    });
    gap(gold.length, text.length);
    return parts;
  };
  const block = (text, parts) => {
    const empty = text.trim() === "";
    const node = make("div", empty ? "text empty" : "text", ...(empty ? ["(empty)"] : parts));
    node.dir = "auto";
    return node;
  };

  // ---- one row -------------------------------------------------------------------------------
  const chip = (text, className = "") => make("span", "chip " + className, text);
  const chips = (row, side) => {
    const [f1, rougeL, rougeLsum, yes] = row.scores[side];
    const all = [chip("F1 " + f1.toFixed(3)), chip("R-L " + rougeL.toFixed(3)), chip("R-Lsum " + rougeLsum.toFixed(3)),
      chip(countWords(side ? row.after : row.before))];
    if (yes & 1) all.push(chip("exact", "good"));
    if (yes & 2) all.push(chip("relaxed", "good"));
    if (yes & 4) all.push(chip("ROUGE accurate", "good"));
    if (row.flags & (side ? CUT_AFTER : CUT_BEFORE)) all.push(chip("no stop", "warn"));
    return make("div", "scores", ...all);
  };
  const tags = (row) => {
    const all = [];
    if (row.flags & FLIPPED) all.push("flipped");
    if (row.flags & SHORT) all.push("short");
    if (row.flags & TRUNCATED) all.push("truncated");
    if (row.flags & (CUT_BEFORE | CUT_AFTER)) all.push("no stop");
    return make("span", "tags", ...all.map((text) => make("span", "tag", text)));
  };
  const body = (row) => {
    const diff = form.elements.marks.value === "diff";
    const answer = (title, text, side) => make("section", "", make("h4", "", title), block(text, diff
      ? differences(row.gold, row.marks[side * 2], text, row.marks[side * 2 + 1])
      : shared(text, row.marks[side * 2 + 1])), chips(row, side));
    const link = make("a", "", "link to this row");
    link.href = "#row-" + encodeURIComponent(row.name);
    const facts = make("div", "scores", chip("row " + (row.index + 1)));
    if (row.name !== String(row.index + 1)) facts.append(chip("id " + row.name));
    if (row.category) facts.append(chip(row.category));
    if (row.flags & TRUNCATED) facts.append(chip("prompt truncated", "warn"));
    if (row.leak) facts.append(chip("seen in training: " + row.leak, "warn"));
    facts.append(link);
    const node = make("div", "body");
    if (row.context) {
      const context = make("details", "context", make("summary", "", "Context, " + countWords(row.context)));
      context.addEventListener("toggle", () => {
        if (context.childElementCount === 1) context.append(block(row.context, [row.context]));
      });
      node.append(context);
    }
    node.append(make("div", "texts",
      make("section", "", make("h4", "", "Gold"), block(row.gold, [row.gold]),
        make("div", "scores", chip(countWords(row.gold)))),
      answer("Before", row.before, 0), answer("After", row.after, 1)), facts);
    return node;
  };
  const item = (row) => {
    const question = make("span", "q", row.question.trim() || "(no question)");
    question.dir = "auto";
    const head = make("button", "head", chip(signed(row.delta), "d"), question, tags(row),
      make("span", "f", "F1 " + row.scores[0][0].toFixed(3) + " \u2192 " + row.scores[1][0].toFixed(3)));
    head.type = "button";
    head.setAttribute("aria-expanded", opened.has(row));
    head.addEventListener("click", () => { current = row; toggle(row); });
    head.addEventListener("focus", () => { current = row; });
    const node = make("div", "row card " + outcome(row), head);
    node.setAttribute("role", "listitem");
    if (opened.has(row)) { node.classList.add("open"); node.append(body(row)); }
    return node;
  };

  // ---- the list: only the rows near the window are in the document ---------------------------
  const list = byId("list"), count = byId("count"), MARGIN = 600;
  const opened = new Map(), shown = new Map(), place = new Map();
  let view = [], tops = [0], folded = 50, current = null, printing = false;
  const resized = new ResizeObserver((entries) => {
    let changed = false;
    for (const { target } of entries) {
      const row = target.row, height = target.offsetHeight + 6;
      if (!shown.has(row) || height <= 6) continue;
      if (opened.has(row)) {
        if (opened.get(row) !== height) { opened.set(row, height); changed = true; }
      } else if (height !== folded) { folded = height; changed = true; }
    }
    if (!changed) return;
    // The row that is being read stays where it is, whatever rows above it turn out to measure.
    const held = current && shown.has(current) ? shown.get(current).getBoundingClientRect().top : null;
    layout();
    if (held === null || !place.has(current)) return;
    const moved = list.getBoundingClientRect().top + tops[place.get(current)] - held;
    if (Math.abs(moved) >= 1) scrollBy({ top: moved, behavior: "instant" });
  });
  const layout = () => {
    tops = [0];
    view.forEach((row, i) => tops.push(tops[i] + (opened.get(row) ?? folded)));
    list.style.height = tops[view.length] + "px";
    draw();
  };
  const firstBelow = (y) => {
    let [low, high] = [0, view.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (tops[middle + 1] > y) high = middle; else low = middle + 1;
    }
    return low;
  };
  const discard = (row) => {
    const node = shown.get(row);
    resized.unobserve(node);
    node.remove();
    shown.delete(row);
  };
  const draw = () => {
    if (printing) return;
    const top = -list.getBoundingClientRect().top;
    const first = firstBelow(top - MARGIN), wanted = [];
    for (let i = first; i < view.length && tops[i] < top + innerHeight + MARGIN; i += 1) wanted.push(view[i]);
    const keep = new Set(wanted);
    for (const row of [...shown.keys()]) {
      if (!keep.has(row) && !shown.get(row).contains(document.activeElement)) discard(row);
      else if (!keep.has(row) && !place.has(row)) discard(row);
    }
    let at = list.firstChild;
    for (const row of wanted) {
      let node = shown.get(row);
      if (!node) {
        node = item(row);
        node.row = row;
        shown.set(row, node);
      }
      if (node === at) at = at.nextSibling; else list.insertBefore(node, at);
      resized.observe(node);
      node.setAttribute("aria-posinset", place.get(row) + 1);
      node.setAttribute("aria-setsize", view.length);
    }
    for (const [row, node] of shown) node.style.top = tops[place.get(row)] + "px";
  };
  const renew = (row) => {
    const old = shown.get(row);
    if (!old) return;
    const focused = old.contains(document.activeElement);
    const node = item(row);
    node.row = row;
    resized.unobserve(old);
    old.replaceWith(node);
    shown.set(row, node);
    if (focused) node.firstChild.focus({ preventScroll: true });
  };
  const measure = (row) => {
    renew(row);
    if (opened.has(row) && shown.has(row)) opened.set(row, shown.get(row).offsetHeight + 6);
    layout();
  };
  const toggle = (row) => {
    if (opened.has(row)) opened.delete(row); else opened.set(row, 320);
    measure(row);
  };
  const update = () => {
    view = chosen();
    place.clear();
    view.forEach((row, i) => place.set(row, i));
    const all = rows.length.toLocaleString("en");
    count.textContent = view.length === rows.length ? all + (rows.length === 1 ? " row" : " rows") : view.length.toLocaleString("en") + " of " + all + " rows";
    byId("none").hidden = view.length > 0;
    layout();
  };
  const visit = (row) => {
    const at = list.getBoundingClientRect().top + scrollY + tops[place.get(row)];
    const bar = form.offsetHeight + 12, height = opened.get(row) ?? folded;
    if (at < scrollY + bar || at + Math.min(height, innerHeight - bar) > scrollY + innerHeight) {
      scrollTo({ top: at - bar, behavior: "instant" });
    }
    draw();
    const node = shown.get(row);
    if (node) node.firstChild.focus({ preventScroll: true });
    current = row;
  };

  // ---- links, keys, events -------------------------------------------------------------------
  const follow = () => {
    let name;
    try { name = decodeURIComponent(location.hash); } catch { return; }
    const row = rows.find((row) => "#row-" + row.name === name);
    if (!row) return;
    if (!place.has(row)) { form.reset(); update(); }
    if (!opened.has(row)) toggle(row);
    visit(row);
    measure(row);
    visit(row);
  };
  const step = (by) => {
    if (view.length === 0) return;
    const at = place.has(current) ? place.get(current) + by : 0;
    visit(view[Math.max(0, Math.min(view.length - 1, at))]);
  };
  const KEYS = {
    j: () => step(1), k: () => step(-1), "/": () => form.elements.search.focus(),
    d: () => {
      const f = form.elements;
      f.marks.value = f.marks.value === "diff" ? "shared" : "diff";
      rewrite();
    },
    Enter: () => { if (place.has(current)) { toggle(current); visit(current); } },
  };
  const rewrite = () => { for (const row of [...shown.keys()]) if (opened.has(row)) renew(row); layout(); };
  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(KEYS, key)) return;
    if (target.matches("input[type=search], select, textarea")) return;
    if (key === "Enter" && target !== document.body) return;
    event.preventDefault();
    KEYS[key]();
  });
  let timer = 0;
  form.addEventListener("input", (event) => {
    clearTimeout(timer);
    if (event.target.name === "marks") rewrite();
    else timer = setTimeout(update, event.target.name === "search" ? 120 : 0);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  let waiting = false;
  const soon = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  };
  addEventListener("scroll", soon, { passive: true });
  addEventListener("resize", soon, { passive: true });
  addEventListener("hashchange", follow);
  // On paper the first rows of the list stand open, one after the other.
  addEventListener("beforeprint", () => {
    printing = true;
    const before = new Map(opened), first = view.slice(0, 50);
    for (const row of [...shown.keys()]) discard(row);
    first.forEach((row) => { opened.set(row, 1); list.append(item(row)); });
    list.append(make("p", "soft", first.length + " of " + rows.length + " rows are printed, in the order chosen on the page."));
    opened.clear();
    before.forEach((height, row) => opened.set(row, height));
  });
  addEventListener("afterprint", () => { printing = false; list.replaceChildren(); layout(); });
  byId("browse").hidden = false;
  update();
  follow();
  addEventListener("load", follow);
})();

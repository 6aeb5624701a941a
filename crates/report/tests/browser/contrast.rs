//! Text that is hard to tell from its background.

/// Every visible text against the nearest background that is painted, as WCAG 2 asks: 4.5, and 3 for large letters.
pub(crate) const FAINT: &str = r#"(() => {
    const rgb = (colour) => (colour.match(/[\d.]+/g) || []).map(Number);
    const light = (c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
    const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
    const behind = (node) => {
        for (let at = node; at; at = at.parentElement) {
            const found = rgb(getComputedStyle(at).backgroundColor);
            if (found.length === 3 || found[3] === 1) return found;
        }
        return [255, 255, 255];
    };
    const faint = new Set(), walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let seen = 0;
    for (let text = walk.nextNode(); text; text = walk.nextNode()) {
        const node = text.parentElement, style = getComputedStyle(node);
        if (!text.data.trim() || !node.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
        if (["SCRIPT", "STYLE", "NOSCRIPT", "OPTION", "TITLE"].includes(node.nodeName.toUpperCase())) continue;
        if (node.closest("label")?.previousElementSibling?.disabled) continue;
        seen += 1;
        const colour = rgb(node instanceof SVGElement ? style.fill : style.color);
        const [a, b] = [luminance(colour), luminance(behind(node))].sort((x, y) => y - x);
        const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < (large ? 3 : 4.5)) {
            faint.add(ratio.toFixed(2) + " " + node.nodeName + "." + (node.getAttribute("class") || "") + " in ." + (node.parentElement.getAttribute("class") || "") + ": " + text.data.trim().slice(0, 30));
        }
    }
    return seen < 100 ? ["only " + seen + " texts seen"] : [...faint];
})()"#;

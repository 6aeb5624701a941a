//! The Porter stemmer as `nltk` 3.10 runs it by default (`NLTK_EXTENSIONS`), which is what
//! `rouge_score` uses.
//!
//! M. F. Porter, "An algorithm for suffix stripping", Program 14.3 (1980), with nltk's changes: a
//! table of irregular words, words of one or two letters left alone, `y → i` only after a consonant,
//! `-ies`/`-ied` in words of four letters, `alli` before the rest of step 2, `fulli` and `logi`, and
//! two-letter `vc` words counting as `*o`.

use std::borrow::Cow;

/// Stems a word of ASCII letters and digits; any other word comes back as it is.
///
/// Upper-case letters are made lower-case, as nltk does.
///
/// ```
/// use textmetrics::porter::stem;
///
/// assert_eq!(stem("generalizations"), "gener");
/// assert_eq!(stem("dying"), "die");
/// ```
pub fn stem(word: &str) -> Cow<'_, str> {
    if !word.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Cow::Borrowed(word);
    }
    let mut buffer = word.to_ascii_lowercase().into_bytes();
    stem_bytes(&mut buffer);
    if buffer == word.as_bytes() {
        return Cow::Borrowed(word);
    }
    // ASCII in, ASCII out: nothing is ever lost here.
    Cow::Owned(String::from_utf8_lossy(&buffer).into_owned())
}

/// Stems `w`, which holds `[a-z0-9]` only, in place.
pub(crate) fn stem_bytes(w: &mut Vec<u8>) {
    if let Some(known) = irregular(w) {
        w.clear();
        w.extend_from_slice(known);
        return;
    }
    if w.len() <= 2 {
        return;
    }
    step1a(w);
    step1b(w);
    step1c(w);
    step2(w);
    apply(w, STEP3, |_, s| measure(s) > 0);
    apply(w, STEP4, |suffix, s| {
        measure(s) > 1 && (suffix != b"ion" || matches!(s.last(), Some(b's' | b't')))
    });
    step5(w);
}

type Rule = (&'static [u8], &'static [u8]);

const STEP2: &[Rule] = &[
    (b"ational", b"ate"),
    (b"tional", b"tion"),
    (b"enci", b"ence"),
    (b"anci", b"ance"),
    (b"izer", b"ize"),
    (b"bli", b"ble"),
    (b"alli", b"al"),
    (b"entli", b"ent"),
    (b"eli", b"e"),
    (b"ousli", b"ous"),
    (b"ization", b"ize"),
    (b"ation", b"ate"),
    (b"ator", b"ate"),
    (b"alism", b"al"),
    (b"iveness", b"ive"),
    (b"fulness", b"ful"),
    (b"ousness", b"ous"),
    (b"aliti", b"al"),
    (b"iviti", b"ive"),
    (b"biliti", b"ble"),
    (b"fulli", b"ful"),
    (b"logi", b"log"),
];

const STEP3: &[Rule] = &[
    (b"icate", b"ic"),
    (b"ative", b""),
    (b"alize", b"al"),
    (b"iciti", b"ic"),
    (b"ical", b"ic"),
    (b"ful", b""),
    (b"ness", b""),
];

const STEP4: &[Rule] = &[
    (b"al", b""),
    (b"ance", b""),
    (b"ence", b""),
    (b"er", b""),
    (b"ic", b""),
    (b"able", b""),
    (b"ible", b""),
    (b"ant", b""),
    (b"ement", b""),
    (b"ment", b""),
    (b"ent", b""),
    (b"ion", b""),
    (b"ou", b""),
    (b"ism", b""),
    (b"ate", b""),
    (b"iti", b""),
    (b"ous", b""),
    (b"ive", b""),
    (b"ize", b""),
];

/// Words that the rules get wrong.
fn irregular(word: &[u8]) -> Option<&'static [u8]> {
    Some(match word {
        b"sky" | b"skies" => b"sky",
        b"dying" => b"die",
        b"lying" => b"lie",
        b"tying" => b"tie",
        b"news" => b"news",
        b"innings" | b"inning" => b"inning",
        b"outings" | b"outing" => b"outing",
        b"cannings" | b"canning" => b"canning",
        b"howe" => b"howe",
        b"proceed" => b"proceed",
        b"exceed" => b"exceed",
        b"succeed" => b"succeed",
        _ => return None,
    })
}

/// The first rule whose suffix fits decides, whether or not its condition holds.
///
/// `condition` sees the suffix and what stands before it.
fn apply(w: &mut Vec<u8>, rules: &[Rule], condition: impl Fn(&[u8], &[u8]) -> bool) {
    let Some(&(suffix, replacement)) = rules.iter().find(|(suffix, _)| w.ends_with(suffix)) else {
        return;
    };
    let kept = w.len() - suffix.len();
    if condition(suffix, &w[..kept]) {
        w.truncate(kept);
        w.extend_from_slice(replacement);
    }
}

/// Plurals: sses → ss, ies → i (ie in a word of four letters), s dropped.
fn step1a(w: &mut Vec<u8>) {
    let drop = if w.ends_with(b"ies") {
        if w.len() == 4 { 1 } else { 2 }
    } else if w.ends_with(b"sses") {
        2
    } else {
        usize::from(w.ends_with(b"s") && !w.ends_with(b"ss"))
    };
    w.truncate(w.len() - drop);
}

/// Past tense and gerund: -ied, -eed, -ed, -ing, and the repairs after the last two.
fn step1b(w: &mut Vec<u8>) {
    let n = w.len();
    if w.ends_with(b"ied") {
        w.truncate(if n == 4 { n - 1 } else { n - 2 });
        return;
    }
    if w.ends_with(b"eed") {
        if measure(&w[..n - 3]) > 0 {
            w.truncate(n - 1);
        }
        return;
    }
    let cut = [b"ed".as_slice(), b"ing"]
        .into_iter()
        .find(|s| w.ends_with(s) && has_vowel(&w[..n - s.len()]))
        .map(<[u8]>::len);
    if let Some(cut) = cut {
        w.truncate(n - cut);
        repair(w);
    }
}

/// After -ed or -ing went: conflat → conflate, hopp → hop, fil → file.
fn repair(w: &mut Vec<u8>) {
    let n = w.len();
    if [b"at".as_slice(), b"bl", b"iz"]
        .into_iter()
        .any(|s| w.ends_with(s))
    {
        w.push(b'e');
    } else if n >= 2 && w[n - 1] == w[n - 2] && is_consonant(w, n - 1) {
        if !matches!(w[n - 1], b'l' | b's' | b'z') {
            w.pop();
        }
    } else if measure(w) == 1 && ends_cvc(w) {
        w.push(b'e');
    }
}

/// y → i after a consonant that is not the first letter.
fn step1c(w: &mut [u8]) {
    if let [stem @ .., last @ b'y'] = w
        && stem.len() > 1
        && is_consonant(stem, stem.len() - 1)
    {
        *last = b'i';
    }
}

fn step2(w: &mut Vec<u8>) {
    while w.ends_with(b"alli") && measure(&w[..w.len() - 4]) > 0 {
        w.truncate(w.len() - 2);
    }
    apply(w, STEP2, |suffix, stem| {
        if suffix == b"logi" {
            // The l is measured with the stem, so that geologi and theologi go like archaeologi.
            measure_then(stem, b'l') > 0
        } else {
            measure(stem) > 0
        }
    });
}

/// A last e (5a), then a last double l (5b).
fn step5(w: &mut Vec<u8>) {
    if let [stem @ .., b'e'] = w.as_slice() {
        let m = measure(stem);
        if m > 1 || (m == 1 && !ends_cvc(stem)) {
            w.pop();
        }
    }
    if w.ends_with(b"ll") && measure(&w[..w.len() - 1]) > 1 {
        w.pop();
    }
}

fn is_vowel(b: u8) -> bool {
    matches!(b, b'a' | b'e' | b'i' | b'o' | b'u')
}

/// Whether a letter is a consonant, given whether the one before it is one.
///
/// A y is a consonant at the start and after a vowel.
fn consonant_after(b: u8, previous: Option<bool>) -> bool {
    if b == b'y' {
        previous != Some(true)
    } else {
        !is_vowel(b)
    }
}

fn is_consonant(w: &[u8], at: usize) -> bool {
    // Only a run of y's looks back.
    let run = w[..at].iter().rev().take_while(|&&b| b == b'y').count();
    let start = (at - run).saturating_sub(1);
    let flag = w[start..=at]
        .iter()
        .fold(None, |previous, &b| Some(consonant_after(b, previous)));
    flag == Some(true)
}

/// Porter's m: how often a vowel is followed by a consonant.
fn measure(w: &[u8]) -> usize {
    scan(w).0
}

/// [`measure`] of `w` followed by the consonant `next`.
fn measure_then(w: &[u8], next: u8) -> usize {
    let (m, last) = scan(w);
    m + usize::from(last == Some(false) && consonant_after(next, last))
}

fn scan(w: &[u8]) -> (usize, Option<bool>) {
    w.iter().fold((0, None), |(m, previous), &b| {
        let consonant = consonant_after(b, previous);
        (
            m + usize::from(previous == Some(false) && consonant),
            Some(consonant),
        )
    })
}

fn has_vowel(w: &[u8]) -> bool {
    let mut previous = None;
    w.iter().any(|&b| {
        let consonant = consonant_after(b, previous);
        previous = Some(consonant);
        !consonant
    })
}

/// `*o`: ends consonant, vowel, consonant other than w, x, y; or is just vowel, consonant.
fn ends_cvc(w: &[u8]) -> bool {
    let n = w.len();
    if n == 2 {
        return !is_consonant(w, 0) && is_consonant(w, 1);
    }
    n >= 3
        && is_consonant(w, n - 3)
        && !is_consonant(w, n - 2)
        && is_consonant(w, n - 1)
        && !matches!(w[n - 1], b'w' | b'x' | b'y')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_y_alternate() {
        let flags = |w: &[u8]| (0..w.len()).map(|i| is_consonant(w, i)).collect::<Vec<_>>();
        assert_eq!(flags(b"yyy"), [true, false, true]);
        assert_eq!(flags(b"ayy"), [false, true, false]);
        assert_eq!(flags(b"syzygy"), [true, false, true, false, true, false]);
    }

    #[test]
    fn words_outside_its_alphabet_are_left_alone() {
        assert_eq!(stem("naïvely"), "naïvely");
        assert_eq!(stem(""), "");
        assert_eq!(stem("Running"), "run");
    }

    #[test]
    fn nltk_s_extensions() {
        for (word, want) in [
            ("flies", "fli"),
            ("dies", "die"),
            ("died", "die"),
            ("enjoy", "enjoy"),
            ("happy", "happi"),
            ("geology", "geolog"),
            ("theology", "theolog"),
            ("skies", "sky"),
        ] {
            assert_eq!(stem(word), want);
        }
    }
}

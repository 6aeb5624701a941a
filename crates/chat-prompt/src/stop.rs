//! Text that ends where a stop string begins.

/// Cuts growing text before the first stop string, and gives out nothing that may still turn out to belong to one.
///
/// The stop string that is complete first counts; of two that are complete at once, the longer. So the text does not
/// depend on the pieces in which it came.
///
/// ```
/// use chat_prompt::StopText;
///
/// let mut text = StopText::new(["\n\n", "User:"]);
/// assert_eq!(text.push("Paris.\n"), "Paris."); // a line's end may be the first of two
/// assert_eq!(text.push("Us"), "\n");
/// assert_eq!(text.push("er: and"), "");
/// assert!(text.is_stopped());
/// ```
#[derive(Debug, Clone, Default)]
pub struct StopText {
    stops: Vec<String>,
    /// An end of the text that begins a stop string.
    held: String,
    stopped: bool,
}

impl StopText {
    /// Nothing said yet. Empty strings stop nothing.
    pub fn new<S: Into<String>>(stops: impl IntoIterator<Item = S>) -> Self {
        let stops = stops.into_iter().map(Into::into);
        Self {
            stops: stops.filter(|stop: &String| !stop.is_empty()).collect(),
            held: String::new(),
            stopped: false,
        }
    }

    /// Whether a stop string was found; nothing is given out any more.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Takes a piece; returns the text that is now certain to stand before any stop string.
    pub fn push(&mut self, piece: &str) -> String {
        if self.stopped {
            return String::new();
        }
        self.held.push_str(piece);
        let mut given = std::mem::take(&mut self.held);
        if let Some(start) = self.first_stop(&given) {
            self.stopped = true;
            given.truncate(start);
        } else {
            self.held = given.split_off(given.len() - self.begun(&given));
        }
        given
    }

    /// The text still held back: no stop string came of it.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Where the stop string begins that is complete first.
    fn first_stop(&self, text: &str) -> Option<usize> {
        let found = self.stops.iter().filter_map(|stop| {
            let start = text.find(stop.as_str())?;
            Some((start + stop.len(), start))
        });
        found.min().map(|(_, start)| start)
    }

    /// Bytes of the longest end of `text` that begins a stop string.
    fn begun(&self, text: &str) -> usize {
        let longest = |stop: &String| {
            let starts = stop.char_indices().map(|(at, _)| at).skip(1);
            starts.filter(|at| text.ends_with(&stop[..*at])).max()
        };
        self.stops.iter().filter_map(longest).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(pieces: &[&str], stops: &[&str]) -> (String, bool) {
        let mut text = StopText::new(stops.iter().copied());
        let mut all: String = pieces.iter().map(|piece| text.push(piece)).collect();
        all += &text.finish();
        (all, text.is_stopped())
    }

    #[test]
    fn what_only_looked_like_a_stop_comes_out() {
        assert_eq!(cut(&["a\n", "b"], &["\n\n"]), ("a\nb".into(), false));
        assert_eq!(cut(&["a\n"], &["\n\n"]), ("a\n".into(), false));
        assert_eq!(cut(&["aab"], &["ab", ""]), ("a".into(), true));
        assert_eq!(cut(&["é", "è", "end"], &["èe"]), ("é".into(), true));
        assert_eq!(cut(&["abc"], &["abc", "b"]), ("a".into(), true));
        assert_eq!(cut(&["xab"], &["b", "ab"]), ("x".into(), true));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            text in "[abé]{0,24}",
            stops in proptest::collection::vec("[abé]{1,4}", 0..4),
            cuts in proptest::collection::vec(0usize..25, 0..6),
        ) {
            let chars: Vec<char> = text.chars().collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at.min(chars.len())).collect();
            cuts.extend([0, chars.len()]);
            cuts.sort_unstable();
            let pieces: Vec<String> = cuts.windows(2).map(|w| chars[w[0]..w[1]].iter().collect()).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            prop_assert_eq!(cut(&pieces, &stops), cut(&[&text], &stops));
            // By its definition: the shortest beginning that ends in a stop string.
            let mut ends = (0..=chars.len()).map(|n| chars[..n].iter().collect::<String>());
            let expected = ends
                .find_map(|start| {
                    let longest = stops.iter().filter(|stop| start.ends_with(*stop)).map(|stop| stop.len()).max()?;
                    Some((start[..start.len() - longest].to_owned(), true))
                });
            prop_assert_eq!(cut(&pieces, &stops), expected.unwrap_or((text, false)));
        }
    }
}

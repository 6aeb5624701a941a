//! How large a part shall be.

use std::fmt;
use std::str::FromStr;

/// How much a float may fall short of a whole row: `0.29 * 100.0` is `28.999…`.
const FORGIVEN: f64 = 1e-6;

/// How many rows a part shall have.
///
/// As text: `15` is a number of rows, `0.1` and `10%` are fractions of the source, `rest` is what
/// the other parts leave.
///
/// ```
/// use dolly_data::Size;
/// assert_eq!("15".parse(), Ok(Size::Rows(15)));
/// assert_eq!("10%".parse(), Ok(Size::Fraction(0.1)));
/// assert_eq!("rest".parse(), Ok(Size::Rest));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    /// So many rows.
    Rows(usize),
    /// This fraction of the source, from 0 to 1, rounded down to whole rows: fractions that sum to
    /// one always fit. A product less than a millionth below a whole number counts as that number.
    Fraction(f64),
    /// Whatever the other parts leave. One part at most may say so.
    Rest,
}

/// A text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{found}` is no size; expected rows (15), a fraction from 0 to 1 (0.1), a percentage (10%) or `rest`"
)]
pub struct SizeError {
    /// The text.
    pub found: String,
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let trimmed = text.trim();
        let fraction = |number: &str, of: f64| {
            // `inf`, `nan` and `1e-3` are numbers to Rust, but nobody means them here.
            let plain = number.chars().all(|c| c.is_ascii_digit() || c == '.');
            let value = number.parse::<f64>().ok().filter(|_| plain)? / of;
            (0.0..=1.0)
                .contains(&value)
                .then_some(Self::Fraction(value))
        };
        let size = if trimmed.eq_ignore_ascii_case("rest") {
            Some(Self::Rest)
        } else if let Some(percent) = trimmed.strip_suffix('%') {
            fraction(percent.trim_end(), 100.0)
        } else if trimmed.contains('.') {
            fraction(trimmed, 1.0)
        } else if trimmed.starts_with('+') {
            None
        } else {
            trimmed.parse().ok().map(Self::Rows)
        };
        size.ok_or_else(|| SizeError {
            found: text.to_owned(),
        })
    }
}

impl fmt::Display for Size {
    /// The text that [`FromStr`] reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows(rows) => write!(f, "{rows}"),
            // Without a point it would be a number of rows.
            Self::Fraction(whole) if whole.fract() == 0.0 => write!(f, "{whole:.1}"),
            Self::Fraction(fraction) => write!(f, "{fraction}"),
            Self::Rest => f.write_str("rest"),
        }
    }
}

/// The sizes in rows, or what is wrong with them. Their sum may exceed `rows`.
pub(super) fn resolve<const N: usize>(sizes: [Size; N], rows: usize) -> Result<[usize; N], String> {
    let mut counts = [0; N];
    for (count, size) in counts.iter_mut().zip(sizes) {
        match size {
            Size::Rows(asked) => *count = asked,
            Size::Fraction(part) if (0.0..=1.0).contains(&part) => {
                *count = (part * rows as f64 + FORGIVEN) as usize;
            }
            Size::Fraction(part) => {
                return Err(format!("found fraction {part}, expected one from 0 to 1"));
            }
            Size::Rest => {}
        }
    }
    let rests = sizes.iter().filter(|&&size| size == Size::Rest).count();
    if rests > 1 {
        return Err(format!(
            "found {rests} parts that take the rest, expected one at most"
        ));
    }
    let sum = counts.iter().fold(0usize, |sum, &n| sum.saturating_add(n));
    if let Some(at) = sizes.iter().position(|&size| size == Size::Rest) {
        counts[at] = rows.saturating_sub(sum);
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::{Size, resolve};

    #[test]
    fn texts_are_sizes_or_errors() {
        for (text, size) in [
            ("0", Size::Rows(0)),
            (" 15 ", Size::Rows(15)),
            ("1", Size::Rows(1)),
            ("1.0", Size::Fraction(1.0)),
            (".5", Size::Fraction(0.5)),
            ("12.5 %", Size::Fraction(0.125)),
            ("100%", Size::Fraction(1.0)),
            ("0.00000001", Size::Fraction(1e-8)),
            ("Rest", Size::Rest),
        ] {
            assert_eq!(text.parse(), Ok(size), "{text}");
            assert_eq!(size.to_string().parse(), Ok(size), "{text}");
        }
        for text in [
            "", "-1", "+1", "1.5", "101%", "%", "nan", "inf%", "ten", "1e3", ".", "0x1",
        ] {
            let error = text.parse::<Size>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`{text}` is no size")),
                "{error}"
            );
        }
    }

    #[test]
    fn fractions_are_rounded_down() {
        let sizes = |a, b| resolve([Size::Fraction(a), Size::Fraction(b)], 100);
        assert_eq!(sizes(0.29, 0.71), Ok([29, 71]));
        assert_eq!(sizes(0.999, 0.001), Ok([99, 0]));
        assert_eq!(resolve([Size::Fraction(0.1), Size::Rest], 15), Ok([1, 14]));
        assert_eq!(resolve([Size::Rows(20), Size::Rest], 15), Ok([20, 0]));
        assert!(resolve([Size::Rest, Size::Rest], 15).is_err());
        assert!(resolve([Size::Fraction(f64::NAN)], 15).is_err());
        assert!(resolve([Size::Fraction(1.01)], 15).is_err());
    }
}

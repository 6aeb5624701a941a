//! JSON spelt as Python's `json.dumps(…, ensure_ascii=False)` spells it: `, ` and `: ` between
//! items. Templates put it into prompts, so it has to agree to the byte.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{CharEscape, Formatter, Serializer};

/// The arguments of `json.dumps` that templates use.
#[derive(Debug, Default)]
pub(crate) struct JsonOptions {
    /// Spaces a level; on one line without.
    pub(crate) indent: Option<usize>,
    /// Between items, and after a key.
    pub(crate) separators: Option<Vec<String>>,
    pub(crate) sort_keys: bool,
    /// Characters beyond ASCII as `\uXXXX`.
    pub(crate) ensure_ascii: bool,
}

/// Writes a value.
pub(crate) fn to_string(
    value: &impl Serialize,
    options: &JsonOptions,
) -> serde_json::Result<String> {
    let mut value = serde_json::to_value(value)?;
    if options.sort_keys {
        value.sort_all_objects();
    }
    let given = |at: usize, default: &str| {
        let separators = options.separators.as_ref();
        let text = separators.and_then(|pair| pair.get(at));
        text.map_or_else(|| default.to_owned(), Clone::clone)
    };
    let mut formatter = PythonFormatter {
        item: given(0, if options.indent.is_some() { "," } else { ", " }),
        key: given(1, ": "),
        indent: options.indent.map(|n| " ".repeat(n.min(16))),
        ensure_ascii: options.ensure_ascii,
        depth: 0,
        filled: false,
    };
    let mut out = Vec::new();
    Value::serialize(
        &value,
        &mut Serializer::with_formatter(&mut out, &mut formatter),
    )?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

struct PythonFormatter {
    item: String,
    key: String,
    indent: Option<String>,
    ensure_ascii: bool,
    depth: usize,
    /// Whether the innermost list or object has had an item.
    filled: bool,
}

impl PythonFormatter {
    fn line<W: ?Sized + Write>(&self, w: &mut W) -> io::Result<()> {
        match &self.indent {
            Some(indent) => write!(w, "\n{}", indent.repeat(self.depth)),
            None => Ok(()),
        }
    }

    fn open<W: ?Sized + Write>(&mut self, w: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.filled = false;
        w.write_all(bracket)
    }

    fn close<W: ?Sized + Write>(&mut self, w: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.filled {
            self.line(w)?;
        }
        self.filled = true;
        w.write_all(bracket)
    }

    fn next<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.filled = true;
        if !first {
            w.write_all(self.item.as_bytes())?;
        }
        self.line(w)
    }
}

impl Formatter for &mut PythonFormatter {
    fn begin_array<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.open(w, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.close(w, b"]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.next(w, first)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.open(w, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.close(w, b"}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.next(w, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(self.key.as_bytes())
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        w: &mut W,
        text: &str,
    ) -> io::Result<()> {
        if !self.ensure_ascii {
            return w.write_all(text.as_bytes());
        }
        for c in text.chars() {
            if c.is_ascii() {
                w.write_all(&[c as u8])?;
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(w, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, w: &mut W, c: CharEscape) -> io::Result<()> {
        serde_json::ser::CompactFormatter.write_char_escape(w, c)
    }
}

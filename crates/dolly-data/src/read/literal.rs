//! Python literals as `repr` writes them, NumPy arrays among them.
//!
//! `{'user_id': array([None], dtype=object), 'value': array(['It\'s "so"'], dtype=object)}` becomes
//! the JSON value `{"user_id": [null], "value": ["It's \"so\""]}`. A call stands for its first
//! argument, so `np.str_('x')` is `"x"`; keyword arguments say nothing that we need.

use serde_json::{Map, Number, Value};

/// Deeper nesting than any export has; keeps a hostile cell from exhausting the stack.
const MAX_DEPTH: usize = 64;

/// What is wrong with a literal, and where.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("not a Python or NumPy literal at character {at}: {problem}")]
pub(super) struct LiteralError {
    /// One-based character of the cell.
    at: usize,
    problem: String,
}

/// Parses a whole text as one literal.
pub(super) fn parse(text: &str) -> Result<Value, LiteralError> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0)?;
    match parser.peek() {
        None => Ok(value),
        Some(c) => Err(parser.error(format!("found `{c}` after the end of the value"))),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// Byte offset, always on a character boundary.
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The next character that is not white space, which it leaves in place.
    fn peek(&mut self) -> Option<char> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        self.rest().chars().next()
    }

    /// The very next character, taken.
    fn next(&mut self) -> Option<char> {
        let c = self.rest().chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn expect(&mut self, wanted: char) -> Result<(), LiteralError> {
        if self.eat(wanted) {
            return Ok(());
        }
        let found = self.peek();
        Err(self.unexpected(found, &format!("`{wanted}`")))
    }

    fn error(&self, problem: impl Into<String>) -> LiteralError {
        LiteralError {
            at: self.text[..self.at].chars().count() + 1,
            problem: problem.into(),
        }
    }

    fn unexpected(&self, found: Option<char>, expected: &str) -> LiteralError {
        match found {
            Some(c) => self.error(format!("found `{c}`, expected {expected}")),
            None => self.error(format!("it ends here, expected {expected}")),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, LiteralError> {
        if depth > MAX_DEPTH {
            return Err(self.error(format!("nested deeper than {MAX_DEPTH}")));
        }
        match self.peek() {
            Some('{') => self.dict(depth),
            Some('[') => self.list(depth, '[', ']'),
            Some('(') => self.list(depth, '(', ')'),
            Some('\'' | '"') => self.string().map(Value::String),
            Some(c) if c.is_ascii_digit() || c == '-' || c == '+' => self.number(),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => self.name(depth),
            Some('.') => Err(self.error(
                "NumPy left items out (`...`); export again after numpy.set_printoptions(threshold=sys.maxsize)",
            )),
            found => Err(self.unexpected(found, "a value")),
        }
    }

    fn dict(&mut self, depth: usize) -> Result<Value, LiteralError> {
        self.expect('{')?;
        let mut map = Map::new();
        while !self.eat('}') {
            let key = match self.peek() {
                Some('\'' | '"') => self.string()?,
                found => return Err(self.unexpected(found, "a quoted key or `}`")),
            };
            self.expect(':')?;
            map.insert(key, self.value(depth + 1)?);
            if !self.eat(',') && self.peek() != Some('}') {
                let found = self.peek();
                return Err(self.unexpected(found, "`,` or `}`"));
            }
        }
        Ok(Value::Object(map))
    }

    /// A list or tuple. Commas may be missing: `str` of an array writes none.
    fn list(&mut self, depth: usize, open: char, close: char) -> Result<Value, LiteralError> {
        self.expect(open)?;
        let mut items = Vec::new();
        while !self.eat(close) {
            items.push(self.value(depth + 1)?);
            self.eat(',');
        }
        Ok(Value::Array(items))
    }

    fn word(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn number(&mut self) -> Result<Value, LiteralError> {
        let start = self.at;
        let word = self.word(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        let number = match word.parse::<i64>() {
            Ok(whole) => Some(Number::from(whole)),
            Err(_) => word.parse().ok().and_then(Number::from_f64),
        };
        number.map(Value::Number).ok_or_else(|| {
            self.at = start;
            self.error(format!("found `{word}`, expected a number"))
        })
    }

    /// `None`, `True`, `False`, `nan`, their JSON spellings, or a call.
    fn name(&mut self, depth: usize) -> Result<Value, LiteralError> {
        let start = self.at;
        match self.word(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.')) {
            "None" | "null" | "nan" | "NaN" => Ok(Value::Null),
            "True" | "true" => Ok(Value::Bool(true)),
            "False" | "false" => Ok(Value::Bool(false)),
            _ if self.peek() == Some('(') => self.call(depth),
            word => {
                self.at = start;
                Err(self.error(format!("found `{word}`, expected a value")))
            }
        }
    }

    /// The arguments of a call, of which the first is the value.
    fn call(&mut self, depth: usize) -> Result<Value, LiteralError> {
        self.expect('(')?;
        let first = self.value(depth + 1)?;
        while self.eat(',') && self.peek() != Some(')') {
            self.word(|c| c.is_ascii_alphanumeric() || c == '_');
            self.expect('=')?;
            self.keyword_value(depth)?;
        }
        self.expect(')')?;
        Ok(first)
    }

    /// `object`, `'<U5'`, `dtype('O')`, `float64`, …: skipped.
    fn keyword_value(&mut self, depth: usize) -> Result<(), LiteralError> {
        match self.peek() {
            Some(c) if c.is_ascii_alphabetic() => {
                self.word(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
                if self.peek() == Some('(') {
                    self.call(depth + 1)?;
                }
                Ok(())
            }
            _ => self.value(depth + 1).map(drop),
        }
    }

    fn string(&mut self) -> Result<String, LiteralError> {
        let start = self.at;
        let quote = self.next();
        let mut out = String::new();
        loop {
            match self.next() {
                c if c == quote && c.is_some() => return Ok(out),
                Some('\\') => self.escape(&mut out)?,
                Some(c) => out.push(c),
                None => {
                    self.at = start;
                    return Err(self.error("the quote opened here is never closed"));
                }
            }
        }
    }

    fn escape(&mut self, out: &mut String) -> Result<(), LiteralError> {
        let c = match self.next() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('v') => '\u{b}',
            Some(c @ ('\\' | '\'' | '"')) => c,
            Some('\n') => return Ok(()),
            Some('x') => self.code(2)?,
            Some('u') => self.code(4)?,
            Some('U') => self.code(8)?,
            Some(digit @ '0'..='7') => self.octal(digit),
            // Python keeps a backslash that begins no escape.
            Some(other) => {
                out.push('\\');
                other
            }
            None => return Err(self.error("it ends within an escape")),
        };
        out.push(c);
        Ok(())
    }

    fn hex(&mut self, digits: usize) -> Result<u32, LiteralError> {
        let found = self.rest().get(..digits);
        let code = found
            .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
            .ok_or_else(|| self.error(format!("expected {digits} hexadecimal digits")))?;
        self.at += digits;
        Ok(code)
    }

    /// The character of an escape. Halves of a surrogate pair are joined; a half by itself, which
    /// UTF-8 cannot hold, becomes U+FFFD.
    fn code(&mut self, digits: usize) -> Result<char, LiteralError> {
        let code = self.hex(digits)?;
        if (0xd800..0xdc00).contains(&code) && self.rest().starts_with("\\u") {
            let before = self.at;
            self.at += 2;
            let low = self.hex(4)?;
            if (0xdc00..0xe000).contains(&low) {
                let joined = 0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before;
        }
        Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn octal(&mut self, first: char) -> char {
        let mut code = first.to_digit(8).unwrap_or_default();
        for _ in 0..2 {
            let Some(digit) = self.rest().chars().next().and_then(|c| c.to_digit(8)) else {
                break;
            };
            self.at += 1;
            code = code * 8 + digit;
        }
        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
    }
}

#[cfg(test)]
mod tests;

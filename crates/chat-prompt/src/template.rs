//! The model's own chat template, rendered as transformers renders it.

use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, ErrorKind, Output, State, Value, context};
use sha2::{Digest, Sha256};

use crate::date::{self, Date};
use crate::error::{PromptError, Result};
use crate::message::Message;
use crate::python_json::{self, JsonOptions};

const NAME: &str = "chat";

/// A parsed chat template with the special tokens that it may name.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    special_tokens: Vec<(String, String)>,
    date: Option<Date>,
}

impl ChatTemplate {
    /// Parses a template. `origin` is named in errors; `special_tokens` are the variables
    /// `bos_token`, `eos_token` and so on that templates may use.
    ///
    /// # Errors
    /// If the template does not parse.
    pub fn new(
        source: String,
        origin: &str,
        special_tokens: Vec<(String, String)>,
    ) -> Result<Self> {
        let parse = || -> Result<Environment<'static>, minijinja::Error> {
            let mut environment = environment()?;
            environment.add_template_owned(NAME, without_generation_tags(&source))?;
            Ok(environment)
        };
        let environment = parse().map_err(|e| PromptError::TemplateSyntax {
            origin: origin.to_owned(),
            problem: describe(&e),
        })?;
        Ok(Self {
            environment,
            source,
            special_tokens,
            date: None,
        })
    }

    /// The same with a fixed date for templates that write one (`strftime_now`); without it they
    /// write today's.
    #[must_use]
    pub fn with_date(mut self, date: Date) -> Self {
        self.date = Some(date);
        self
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// SHA-256 of the template's text, in hexadecimal.
    pub fn hash(&self) -> String {
        format!("{:x}", Sha256::digest(self.source.as_bytes()))
    }

    /// Renders messages to text.
    ///
    /// # Errors
    /// If the template fails, or refuses the messages with `raise_exception`.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let turn =
            |m: &Message| context! { role => m.role.as_str(), content => m.content.as_str() };
        let turns: Vec<Value> = messages.iter().map(turn).collect();
        let fixed = [
            ("messages", Value::from(turns)),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
            ("strftime_now", self.strftime_now()),
        ];
        let special = self
            .special_tokens
            .iter()
            .map(|(k, v)| (k.as_str(), Value::from(v.as_str())));
        let context = Value::from_pairs(special.chain(fixed));
        let mut rendered = Bounded::default();
        let done = self
            .environment
            .get_template(NAME)
            .and_then(|t| t.render_captured_to(context, &mut rendered));
        let text = done.and_then(|_| rendered.into_text());
        text.map_err(|e| {
            let roles: Vec<&str> = messages.iter().map(|m| m.role.as_str()).collect();
            PromptError::Render {
                roles: roles.join(", "),
                problem: describe(&e),
            }
        })
    }
}

/// The most that a conversation may be rendered to, in bytes.
const MAX_OUTPUT: usize = 64 << 20;

/// Instructions of the template engine that a rendering may take. A turn takes about a hundred; this
/// is a second or two.
const FUEL: u64 = 50_000_000;

/// Rendered text that does not grow without end.
#[derive(Default)]
struct Bounded(Vec<u8>);

impl Bounded {
    fn into_text(self) -> Result<String, minijinja::Error> {
        String::from_utf8(self.0)
            .map_err(|e| minijinja::Error::new(ErrorKind::WriteFailure, e.to_string()))
    }
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::Error::other("the template writes without end"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// transformers marks what the assistant says by a block `{% generation %}`; rendered, it is its
/// body. Our masks are by position, so the block becomes one that is always taken.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let inside = &rest[start + 2..];
        let Some(end) = inside.find("%}") else {
            break;
        };
        let tag = &inside[..end];
        let word = tag.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        let other = match word {
            "generation" => Some("if true"),
            "endgeneration" => Some("endif"),
            _ => None,
        };
        out += &rest[..start + 2];
        match other {
            Some(other) => out += &tag.replace(word, other),
            None => out += tag,
        }
        out += "%}";
        rest = &inside[end + 2..];
    }
    out + rest
}

/// transformers' Jinja set-up: block trimming, Python's methods on strings and lists, Python's
/// spelling of constants and of JSON, `raise_exception`.
fn environment() -> Result<Environment<'static>, minijinja::Error> {
    let mut env = Environment::new();
    env.set_fuel(Some(FUEL));
    env.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    env.set_formatter(format_as_python);
    env.add_filter("tojson", tojson);
    env.add_function(
        "raise_exception",
        |text: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, text))
        },
    );
    Ok(env)
}

fn format_as_python(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    if value.is_none() {
        return Ok(out.write_str("None")?);
    }
    match bool::try_from(value.clone()) {
        Ok(truth) if value.kind() == minijinja::value::ValueKind::Bool => {
            Ok(out.write_str(if truth { "True" } else { "False" })?)
        }
        _ => minijinja::escape_formatter(out, state, value),
    }
}

/// `json.dumps(value, ensure_ascii=False, indent=…)`, without minijinja's escaping for HTML.
#[allow(
    clippy::needless_pass_by_value,
    reason = "the signature minijinja calls"
)]
fn tojson(value: &Value, kwargs: Kwargs) -> Result<Value, minijinja::Error> {
    let options = JsonOptions {
        indent: kwargs.get("indent")?,
        separators: kwargs.get::<Option<Vec<String>>>("separators")?,
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        ensure_ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
    };
    kwargs.assert_all_used()?;
    let json = python_json::to_string(value, &options).map_err(|e| {
        minijinja::Error::new(
            ErrorKind::InvalidOperation,
            format!("cannot write as JSON: {e}"),
        )
    })?;
    Ok(Value::from_safe_string(json))
}

impl ChatTemplate {
    fn strftime_now(&self) -> Value {
        let date = self.date;
        Value::from_function(move |format: String| {
            date::strftime(date, &format).ok_or_else(|| {
                let problem = format!("strftime_now: {format:?} is no format of a date");
                minijinja::Error::new(ErrorKind::InvalidOperation, problem)
            })
        })
    }
}

fn describe(error: &minijinja::Error) -> String {
    let kind = error.kind();
    let what = error
        .detail()
        .map_or_else(|| kind.to_string(), str::to_owned);
    error
        .line()
        .map_or_else(|| what.clone(), |line| format!("{what} (line {line})"))
}

//! The model's own chat template, rendered as transformers renders it.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, ErrorKind, Output, State, Value, context};
use sha2::{Digest, Sha256};

use crate::error::{PromptError, Result};
use crate::message::Message;
use crate::python_json;

const NAME: &str = "chat";

/// A parsed chat template with the special tokens that it may name.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    special_tokens: Vec<(String, String)>,
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
            environment.add_template_owned(NAME, source.clone())?;
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
        })
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
        ];
        let special = self
            .special_tokens
            .iter()
            .map(|(k, v)| (k.as_str(), Value::from(v.as_str())));
        let context = Value::from_pairs(special.chain(fixed));
        let rendered = self
            .environment
            .get_template(NAME)
            .and_then(|t| t.render(context));
        rendered.map_err(|e| {
            let roles: Vec<&str> = messages.iter().map(|m| m.role.as_str()).collect();
            PromptError::Render {
                roles: roles.join(", "),
                problem: describe(&e),
            }
        })
    }
}

/// transformers' Jinja set-up: block trimming, Python's methods on strings and lists, Python's
/// spelling of constants and of JSON, `raise_exception`.
fn environment() -> Result<Environment<'static>, minijinja::Error> {
    let mut env = Environment::new();
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
    let indent: Option<usize> = kwargs.get("indent")?;
    let _: Option<bool> = kwargs.get("ensure_ascii")?;
    kwargs.assert_all_used()?;
    let json = python_json::to_string(value, indent).map_err(|e| {
        minijinja::Error::new(
            ErrorKind::InvalidOperation,
            format!("cannot write as JSON: {e}"),
        )
    })?;
    Ok(Value::from_safe_string(json))
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

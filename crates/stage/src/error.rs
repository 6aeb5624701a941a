//! Errors that know which exit code they end in.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// How a stage ends when it does not succeed. Success is exit code 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Something went wrong that is neither the command line's nor the data's fault (1).
    Failed = 1,
    /// The command line asks for something that makes no sense (2, as clap's own errors).
    Usage = 2,
    /// A file that was read is missing, malformed, or contradicts another (3).
    BadData = 3,
    /// Stopped by the user; the work can be taken up again (130 = 128 + SIGINT).
    Interrupted = 130,
}

impl Exit {
    /// The process exit code.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// An error with its exit code. `Display` shows the whole chain of causes, outermost first.
#[derive(Debug)]
pub struct StageError {
    exit: Exit,
    context: Vec<String>,
    cause: Box<dyn Error + Send + Sync>,
}

impl StageError {
    /// An error that ends in `exit`. `cause` is an error or a message.
    pub fn new(exit: Exit, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            exit,
            context: Vec::new(),
            cause: cause.into(),
        }
    }

    /// Exit code 1: it could not be done.
    pub fn failed(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Exit::Failed, cause)
    }

    /// Exit code 2: the command line is wrong.
    pub fn usage(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Exit::Usage, cause)
    }

    /// Exit code 3: the input data is wrong.
    pub fn bad_data(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Exit::BadData, cause)
    }

    /// Exit code 130: the user stopped it. `cause` says how to go on.
    pub fn interrupted(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Exit::Interrupted, cause)
    }

    /// Puts `what` in front of the message; the exit code stays.
    #[must_use]
    pub fn context(mut self, what: impl Into<String>) -> Self {
        self.context.push(what.into());
        self
    }

    /// The exit code it ends in.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for what in self.context.iter().rev() {
            write!(f, "{what}: ")?;
        }
        let mut shown = self.cause.to_string();
        f.write_str(&shown)?;
        let mut next = self.cause.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            // Many messages already quote their cause; saying it twice helps nobody.
            if !shown.contains(&text) {
                write!(f, ": {text}")?;
                shown.push_str(&text);
            }
            next = cause.source();
        }
        Ok(())
    }
}

impl Error for StageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.source()
    }
}

/// Gives any error its exit code where the caller knows what it means.
pub trait OrExit<T> {
    /// Exit code 1 on error.
    ///
    /// # Errors
    /// The error it was given, with [`Exit::Failed`].
    fn or_failed(self) -> Result<T, StageError>;
    /// Exit code 2 on error.
    ///
    /// # Errors
    /// The error it was given, with [`Exit::Usage`].
    fn or_usage(self) -> Result<T, StageError>;
    /// Exit code 3 on error.
    ///
    /// # Errors
    /// The error it was given, with [`Exit::BadData`].
    fn or_bad_data(self) -> Result<T, StageError>;
}

impl<T, E: Error + Send + Sync + 'static> OrExit<T> for Result<T, E> {
    fn or_failed(self) -> Result<T, StageError> {
        self.map_err(StageError::failed)
    }

    fn or_usage(self) -> Result<T, StageError> {
        self.map_err(StageError::usage)
    }

    fn or_bad_data(self) -> Result<T, StageError> {
        self.map_err(StageError::bad_data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::io::Error, &'static str);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.1)
        }
    }
    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn display_shows_the_chain_once() {
        let io = || std::io::Error::other("disk full");
        let plain = StageError::failed(Outer(io(), "cannot write a.json"));
        assert_eq!(plain.to_string(), "cannot write a.json: disk full");
        let quoted = StageError::failed(Outer(io(), "cannot write a.json (disk full)"));
        assert_eq!(quoted.to_string(), "cannot write a.json (disk full)");
    }

    #[test]
    fn context_goes_in_front_and_keeps_the_code() {
        let e = StageError::bad_data("no rows")
            .context("test.csv")
            .context("prepare");
        assert_eq!(e.to_string(), "prepare: test.csv: no rows");
        assert_eq!(e.exit().code(), 3);
    }
}

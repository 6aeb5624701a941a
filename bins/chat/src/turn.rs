//! What a turn asks for.

/// What the commands do, for `/help`.
pub(crate) const HELP: &str = "\
/reset            forget the conversation
/system [TEXT]    set the system message and start again; without a text, the model's own
/adapter [NAME]   answer with this adapter; without a name, show which there are
/base             answer without an adapter
/compare [TEXT]   answer with the base and with the adapter, beside the conversation; without a text, the last question
/temperature [T]  0 takes the most likely token, above, tokens are drawn; without a number, show it
/save FILE        write the conversation as one JSON line, which prepare reads as a training row
/exit             end (Ctrl-D too)
Ctrl-C stops an answer. A line that ends with a backslash goes on; \"\"\" before and after lines keeps them together.";

/// What a turn asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn<'a> {
    Nothing,
    Exit,
    Help,
    Reset,
    /// The text may be empty here and below.
    System(&'a str),
    Adapter(&'a str),
    Base,
    Compare(&'a str),
    Temperature(&'a str),
    Save(&'a str),
    Unknown(&'a str),
    Say(&'a str),
}

impl<'a> Turn<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        let text = text.trim();
        let (command, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        match command {
            "" => Self::Nothing,
            "/exit" | "/quit" => Self::Exit,
            "/help" => Self::Help,
            "/reset" => Self::Reset,
            "/system" => Self::System(rest),
            "/adapter" => Self::Adapter(rest),
            "/base" => Self::Base,
            "/compare" => Self::Compare(rest),
            "/temperature" => Self::Temperature(rest),
            "/save" => Self::Save(rest),
            // A path such as /etc/hosts is text, not a command.
            _ if rest.is_empty() && command.starts_with('/') && !command[1..].contains('/') => {
                Self::Unknown(command)
            }
            _ => Self::Say(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Turn;

    #[test]
    fn commands_are_told_from_text() {
        assert_eq!(Turn::of("  \n"), Turn::Nothing);
        assert_eq!(Turn::of("/exit\n"), Turn::Exit);
        assert_eq!(Turn::of("/system  Be brief. \n"), Turn::System("Be brief."));
        assert_eq!(Turn::of("/compare a\nb"), Turn::Compare("a\nb"));
        assert_eq!(Turn::of("/adapter"), Turn::Adapter(""));
        assert_eq!(Turn::of("/rest"), Turn::Unknown("/rest"));
        assert_eq!(Turn::of("/etc/hosts"), Turn::Say("/etc/hosts"));
        assert_eq!(Turn::of("/ is a slash"), Turn::Say("/ is a slash"));
        assert_eq!(Turn::of("Hello, you.\n"), Turn::Say("Hello, you."));
    }
}

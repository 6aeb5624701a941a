//! The licence of what is written, where files state it.

use std::path::Path;

use loader::Opened;
use smollm_model::ModelFiles;

/// The licence that base and adapter state. An adapter alone is its author's: its own, else the
/// base's. A merged model is both: where the two differ, which one holds is for a person to say.
pub(crate) fn stated(opened: &Opened, is_adapter: bool) -> Option<String> {
    let base = match opened.files() {
        ModelFiles::Gguf(path) => {
            let file = gguf::GgufFile::open(path).ok();
            file.and_then(|file| file.str("general.license").ok().map(str::to_owned))
        }
        ModelFiles::Dir(dir) => of_folder(dir),
    };
    let own = opened.adapter().and_then(|(dir, _)| of_folder(dir));
    match own {
        Some(own) if is_adapter => Some(own),
        Some(own) => base.filter(|base| base.eq_ignore_ascii_case(&own)),
        None => base,
    }
}

/// From the front matter of a folder's `README.md`.
fn of_folder(dir: &Path) -> Option<String> {
    in_front_matter(&std::fs::read_to_string(dir.join("README.md")).ok()?)
}

fn in_front_matter(text: &str) -> Option<String> {
    let mut lines = text.lines();
    lines.next().filter(|first| first.trim_end() == "---")?;
    let mut front = lines.take_while(|line| line.trim_end() != "---");
    let value = front.find_map(|line| line.strip_prefix("license:"))?;
    let value = value.trim();
    let quoted = ['"', '\''].into_iter().find_map(|quote| {
        let rest = value.strip_prefix(quote)?;
        rest.split_once(quote).map(|(inside, _)| inside)
    });
    // Outside of quotes, ` #` begins a comment.
    let plain = || match value.split_once(" #") {
        _ if value.starts_with('#') => "",
        Some((before, _)) => before.trim_end(),
        None => value,
    };
    let license = quoted.unwrap_or_else(plain);
    (!license.is_empty()).then(|| license.to_owned())
}

#[cfg(test)]
mod tests {
    use super::in_front_matter;

    #[test]
    fn export_reads_licences_of_front_matter_as_yaml_has_them() {
        let cases = [
            ("---\nlicense: mit\n---\n", Some("mit")),
            ("---\r\nx: 1\r\nlicense: mit\r\n---\r\n", Some("mit")),
            ("---\nlicense: mit # as the base\n---\n", Some("mit")),
            ("---\nlicense: \"a # b\" # c\n---\n", Some("a # b")),
            ("---\nlicense: # none yet\n---\n", None),
            ("---\nlicense:\n---\n", None),
            ("---\nx: 1\n---\nlicense: mit\n", None),
            ("license: mit\n", None),
        ];
        for (text, expected) in cases {
            assert_eq!(in_front_matter(text).as_deref(), expected, "{text:?}");
        }
    }
}

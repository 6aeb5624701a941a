//! How much memory there is, and how people write it.

use std::fmt;
use std::str::FromStr;

/// A number of bytes; written `6GB`, `512MiB`, or as a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 7] = [
    ("KIB", 1 << 10),
    ("MIB", 1 << 20),
    ("GIB", 1 << 30),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.trim().to_ascii_uppercase();
        let unit = UNITS.iter().find(|(name, _)| upper.ends_with(name));
        let (number, factor) = unit.map_or((upper.as_str(), 1), |(name, factor)| {
            (upper.trim_end_matches(name), *factor)
        });
        let number = number.trim().parse::<f64>().ok();
        match number.filter(|n| *n > 0.0 && n.is_finite()) {
            Some(number) => Ok(Self((number * factor as f64) as u64)),
            None => Err("expected a size such as 6GB, 512MiB or a number of bytes".to_owned()),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 as f64 {
            bytes if bytes >= 1e9 => write!(f, "{:.2} GB", bytes / 1e9),
            bytes => write!(f, "{:.0} MB", bytes / 1e6),
        }
    }
}

/// Memory that this process may still take: what the system has available, or what its control group leaves, if that is
/// less. `None` where the system does not say.
pub(crate) fn available() -> Option<Bytes> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let system = kilobytes(&meminfo, "MemAvailable:")?;
    Some(Bytes(group().map_or(system, |group| group.min(system))))
}

/// Memory that this process has taken for itself, files that it has mapped aside.
pub(crate) fn held() -> Option<Bytes> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    kilobytes(&status, "RssAnon:").map(Bytes)
}

/// Memory that this process holds now.
pub(crate) fn resident() -> Option<Bytes> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    kilobytes(&status, "VmRSS:").map(Bytes)
}

/// The number of a line such as `VmRSS:   1234 kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number = line.split_whitespace().next()?.parse::<u64>().ok()?;
    Some(1024 * number)
}

/// What the control group leaves, its page cache counted as free.
fn group() -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let (limit, used) = (number("memory.max")?, number("memory.current")?);
    let stat = read("memory.stat")?;
    let cached = stat
        .lines()
        .find_map(|line| line.strip_prefix("inactive_file "))
        .and_then(|number| number.trim().parse::<u64>().ok());
    Some((limit + cached.unwrap_or(0)).saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("6GB", 6_000_000_000),
            ("1.5 gib", 3 << 29),
            ("512MiB", 512 << 20),
            ("70kb", 70_000),
            ("12345", 12_345),
            ("99 B", 99),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for wrong in ["", "GB", "-1GB", "0", "inf", "many"] {
            assert!(wrong.parse::<Bytes>().is_err(), "{wrong}");
        }
        assert_eq!(Bytes(1_234_000_000).to_string(), "1.23 GB");
        assert_eq!(Bytes(56_700_000).to_string(), "57 MB");
    }

    #[test]
    fn a_line_is_found_by_its_name() {
        let text = "MemTotal:       9 kB\nMemAvailable:     12 kB\n";
        assert_eq!(kilobytes(text, "MemAvailable:"), Some(12_288));
        assert_eq!(kilobytes(text, "VmRSS:"), None);
    }
}

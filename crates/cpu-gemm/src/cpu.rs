//! What this CPU can do, seen once.

use std::fmt;
use std::sync::OnceLock;

/// Instruction sets that a kernel may need, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    /// AVX2 with FMA and F16C.
    Avx2,
    /// AVX-512 F, BW and VL.
    Avx512,
    /// Dot products of bytes.
    Vnni,
    /// Dot products of bf16.
    Bf16,
    /// Tiles of bf16.
    AmxBf16,
    /// Tiles of bytes.
    AmxInt8,
}

const ALL: [(Feature, &str); 6] = [
    (Feature::Avx2, "avx2"),
    (Feature::Avx512, "avx512f"),
    (Feature::Vnni, "avx512-vnni"),
    (Feature::Bf16, "avx512-bf16"),
    (Feature::AmxBf16, "amx-bf16"),
    (Feature::AmxInt8, "amx-int8"),
];

/// The instruction sets that this crate's kernels use on this machine.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    bits: u8,
}

impl Capabilities {
    pub(crate) fn has(self, feature: Feature) -> bool {
        self.bits & (1 << feature as u8) != 0
    }

    #[cfg(any(target_arch = "x86_64", test))]
    fn with(self, feature: Feature) -> Self {
        Self {
            bits: self.bits | 1 << feature as u8,
        }
    }

    /// Whether products of bf16 have instructions of their own.
    pub(crate) fn bf16(self) -> bool {
        self.has(Feature::Bf16) || self.has(Feature::AmxBf16)
    }

    /// No more than `limit`, one of the values of `SMOLTUNE_SIMD`; another value limits nothing.
    pub(crate) fn limited(self, limit: &str) -> Self {
        let allowed = match limit {
            "portable" => 0,
            "avx2" => 0b1,
            "avx512" => 0b11,
            "avx512bf16" => 0b1111,
            _ => u8::MAX,
        };
        Self {
            bits: self.bits & allowed,
        }
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bits == 0 {
            return f.write_str("portable");
        }
        let implied = |f: Feature| f == Feature::Avx2 && self.has(Feature::Avx512);
        let names = ALL.iter().filter(|(f, _)| self.has(*f) && !implied(*f));
        for (i, (_, name)) in names.enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Capabilities({self})")
    }
}

/// What the kernels use on this machine: what the CPU reports and the system allows, lowered by the
/// environment variable `SMOLTUNE_SIMD` (`portable`, `avx2`, `avx512` without bf16 and byte
/// products, `avx512bf16` without tiles). It is looked at once.
pub fn capabilities() -> Capabilities {
    static SEEN: OnceLock<Capabilities> = OnceLock::new();
    *SEEN.get_or_init(|| {
        let limit = std::env::var("SMOLTUNE_SIMD").unwrap_or_default();
        detect().limited(&limit)
    })
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn detect() -> Capabilities {
    Capabilities::default()
}

/// Everything that the CPU has.
#[cfg(target_arch = "x86_64")]
pub(crate) fn detect() -> Capabilities {
    let mut seen = Capabilities::default();
    if !(is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c"))
    {
        return seen;
    }
    seen = seen.with(Feature::Avx2);
    if !(is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl"))
    {
        return seen;
    }
    seen = seen.with(Feature::Avx512);
    if is_x86_feature_detected!("avx512vnni") {
        seen = seen.with(Feature::Vnni);
    }
    if is_x86_feature_detected!("avx512bf16") {
        seen = seen.with(Feature::Bf16);
    }
    // Dequantising for tiles rounds with AVX512-BF16 and int8 tiles end in AVX-512, so tiles are
    // used with those only. No CPU has the one without the other.
    if seen.has(Feature::Vnni) && seen.has(Feature::Bf16) {
        seen = tiles(seen);
    }
    seen
}

/// AMX: reported by the CPU, enabled by the system, and allowed to this process.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn tiles(seen: Capabilities) -> Capabilities {
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    const OSXSAVE: u32 = 1 << 27;
    const TILE_STATE: u64 = 0b11 << 17;
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;

    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
        return seen;
    }
    let edx = __cpuid_count(7, 0).edx;
    let (bf16, tile, int8) = (edx >> 22 & 1, edx >> 24 & 1, edx >> 25 & 1);
    // SAFETY: OSXSAVE says that the instruction is enabled, register 0 always exists.
    if tile == 0 || unsafe { read_xcr0() } & TILE_STATE != TILE_STATE {
        return seen;
    }
    // SAFETY: asks the kernel to let this process use the tiles; a refusal changes nothing.
    let refused = unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        )
    };
    if refused != 0 {
        return seen;
    }
    let seen = if bf16 == 1 {
        seen.with(Feature::AmxBf16)
    } else {
        seen
    };
    if int8 == 1 {
        seen.with(Feature::AmxInt8)
    } else {
        seen
    }
}

/// Which register states the system saves.
///
/// # Safety
/// The CPU must report OSXSAVE.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[target_feature(enable = "xsave")]
unsafe fn read_xcr0() -> u64 {
    // SAFETY: the caller's promise; register 0 always exists.
    unsafe { std::arch::x86_64::_xgetbv(0) }
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn tiles(seen: Capabilities) -> Capabilities {
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_lower_and_names_are_stable() {
        let all = ALL.iter().fold(Capabilities::default(), |c, f| c.with(f.0));
        assert_eq!(all.limited("portable").to_string(), "portable");
        assert_eq!(all.limited("avx2").to_string(), "avx2");
        assert_eq!(all.limited("avx512").to_string(), "avx512f");
        assert!(!all.limited("avx512bf16").has(Feature::AmxBf16));
        assert!(all.limited("avx512bf16").bf16());
        assert_eq!(all.limited("").to_string(), all.to_string());
        assert!(format!("{all:?}").contains("amx-bf16"));
    }
}

//! Sizes and durations as people write them: `4GiB`, `7d`, `500ms`.
//!
//! # Invariants
//!
//! * What is shown is read back as the same value.

use std::time::Duration;

/// Units of sizes, with their bytes, the largest first.
const SIZES: &[(&str, u64)] =
    &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Units of durations, with their milliseconds, the largest first.
const DURATIONS: &[(&str, u64)] =
    &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a size in bytes; without a unit it is bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    if let Ok(bytes) = text.parse() {
        return Ok(bytes);
    }
    parse(text, SIZES).ok_or_else(|| format!("{text:?} is not a size such as 512MiB or 4GiB"))
}

/// Shows a size in the largest unit that needs no fraction.
pub(super) fn show_size(bytes: u64) -> String {
    show(bytes, SIZES)
}

/// Reads a duration. Only 0 needs no unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let ms = parse(text, DURATIONS);
    ms.map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is not a duration such as 7d, 30s or 500ms"))
}

/// Shows a duration, to the millisecond, in the largest unit that needs no fraction.
pub(super) fn show_duration(duration: Duration) -> String {
    show(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), DURATIONS)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, size) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*size)
}

fn show(value: u64, units: &[(&str, u64)]) -> String {
    let exact = units.iter().find(|(_, size)| value != 0 && value.is_multiple_of(*size));
    exact.map_or_else(|| "0".into(), |(name, size)| format!("{}{name}", value / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_with_and_without_its_unit() {
        let check = |text: &str, bytes: u64| assert_eq!(size(text), Ok(bytes), "{text}");
        check("0", 0);
        check("17", 17);
        check("17B", 17);
        check("64 KiB", 65_536);
        check("4GiB", 4 << 30);
        check("16777215TiB", 16_777_215 << 40);
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in ["", "GiB", "4G", "4GB", "-1", "1.5GiB", "4GiB ", "16777216TiB", "4 Gi B"] {
            assert!(size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_duration_is_read_with_its_unit() {
        let check = |text: &str, ms: u64| {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        };
        check("0", 0);
        check("500ms", 500);
        check("60s", 60_000);
        check("90 m", 5_400_000);
        check("36h", 129_600_000);
        check("7d", 604_800_000);
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in ["", "7", "d", "7 days", "1.5h", "-1s", "1h30m", "18446744073709551615d"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back_as_the_same() {
        for value in [0, 1, 1_023, 1_024, 65_537, 4 << 30, u64::MAX] {
            assert_eq!(size(&show_size(value)), Ok(value));
        }
        for ms in [0, 1, 999, 1_000, 61_000, 3_600_000, 604_800_000, u64::MAX] {
            let value = Duration::from_millis(ms);
            assert_eq!(duration(&show_duration(value)), Ok(value));
        }
        assert_eq!(show_size(4 << 30), "4GiB");
        assert_eq!(show_duration(Duration::from_secs(604_800)), "7d");
    }
}

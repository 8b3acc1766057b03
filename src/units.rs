//! Sizes and durations as people write and read them.

use std::time::Duration;

/// A duration for people.
pub fn seconds(seconds: f64) -> String {
    if seconds < 100.0 {
        format!("{seconds:.1} s")
    } else if seconds < 6000.0 {
        format!("{:.0} min {:02.0} s", (seconds / 60.0).floor(), (seconds % 60.0).floor())
    } else {
        format!("{:.0} h {:02.0} min", (seconds / 3600.0).floor(), (seconds % 3600.0 / 60.0).floor())
    }
}

/// A number of bytes for people.
pub fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, "bytes");
    for larger in units {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") }
}

/// A size as people write it: `6GiB`.
///
/// # Errors
/// If it is not a number with a unit, is 0, or does not fit a `usize`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let (number, unit) = split(text);
    let unit = match unit {
        "GiB" => 1 << 30,
        "MiB" => 1 << 20,
        "KiB" => 1 << 10,
        _ => return Err("expected a number and `GiB`, `MiB` or `KiB`, such as `6GiB`".to_owned()),
    };
    let number: usize = number.parse().map_err(|_| format!("`{number}` is not a number"))?;
    match number.checked_mul(unit) {
        Some(0) => Err("expected more than nothing".to_owned()),
        Some(size) => Ok(size),
        None => Err("no machine has that much memory".to_owned()),
    }
}

/// A duration as people write it: `90m`.
///
/// # Errors
/// If it is not a whole number with a unit, or longer than can be counted.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "w" => 7 * 24 * 3600,
        _ => return Err("expected a number and `s`, `m`, `h`, `d` or `w`, such as `30d`".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| format!("`{number}` is not a number"))?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "nothing lasts that long".to_owned())
}

/// A number and its unit.
fn split(text: &str) -> (&str, &str) {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    (number, unit.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(0.04), "0.0 s");
        assert_eq!(seconds(99.94), "99.9 s");
        assert_eq!(seconds(754.9), "12 min 34 s");
        assert_eq!(seconds(7322.0), "2 h 02 min");
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 30), "5.0 GiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(size("6GiB").unwrap(), 6 << 30);
        assert_eq!(size("500 MiB").unwrap(), 500 << 20);
        for wrong in
            ["", "6", "GiB", "6GB", "6gib", "-1GiB", "1.5GiB", "0GiB", "99999999999999999999GiB", "17179869184GiB"]
        {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_read_with_their_units() {
        assert_eq!(duration("0s").unwrap(), Duration::ZERO);
        assert_eq!(duration("2w").unwrap(), duration("14d").unwrap());
        assert_eq!(duration("90m").unwrap(), Duration::from_secs(5400));
        for wrong in ["", "30", "d", "1y", "-1d", "1.5h", "99999999999999999999s", "999999999999999999w"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}

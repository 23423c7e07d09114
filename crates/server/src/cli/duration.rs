//! Durations as people write them.

/// Seconds of `90`, `90s`, `30m`, `2h` or `30d`.
pub fn seconds(text: &str) -> Result<i64, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(format!("`{unit}` is not a unit: write 90s, 30m, 2h or 30d")),
    };
    let number: i64 = number.parse().map_err(|_| "write a number and a unit: 90s, 30m, 2h or 30d".to_owned())?;
    number
        .checked_mul(factor)
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| "it must be above 0, and not endless".to_owned())
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn as_people_write_them() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("30m"), Ok(1800));
        assert_eq!(seconds("30d"), Ok(2_592_000));
        for bad in ["", "m", "1w", "-1", "0", "1.5h", "99999999999999999999d", "9223372036854775807d", "1 m"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}

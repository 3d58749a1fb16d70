//! Sizes in bytes, such as `128MiB`.

const UNITS: [(&str, u32); 3] = [("KiB", 10), ("MiB", 20), ("GiB", 30)];

/// Parses a whole number with a unit.
pub(super) fn parse_bytes(input: &str) -> Result<usize, String> {
    let units = UNITS.into_iter();
    let mut sizes = units.filter_map(|(unit, shift)| {
        let number: usize = input.trim().strip_suffix(unit)?.trim_end().parse().ok()?;
        number.checked_mul(1 << shift)
    });
    sizes
        .next()
        .ok_or_else(|| "not a number with one of the units KiB, MiB and GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_whole_number_with_a_unit() {
        assert_eq!(parse_bytes("128MiB"), Ok(128 << 20));
        assert_eq!(parse_bytes("2 GiB"), Ok(2 << 30));
        assert_eq!(parse_bytes("512KiB"), Ok(512 << 10));
        for bad in [
            "",
            "128",
            "MiB",
            "-1MiB",
            "1.5GiB",
            "128MB",
            "99999999999999GiB",
        ] {
            assert!(parse_bytes(bad).is_err(), "{bad:?}");
        }
    }
}

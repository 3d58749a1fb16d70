//! Whether a file is UTF-8, before anything in it is read: a name that was garbled is worse than a file that was refused.

const UTF8_BOM: &[u8] = b"\xef\xbb\xbf";
const UTF16_BOMS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Checks the encoding and drops a byte order mark.
pub(super) fn check(file: &[u8]) -> Result<&[u8], String> {
    if UTF16_BOMS.iter().any(|bom| file.starts_with(bom)) {
        return Err("the file is UTF-16: save it as UTF-8 (\"CSV UTF-8\")".to_owned());
    }
    let text = file.strip_prefix(UTF8_BOM).unwrap_or(file);
    match str::from_utf8(text) {
        Ok(_) => Ok(text),
        Err(error) => {
            let before = text.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.split(|byte| *byte == b'\n').count();
            Err(format!(
                "line {line} is not UTF-8: save the file as UTF-8 (\"CSV UTF-8\")"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_utf8_is_named_by_line() {
        assert_eq!(check(b"\xef\xbb\xbfemail"), Ok(b"email".as_slice()));
        let told = check(b"email\na@b.co\nm\xfcller@b.co\n").unwrap_err();
        assert_eq!(
            told,
            "line 3 is not UTF-8: save the file as UTF-8 (\"CSV UTF-8\")"
        );
        let told = check(b"\xff\xfee\0").unwrap_err();
        assert_eq!(told, "the file is UTF-16: save it as UTF-8 (\"CSV UTF-8\")");
    }
}

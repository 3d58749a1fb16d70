//! Names of callers, issuers and lanes, which appear in logs.

const NAME_CHARS_MAX: usize = 64;

pub const PLAIN_NAME_RULE: &str = "must be 1 to 64 of A-Z, a-z, 0-9, \".\", \"_\" and \"-\"";

pub fn is_plain_name(name: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

//! An accepted redirect URL is at a listed origin. Origins and logo URLs are stable.
#![no_main]

use invitations::domain::{logo_url, redirect_url};
use invitations_fuzz::parse_stable;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let origins = [
        "https://app.example.com".to_owned(),
        "http://localhost:3000".to_owned(),
    ];
    if let Some(url) = parse_stable(input, |text| redirect_url::parse(text, &origins)) {
        let is_at = |origin: &String| {
            url.strip_prefix(origin.as_str())
                .is_some_and(|path| path.starts_with('/'))
        };
        assert!(origins.iter().any(is_at) && url.len() <= 2_048, "{url}");
    }
    parse_stable(input, redirect_url::parse_origin);
    parse_stable(input, logo_url::parse);
});

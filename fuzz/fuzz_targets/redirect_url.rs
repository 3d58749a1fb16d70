//! A redirect that is taken leads to the listed origin, and a logo to where it says.
#![no_main]

use invitations::domain::{logo_url, redirect_url};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let origins = [
        "https://app.example.com".to_owned(),
        "http://localhost:3000".to_owned(),
    ];
    if let Ok(url) = redirect_url::parse(input, &origins) {
        let is_at = |origin: &String| {
            url.strip_prefix(origin.as_str())
                .is_some_and(|rest| rest.starts_with('/'))
        };
        assert!(origins.iter().any(is_at) && url.len() <= 2_048, "{url}");
        assert_eq!(redirect_url::parse(&url, &origins).as_deref(), Ok(&*url));
    }
    if let Ok(origin) = redirect_url::parse_origin(input) {
        assert_eq!(redirect_url::parse_origin(&origin).as_deref(), Ok(&*origin));
    }
    if let Ok(url) = logo_url::parse(input) {
        assert_eq!(logo_url::parse(&url).as_deref(), Ok(&*url));
    }
});

use proptest::prelude::*;

use super::*;

fn origins() -> Vec<String> {
    vec![
        "https://app.example.com".to_owned(),
        "http://localhost:3000".to_owned(),
    ]
}

#[test]
fn listed_origins_are_accepted_with_any_path_and_query() {
    for url in [
        "https://app.example.com/welcome?x=1#y",
        "https://APP.example.com:443/",
        "http://localhost:3000/join",
    ] {
        assert!(parse(url, &origins()).is_ok(), "{url}");
    }
}

#[test]
fn every_other_url_is_refused() {
    let long = format!("https://app.example.com/{}", "x".repeat(2_025));
    let grows = format!("https://app.example.com/{}", "\"".repeat(1_000));
    let cases = [
        "",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://evil.example",
        "//evil.example",
        "/welcome",
        "https://app.example.com.evil.example",
        "https://app.example.com@evil.example",
        "https://u:p@app.example.com/",
        "https://@app.example.com/",
        "http://app.example.com",
        "https:\\\\app.example.com",
        "https://app.example.com:8443/",
        "https://app.example.com/\n",
        "https:app.example.com",
        "https:///app.example.com/",
        &long,
        &grows,
    ];
    for url in cases {
        assert_eq!(
            parse(url, &origins()),
            Err(Reason::RedirectUrlInvalid),
            "{url}"
        );
    }
    assert_eq!(
        parse("https://app.example.com/", &[]),
        Err(Reason::RedirectUrlInvalid)
    );
}

#[test]
fn an_origin_has_no_path() {
    assert_eq!(
        parse_origin("https://App.Example.com/").as_deref(),
        Ok("https://app.example.com")
    );
    for bad in [
        "https://app.example.com/x",
        "app.example.com",
        "http://app.example.com",
        "*",
    ] {
        assert_eq!(parse_origin(bad), Err(Reason::FieldInvalid), "{bad}");
    }
}

proptest! {
    #[test]
    fn every_accepted_url_begins_with_a_listed_origin_and_a_slash(
        input in prop_oneof![
            any::<String>(),
            "[!-~]{0,40}",
            "(https?|HTTPS|javascript|data):?/{0,3}[\\\\/]?([a-z]{1,3}(:[a-z]{0,3})?@)?(app\\.example\\.com|APP.example.com|localhost:3000|evil\\.example|127\\.0\\.0\\.1)\\.?(:[0-9]{0,5})?[/?#\\\\@.]?[!-~]{0,20}",
        ],
    ) {
        if let Ok(url) = parse(&input, &origins()) {
            let rest = origins().iter().find_map(|origin| url.strip_prefix(origin.as_str()).map(str::to_owned));
            prop_assert!(rest.is_some_and(|rest| rest.starts_with('/')), "{url}");
            prop_assert!(url.len() <= 2_048 && url.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert!(!url.contains(['\\', '"', '<', '>']), "{url}");
            let lowered = input.to_ascii_lowercase();
            prop_assert!(
                ["https://app.example.com", "http://localhost:3000"]
                    .iter()
                    .any(|origin| lowered.strip_prefix(origin).is_some_and(|rest| {
                        rest.is_empty() || rest.starts_with(['/', '?', '#', ':'])
                    })),
                "a parser that does not follow the URL standard finds another origin: {input}"
            );
            prop_assert_eq!(parse(&url, &origins()), Ok(url));
        }
    }
}

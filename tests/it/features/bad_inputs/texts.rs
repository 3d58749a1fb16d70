//! Personal messages, locales and redirect URLs.

use invitations::proto::{ErrorReason, NewInvitation};

use super::{assert_refused, bulk_create, quiet, request_of};
use crate::support::{World, created, item};

#[tokio::test]
async fn a_message_that_links_hides_or_goes_on_for_ever_is_refused() {
    let world = World::start().await;
    let long = "x".repeat(501);
    let inputs = [
        "see https://evil.example",
        "WWW.evil.example",
        "evil.example/login",
        "evil.example:8080",
        "mailto:eve",
        "Hi\0there",
        "Hi\rthere",
        "Hi\x1b[31mthere",
        "\u{202e}moc.live",
        "pay\u{200b}pal",
        &long,
    ];
    let rule = ("message", ErrorReason::MessageInvalid);
    assert_refused(&world, &inputs, rule, |index, message| NewInvitation {
        message,
        ..quiet(&format!("{index}@b.co"))
    })
    .await;
}

#[tokio::test]
async fn a_message_with_html_is_shown_as_it_was_written() {
    let mut world = World::start().await;
    let message = "<img src=x onerror=alert(1)> & \"you\" {{ link }} {% raw %}";
    let invitation = NewInvitation {
        message: message.to_owned(),
        ..item("a@b.co")
    };
    let results = bulk_create(&world, request_of(vec![invitation]))
        .await
        .results;
    assert_eq!(created(&results[0]).message, message);
    world.deliver_all().await;
    let mail = world.mail_to("a@b.co");
    assert!(mail.text.contains(message), "{}", mail.text);
    assert!(!mail.html.contains("<img src=x"), "{}", mail.html);
    assert!(
        mail.html.contains("&lt;img src=x onerror=alert(1)&gt;"),
        "{}",
        mail.html
    );
}

#[tokio::test]
async fn a_locale_that_is_no_language_is_refused() {
    let world = World::start().await;
    let inputs = [
        "xx-INVALID",
        "xx",
        "de_DE",
        "en-UK",
        "english",
        "x--",
        "de-",
        "\u{e9}n",
        "de\0",
        "../../etc/passwd",
        &"a-".repeat(100_000),
    ];
    let rule = ("locale", ErrorReason::LocaleInvalid);
    assert_refused(&world, &inputs, rule, |index, locale| NewInvitation {
        locale,
        ..quiet(&format!("{index}@b.co"))
    })
    .await;
}

#[tokio::test]
async fn a_redirect_that_leads_elsewhere_is_refused() {
    let world = World::start().await;
    let long = format!("https://app.example.com/{}", "x".repeat(2_025));
    let grows = format!("https://app.example.com/{}", "\"".repeat(1_000));
    let inputs = [
        "javascript:alert(1)",
        "data:text/html,<script>",
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "https://app.example.com.evil.example",
        "https://app.example.com@evil.example",
        "https://evil.example#https://app.example.com",
        "https://user:password@app.example.com/",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https:\\\\app.example.com",
        "https:app.example.com",
        "https://app.example.com/\r\nLocation: //evil.example",
        "https://app.example.com/\u{202e}",
        "https://app\u{3002}example.com/",
        &long,
        &grows,
    ];
    assert_eq!(long.len(), 2_049);
    let rule = ("redirect_url", ErrorReason::RedirectUrlInvalid);
    assert_refused(&world, &inputs, rule, |index, redirect_url| NewInvitation {
        redirect_url,
        ..quiet(&format!("{index}@b.co"))
    })
    .await;
}

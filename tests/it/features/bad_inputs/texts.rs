//! Personal messages, locales and redirect URLs.

use invitations::proto::{ErrorReason, NewInvitation};

use super::assert_items_refused;
use crate::support::{World, create_request, created, item, item_without_email};

#[tokio::test]
async fn a_message_with_a_link_or_a_control_character_or_too_many_characters_is_refused() {
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
    assert_items_refused(&world, &inputs, rule, |index, message| NewInvitation {
        message,
        ..item_without_email(&format!("{index}@b.co"))
    })
    .await;
}

#[tokio::test]
async fn html_in_a_message_is_escaped_in_the_email() {
    let mut world = World::start().await;
    let message = "<img src=x onerror=alert(1)> & \"you\" {{ link }} {% raw %}";
    let invitation = NewInvitation {
        message: message.to_owned(),
        ..item("a@b.co")
    };
    let results = world
        .bulk_create(create_request(vec![invitation]))
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
async fn an_unknown_or_malformed_locale_is_refused() {
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
    assert_items_refused(&world, &inputs, rule, |index, locale| NewInvitation {
        locale,
        ..item_without_email(&format!("{index}@b.co"))
    })
    .await;
}

#[tokio::test]
async fn a_redirect_url_to_another_origin_is_refused() {
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
    assert_items_refused(&world, &inputs, rule, |index, redirect_url| NewInvitation {
        redirect_url,
        ..item_without_email(&format!("{index}@b.co"))
    })
    .await;
}

use proptest::prelude::*;

use super::*;

fn ring() -> Keyring {
    Keyring::parse("1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n2 AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE").unwrap()
}

fn subject() -> TokenSubject<'static> {
    TokenSubject {
        organization_id: "acme",
        invitation_id: uuid::uuid!("019aacd0-0000-7000-8000-000000000001"),
        generation: 1,
        nonce: *b"0123456789abcdef",
        email_normalized: "ada@example.com",
    }
}

#[test]
fn every_test_vector_is_met() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("token_vectors.json")).unwrap();
    let ring = Keyring::parse(vectors["keys"].as_str().unwrap()).unwrap();
    for vector in vectors["vectors"].as_array().unwrap() {
        let text = |name: &str| vector[name].as_str().unwrap();
        let mut nonce = [0; NONCE_BYTES];
        for (byte, hex) in nonce.iter_mut().zip(text("nonce").as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap();
        }
        let subject = TokenSubject {
            organization_id: text("organization_id"),
            invitation_id: text("invitation_id").parse().unwrap(),
            generation: u32::try_from(vector["generation"].as_u64().unwrap()).unwrap(),
            nonce,
            email_normalized: text("email_normalized"),
        };
        let kid = u8::try_from(vector["kid"].as_u64().unwrap()).unwrap();
        let token = Token::derive(&ring, kid, &subject).unwrap();
        assert_eq!(token.reveal(), text("token"));
        assert_eq!(token.reveal().len(), TOKEN_CHARACTERS);
        assert!(
            Token::parse(text("token"))
                .unwrap()
                .matches(&ring, kid, &subject)
        );
    }
}

#[test]
fn a_token_with_any_one_bit_flipped_is_refused() {
    let token = Token::derive(&ring(), 1, &subject()).unwrap();
    let payload = URL_SAFE_NO_PAD
        .decode(&token.reveal()[PREFIX.len()..])
        .unwrap();
    for bit in 0..PAYLOAD_BYTES * 8 {
        let mut flipped = payload.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(flipped));
        assert!(
            !Token::parse(&text).unwrap().matches(&ring(), 1, &subject()),
            "bit {bit}"
        );
    }
}

#[test]
fn a_token_is_bound_to_every_part_of_its_subject() {
    let ring = ring();
    let token = Token::derive(&ring, 1, &subject()).unwrap();
    assert!(token.matches(&ring, 1, &subject()));
    let others = [
        TokenSubject {
            organization_id: "other",
            ..subject()
        },
        TokenSubject {
            invitation_id: Uuid::nil(),
            ..subject()
        },
        TokenSubject {
            generation: 2,
            ..subject()
        },
        TokenSubject {
            nonce: [0; NONCE_BYTES],
            ..subject()
        },
        TokenSubject {
            email_normalized: "eve@example.com",
            ..subject()
        },
    ];
    for other in others {
        assert!(!token.matches(&ring, 1, &other));
    }
    assert!(
        !token.matches(&ring, 2, &subject()),
        "another key of the ring"
    );
    assert!(
        !token.matches(&ring, 3, &subject()),
        "a key that is not loaded"
    );
}

#[test]
fn everything_but_an_exact_token_is_malformed() {
    let token = Token::derive(&ring(), 1, &subject()).unwrap().reveal();
    let decorated = [
        String::new(),
        token[..71].to_owned(),
        format!("{token}A"),
        format!("{token}\n"),
        format!(" {token}"),
        token.replace("inv1_", "inv2_"),
        format!("{}=", &token[..71]),
        format!("{}%", &token[..71]),
        "x".repeat(1 << 20),
        "eyJhbGciOiJub25lIn0.e30.".to_owned(),
    ];
    for text in decorated {
        assert!(Token::parse(&text).is_none());
    }
    // The last character holds two bits that decode to nothing; only zeros are canonical.
    let last = token.chars().last().unwrap();
    let other_spellings = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        .chars()
        .filter(|character| *character != last)
        .filter(|character| Token::parse(&format!("{}{character}", &token[..71])).is_some())
        .count();
    assert_eq!(other_spellings, 15);
}

#[test]
fn debug_prints_nothing_of_a_token() {
    let token = Token::derive(&ring(), 1, &subject()).unwrap();
    assert_eq!(format!("{token:?}"), "[redacted]");
}

/// Arbitrary text, and text that has the format of a token or nearly.
fn inputs() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "inv1_[A-Za-z0-9_-]{66,68}",
        "(inv1_|inv2_|INV1_)?[ -~]{60,80}"
    ]
}

proptest! {
    #[test]
    fn a_well_formed_token_has_one_spelling(input in inputs()) {
        if let Some(token) = Token::parse(&input) {
            prop_assert_eq!(token.reveal(), &*input);
            prop_assert!(input.is_ascii() && input.len() == 72 && input.starts_with("inv1_"));
            prop_assert!(!token.matches(&ring(), 1, &subject()), "guessed tokens are not genuine");
        }
    }

    #[test]
    fn a_token_with_any_one_character_changed_is_refused(at in 0..TOKEN_CHARACTERS, other in any::<char>()) {
        let token = Token::derive(&ring(), 1, &subject()).unwrap().reveal();
        let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
        prop_assume!(changed != token);
        let is_accepted = Token::parse(&changed).is_some_and(|token| token.matches(&ring(), 1, &subject()));
        prop_assert!(!is_accepted, "{at} {other:?}");
    }
}

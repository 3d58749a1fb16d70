//! Reads from the text of a reply how long the server asks to wait.
//!
//! No standard defines this text. So only known phrases count: some form of "try again" or "greylisted", directly
//! followed by a duration with a unit. Other numbers, such as an exceeded limit, mean something else. Most replies name
//! no duration.

use std::time::Duration;

/// A server cannot ask for a longer wait.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);
/// Words that announce the duration to wait.
const TRIGGERS: [&str; 9] = [
    "again",
    "back",
    "greylisted",
    "greylisting",
    "graylisted",
    "retry",
    "retry-after",
    "retrying",
    "wait",
];
/// Words that may stand between a trigger and the duration.
const FILLERS: [&str; 12] = [
    "about",
    "after",
    "another",
    "approximately",
    "at",
    "for",
    "in",
    "least",
    "more",
    "next",
    "the",
    "within",
];

pub(super) fn is_greylisting(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("greylist") || text.contains("graylist")
}

/// The duration that a reply asks for, at most a day.
pub(super) fn find(text: &str) -> Option<Duration> {
    let text = text.to_lowercase();
    let words: Vec<&str> = text
        .split_whitespace()
        .map(|word| word.trim_matches(|character: char| !character.is_ascii_alphanumeric()))
        .filter(|word| !word.is_empty())
        .collect();
    (0..words.len())
        .filter(|at| TRIGGERS.contains(&words[*at]))
        .map(|at| &words[at + 1..])
        .find_map(|rest| {
            let fillers = rest.iter().take_while(|word| FILLERS.contains(word));
            duration(&rest[fillers.count()..])
        })
        .filter(|duration| !duration.is_zero())
        .map(|duration| duration.min(RETRY_AFTER_MAX))
}

/// The duration at the start of a list of words.
fn duration(words: &[&str]) -> Option<Duration> {
    let first = words.first()?;
    if first.contains(':') {
        return clock(first);
    }
    let mut total = None;
    let mut rest = words;
    loop {
        if let ["and", more @ ..] = rest
            && total.is_some()
        {
            rest = more;
        }
        let (part, after) = match rest {
            ["a" | "an" | "one", unit, after @ ..] if total.is_none() => {
                (parsed(&format!("1{unit}")), after)
            }
            [number, unit, after @ ..] if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                (parsed(&format!("{number}{unit}")), after)
            }
            [joined, after @ ..] => (parsed(joined), after),
            [] => (None, rest),
        };
        let Some(part) = part else {
            return total;
        };
        total = total.unwrap_or(Duration::ZERO).checked_add(part);
        rest = after;
    }
}

/// A number and a unit without a space between them. A number without a unit is not a duration.
fn parsed(text: &str) -> Option<Duration> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    humantime::parse_duration(text).ok()
}

/// `hours:minutes:seconds` or `minutes:seconds`.
fn clock(text: &str) -> Option<Duration> {
    let parts: Option<Vec<u64>> = text.split(':').map(|part| part.parse().ok()).collect();
    let (hours, minutes, seconds) = match parts?.as_slice() {
        [hours, minutes, seconds] => (*hours, *minutes, *seconds),
        [minutes, seconds] => (0, *minutes, *seconds),
        _ => return None,
    };
    if minutes >= 60 || seconds >= 60 {
        return None;
    }
    let hours = hours.checked_mul(3_600)?;
    let seconds = hours.checked_add(minutes * 60 + seconds)?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_known_phrases_are_found() {
        const MINUTE: u64 = 60;
        let cases = [
            ("4.7.1 try again in 5 minutes", 5 * MINUTE),
            ("Please try again in 300 seconds.", 300),
            ("4.7.0 retry in 1 hour", 60 * MINUTE),
            ("greylisted for 00:05:00", 5 * MINUTE),
            // Postgrey, with its default text and with a common custom one.
            (
                "4.2.0 <[address]>: Recipient address rejected: Greylisted for 300 seconds (see http://x.example/)",
                300,
            ),
            (
                "4.7.1 Greylisting in action, please come back in 00:04:59",
                299,
            ),
            ("Greylisted: wait at least 10 min", 10 * MINUTE),
            ("temporarily rejected; try again after 2m", 2 * MINUTE),
            ("You have been graylisted, retry after 90s", 90),
            ("Retry-After: 45 s", 45),
            ("come back in 04:59", 299),
            ("try again in an hour", 60 * MINUTE),
            (
                "try again in about 1 hour and 30 minutes, please",
                90 * MINUTE,
            ),
            ("try again in 1h 30min", 90 * MINUTE),
            ("try again later. Greylisted for 4 minutes", 4 * MINUTE),
            (
                "limit of 100 mails in 1 hour passed, please wait 10 minutes",
                10 * MINUTE,
            ),
            ("try again in 3 days", 24 * 60 * MINUTE),
            ("try again in 99:00:00", 24 * 60 * MINUTE),
        ];
        for (text, seconds) in cases {
            assert_eq!(find(text), Some(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn other_numbers_and_phrases_are_ignored() {
        let cases = [
            "",
            "4.2.0 <[address]>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help/300.html",
            "4.7.1 <[address]>: Recipient address rejected: Greylisted",
            "4.7.1 Try again later",
            "4.7.1 Greylisting in action, please come back later",
            "4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77714)",
            "4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred; see https://x.example/4",
            "too many messages in 1 hour, try again later",
            "try again later, you sent 100 mails in 1 hour",
            "try again in 5",
            "try again in a few minutes",
            "try again in 00:99:00",
            "try again in 1:2:3:4",
            "try again in 0 seconds",
            "try again in 99999999999999999999999 seconds",
            "try again in 18446744073709551615:00:00",
            "try again in 5 apples",
            "call 5 minutes",
        ];
        for text in cases {
            assert_eq!(find(text), None, "{text}");
        }
    }
}

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::store::invitation_events::EventRow;

const NOW: OffsetDateTime = time::macros::datetime!(2026-11-23 06:00 UTC);
const LOG_ID: i64 = 7;

/// A moment after every transaction's end.
const END: usize = 40;

/// A log as the database has it: rows by place, each seen from a moment on.
#[derive(Debug, Clone)]
struct Log {
    rows: Vec<(EventPosition, usize, usize)>,
    /// When each transaction ends.
    ends: BTreeMap<i64, usize>,
}

impl Log {
    /// Each transaction begins at the moment of its number.
    fn horizon(&self, moment: usize) -> i64 {
        let running = self
            .ends
            .iter()
            .filter(|(id, end)| usize::try_from(**id).unwrap() <= moment && **end > moment);
        let next = i64::try_from(moment).unwrap() + 1;
        running.map(|(id, _)| *id).chain([next]).min().unwrap()
    }

    fn page(
        &self,
        progress: &WatchProgress,
        moment: usize,
        rows_max: usize,
        events_max: usize,
    ) -> EventPage {
        let known: BTreeMap<i64, i32> = progress.sent_rows().into_iter().collect();
        let scanned: Vec<_> = self
            .rows
            .iter()
            .filter(|(at, _, seen_at)| *at >= progress.position() && *seen_at <= moment)
            .take(rows_max)
            .collect();
        let mut before = 0;
        let mut rows = Vec::new();
        for (position, size, _) in &scanned {
            let known = usize::try_from(*known.get(&position.seq).unwrap_or(&0)).unwrap();
            let left = size - known;
            if left == 0 || before > events_max {
                continue;
            }
            rows.push(EventRow {
                position: *position,
                created_at: NOW,
                event_type: "created".to_owned(),
                organization_id: "acme".to_owned(),
                batch_id: Uuid::nil(),
                event_count: *size,
                invitation_ids: vec![Uuid::nil(); left.min(events_max - before)],
            });
            before += left;
        }
        EventPage {
            log_id: LOG_ID,
            horizon: self.horizon(moment),
            truncated_at: (scanned.len() >= rows_max).then(|| (scanned.last().unwrap().0, NOW)),
            rows,
        }
    }

    fn all(&self) -> BTreeSet<String> {
        let names = self.rows.iter().flat_map(|(position, size, _)| {
            (0..*size).map(|ordinal| {
                EventId {
                    position: *position,
                    ordinal,
                }
                .to_string()
            })
        });
        names.collect()
    }
}

fn logs() -> impl Strategy<Value = Log> {
    let transaction = (0..20_usize, prop::collection::vec(1..6_usize, 0..4));
    prop::collection::vec(transaction, 1..16).prop_map(|transactions| {
        let (mut rows, mut ends) = (Vec::new(), BTreeMap::new());
        let mut seq = 0;
        for (begin, (length, sizes)) in (1..).zip(transactions) {
            let transaction_id = i64::try_from(begin).unwrap();
            ends.insert(transaction_id, begin + length);
            for size in sizes {
                seq += 1;
                let position = EventPosition {
                    transaction_id,
                    seq,
                };
                rows.push((position, size, begin + length));
            }
        }
        Log { rows, ends }
    })
}

/// Reads to the end from a place; returns the names that came, and every cursor with how many had come by then.
fn read(
    log: &Log,
    mut progress: WatchProgress,
    [rows_max, events_max, pages_a_moment]: [usize; 3],
) -> (Vec<String>, Vec<(EventCursor, usize)>) {
    let (mut names, mut cursors) = (Vec::new(), Vec::new());
    for number in 0.. {
        // Time continues from page to page, in the middle of a walk too.
        let moment = (number / pages_a_moment).min(END);
        let page = log.page(&progress, moment, rows_max, events_max);
        let step = progress.absorb(page, NOW);
        names.extend(step.events.iter().map(|event| event.id.to_string()));
        cursors.push((progress.cursor(LOG_ID), names.len()));
        if moment == END && !step.has_more {
            break;
        }
        assert!(number < 10_000, "a walk without end");
    }
    (names, cursors)
}

proptest! {
    // Each case reads the log from all of its cursors.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_order_transactions_end_in_no_event_is_lost_or_comes_twice(
        log in logs(),
        paces in [1..8_usize, 1..8_usize, 1..4_usize],
    ) {
        let start = WatchProgress::at(EventPosition::START, NOW);
        let (names, cursors) = read(&log, start, paces);
        let all = log.all();
        prop_assert_eq!(names.len(), all.len());
        prop_assert_eq!(&names.iter().cloned().collect::<BTreeSet<_>>(), &all);
        // And from every cursor on comes all that had not come before.
        let earliest: BTreeMap<_, _> = cursors
            .into_iter()
            .rev()
            .map(|(cursor, count)| (cursor.encode(), (cursor, count)))
            .collect();
        for (cursor, count) in earliest.into_values() {
            let decoded = EventCursor::decode(&cursor.encode()).unwrap();
            let (rest, _) = read(&log, WatchProgress::after(&decoded), paces);
            let mut together: BTreeSet<_> = names[..count].iter().cloned().collect();
            together.extend(rest);
            prop_assert_eq!(&together, &all, "{:?}", cursor);
        }
    }
}

fn row(transaction_id: i64, seq: i64, count: usize) -> EventRow {
    EventRow {
        position: EventPosition {
            transaction_id,
            seq,
        },
        created_at: NOW,
        event_type: "created".to_owned(),
        organization_id: "acme".to_owned(),
        batch_id: Uuid::nil(),
        event_count: count,
        invitation_ids: vec![Uuid::nil(); count],
    }
}

fn page(horizon: i64, rows: Vec<EventRow>) -> EventPage {
    EventPage {
        log_id: LOG_ID,
        horizon,
        truncated_at: None,
        rows,
    }
}

#[test]
fn what_is_not_final_is_remembered_up_to_a_bound_and_continues_with_the_horizon() {
    let mut progress = WatchProgress::at(EventPosition::START, NOW);
    let count = i64::try_from(REMEMBERED_ROWS_MAX).unwrap();
    let rows: Vec<_> = (1..=count + 5).map(|seq| row(10 + seq, seq, 1)).collect();
    let step = progress.absorb(page(5, rows), NOW);
    assert_eq!(step.events.len(), REMEMBERED_ROWS_MAX);
    assert!(!step.has_more && progress.is_ahead());
    let rest: Vec<_> = (count + 1..=count + 5)
        .map(|seq| row(10 + seq, seq, 1))
        .collect();
    let step = progress.absorb(page(5, rest.clone()), NOW);
    assert!(step.events.is_empty() && !step.is_settled);
    let step = progress.absorb(page(count + 100, rest), NOW);
    assert_eq!(step.events.len(), 5);
    assert!(step.is_settled && !progress.is_ahead());
    assert_eq!(progress.cursor(LOG_ID).position.transaction_id, count + 100);
}

#[test]
fn what_this_version_has_no_word_for_is_passed_over() {
    let mut progress = WatchProgress::at(EventPosition::START, NOW);
    let unknown = EventRow {
        event_type: "teleported".to_owned(),
        ..row(1, 1, 3)
    };
    let step = progress.absorb(page(5, vec![unknown, row(2, 2, 1)]), NOW);
    assert_eq!(step.events.len(), 1);
    assert_eq!(step.events[0].id.to_string(), "2-2-0");
}

//! An organization that has invited many people, each of whom follows from a number: so that whoever comes next knows
//! their ids, addresses and links without asking.

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use invitations::clock::{Clock as _, SystemClock};
use invitations::domain::keyring::Keyring;
use invitations::domain::token::{NONCE_BYTES, Token, TokenSubject};
use invitations::store::Store;
use invitations::store::invitations::InvitationRow;
use uuid::Uuid;

use crate::database::Database;
use crate::people::{self, Batch, KEY_ID, KEYS, ORGANIZATION};
use crate::pool::{self, STORE_CONFIG};

/// Rows of a statement.
const BATCH_ROWS: usize = 10_000;
/// The ids of invitations and of audit events: of version 7, ascending with the numbers, which stand at the end.
const ID_START: &str = "019ab000-0000-7000-8000-";
const EVENT_ID_START: &str = "019ab001-0000-7000-8000-";
/// Digits of a number.
const DIGITS: usize = 12;

/// The people.
pub(crate) struct Seed {
    keyring: Keyring,
    count: usize,
}

/// What is known of one of them; as text, or as an expression of SQL in which the number stands for itself.
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) user_id: String,
}

impl Seed {
    /// Has the organization invite so many, and the planner know of it.
    pub(crate) async fn plant(database: &Database, count: usize) -> anyhow::Result<Self> {
        let store = Store::new(database.url(), STORE_CONFIG)?;
        for first in (0..count).step_by(BATCH_ROWS) {
            pool::insert(&store, batch(first..(first + BATCH_ROWS).min(count))?).await?;
        }
        store.close().await;
        database.settle().await?;
        Ok(Self {
            keyring: Keyring::parse(KEYS)?,
            count,
        })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The secret in the link of one.
    pub(crate) fn token(&self, number: usize) -> anyhow::Result<String> {
        ensure!(number < self.count, "only {} were invited", self.count);
        let person = person(number);
        let subject = TokenSubject {
            organization_id: ORGANIZATION,
            invitation_id: Uuid::parse_str(&person.id)?,
            generation: 1,
            nonce: nonce(number),
            email_normalized: &person.email,
        };
        let token = Token::derive(&self.keyring, KEY_ID, &subject).context("no such key")?;
        Ok(token.reveal())
    }
}

/// One of them.
pub(crate) fn person(number: usize) -> Person {
    let digits = format!("{number:0DIGITS$}");
    // Turned around, so that neighbors by number are no neighbors in the index of addresses.
    let turned: String = digits.chars().rev().collect();
    Person {
        id: format!("{ID_START}{digits}"),
        email: format!("person.{turned}@example.com"),
        user_id: format!("user-{digits}"),
    }
}

/// The same in SQL, for a number that an expression tells.
pub(crate) fn person_in_sql(number: impl Display) -> Person {
    let digits = format!("lpad({number}::bigint::text, {DIGITS}, '0')");
    Person {
        id: format!("('{ID_START}' || {digits})::uuid"),
        email: format!("('person.' || reverse({digits}) || '@example.com')"),
        user_id: format!("('user-' || {digits})"),
    }
}

/// The id of the event that tells of one, in SQL.
pub(crate) fn event_id_in_sql(number: impl Display) -> String {
    format!("('{EVENT_ID_START}' || lpad({number}::bigint::text, {DIGITS}, '0'))::uuid")
}

fn batch(numbers: Range<usize>) -> anyhow::Result<Batch> {
    let now = SystemClock.now();
    let rows = numbers
        .enumerate()
        .map(|(index, number)| {
            let person = person(number);
            Ok(InvitationRow {
                id: Uuid::parse_str(&person.id)?,
                nonce: nonce(number),
                item: Arc::new(people::item(index, &person.email, people::expiry(now)?)?),
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    Batch::new(Uuid::from_u128(1), now, rows)
}

fn nonce(number: usize) -> [u8; NONCE_BYTES] {
    (number as u128).to_be_bytes()
}

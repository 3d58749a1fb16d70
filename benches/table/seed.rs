//! The organization that invites, and seeded invitations: numbered rows whose ids, addresses and tokens follow from the
//! number, so that a caller can compute them without a query.

use std::ops::Range;

use anyhow::Context as _;
use invitations::domain::keyring::Keyring;
use invitations::domain::token::{NONCE_BYTES, Token, TokenSubject};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use crate::database::BenchDatabase;

pub(crate) const ORGANIZATION: &str = "acme";
pub(crate) const INVITER: &str = "ada";
/// The keys file of the server, with one signing key.
pub(crate) const KEYS: &str = "1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n";
pub(crate) const KEY_ID: u8 = 1;

/// The ids are UUIDs of version 7 that end with the number.
const INVITATION_ID_PREFIX: &str = "019ab000-0000-7000-8000-";
const DIGITS: usize = 12;

/// The values of one seeded invitation.
pub(crate) struct SeededInvitation {
    pub(crate) id: String,
    pub(crate) email: String,
    /// The user who accepts.
    pub(crate) user_id: String,
}

impl SeededInvitation {
    pub(crate) fn new(number: usize) -> Self {
        let digits = format!("{number:0DIGITS$}");
        // Reversed, so that consecutive numbers are not adjacent in an index of addresses.
        let reversed: String = digits.chars().rev().collect();
        Self {
            id: format!("{INVITATION_ID_PREFIX}{digits}"),
            email: format!("person.{reversed}@example.com"),
            user_id: format!("user-{digits}"),
        }
    }
}

pub(crate) fn nonce(number: usize) -> [u8; NONCE_BYTES] {
    (number as u128).to_be_bytes()
}

/// The token in the link of a seeded invitation.
pub(crate) fn token(keyring: &Keyring, number: usize) -> anyhow::Result<String> {
    let seeded = SeededInvitation::new(number);
    let subject = TokenSubject {
        organization_id: ORGANIZATION,
        invitation_id: Uuid::parse_str(&seeded.id)?,
        generation: 1,
        nonce: nonce(number),
        email_normalized: &seeded.email,
    };
    let token = Token::derive(keyring, KEY_ID, &subject).context("the keyring has no such key")?;
    Ok(token.reveal())
}

/// Inserts the organization and its only admin.
pub(crate) async fn insert_organization(connection: &mut PgConnection) -> anyhow::Result<()> {
    let statements = sqlx::raw_sql(
        "INSERT INTO organizations
                (id, name, roles, inviting_roles, role_names, default_role, allowed_email_domains, redirect_origins, locale,
                 recheck_inviter, created_at, updated_at)
         VALUES ('acme', 'Acme', '{admin,member}', '{admin}', '{}', 'member', '{}', '{}', '', false, now(), now());
         INSERT INTO users (id, name, created_at, updated_at) VALUES ('ada', 'Ada King', now(), now());
         INSERT INTO memberships (organization_id, user_id, role, created_at, updated_at)
         VALUES ('acme', 'ada', 'admin', now(), now())",
    );
    statements.execute(connection).await?;
    Ok(())
}

/// Inserts seeded invitations as one batch, each with a queued email that is due now. The statistics of the planner are
/// updated in the same transaction, because a worker may start to deliver right after it.
pub(crate) async fn insert_invitations(
    database: &BenchDatabase,
    batch_id: Uuid,
    numbers: Range<usize>,
) -> anyhow::Result<()> {
    let digits = format!("lpad(n::text, {DIGITS}, '0')");
    let id = format!("('{INVITATION_ID_PREFIX}' || {digits})::uuid");
    let email = format!("'person.' || reverse({digits}) || '@example.com'");
    let statement = format!(
        "WITH inserted AS (
             INSERT INTO invitations
                    (id, batch_id, created_at, updated_at, expires_at, queued_at, next_attempt_at, generation, send_seq,
                     delivery_attempts, key_id, state, accept_policy, delivery_state, nonce, organization_id, email,
                     email_normalized, role, inviter_user_id, locale, redirect_url, message)
             SELECT {id}, $1, now(), now(), now() + interval '30 days', now(), now(), 1, 1, 0, {KEY_ID}, 'pending',
                    'invited_email', 'queued', decode(lpad(to_hex(n), 32, '0'), 'hex'), '{ORGANIZATION}', {email},
                    {email}, 'member', '{INVITER}', '', '', ''
               FROM generate_series($2::bigint, $3::bigint) AS n
             RETURNING id
         )
         INSERT INTO outbox (invitation_id, organization_id, send_seq, state, attempts, created_at, next_attempt_at)
         SELECT id, '{ORGANIZATION}', 1, 'queued', 0, now(), now() FROM inserted"
    );
    let mut connection = database.connect().await?;
    let mut transaction = connection.begin().await?;
    sqlx::query(AssertSqlSafe(statement))
        .bind(batch_id)
        .bind(i64::try_from(numbers.start)?)
        .bind(i64::try_from(numbers.end)? - 1)
        .execute(&mut *transaction)
        .await?;
    sqlx::query("ANALYZE invitations, outbox")
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

-- Fills a migrated, empty database with the invitations of the last days. Variables of psql: rows (a multiple of 1,000),
-- organizations (besides the large one, which has every tenth batch), days. The rows are the same in every run.
--
-- Batches of 1,000 are in the order of time. Of invitations younger than 30 days two fifths are pending. Invitations older
-- than 40 days have lost their address, as the retention job leaves them.
CREATE SCHEMA bench;

-- A UUIDv7 of a time in milliseconds. The number orders ids of the same millisecond and makes them unique.
CREATE FUNCTION bench.id(milliseconds bigint, number bigint) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (lpad(to_hex(milliseconds), 12, '0') || '7' || lpad(to_hex(number & 4095), 3, '0') || '8'
            || substr(md5(milliseconds::text || number::text), 1, 15))::uuid
$$;
CREATE FUNCTION bench.email(number bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT 'person.' || substr(md5(number::text), 1, 16) || '@example.com'
$$;
-- A fixed time, which is the current time for all statements.
CREATE FUNCTION bench.now() RETURNS timestamptz LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    $$ SELECT '2026-11-01 00:00:00+00'::timestamptz $$;

INSERT INTO organizations (id, name, roles, inviting_roles, role_names, default_role, allowed_email_domains,
                           redirect_origins, locale, recheck_inviter, created_at, updated_at)
SELECT id, id, '{admin,member}', '{admin}', '{}', 'member', '{}', '{}', '', true, bench.now() - interval '999 days', bench.now()
  FROM (SELECT 'large' AS id UNION ALL SELECT 'organization-' || n FROM generate_series(1, :organizations) n) o;
INSERT INTO users (id, name, created_at, updated_at)
SELECT 'inviter-' || n, 'Inviter ' || n, bench.now(), bench.now() FROM generate_series(0, 3) n;
INSERT INTO memberships (organization_id, user_id, role, created_at, updated_at)
SELECT o.id, u.id, 'admin', bench.now(), bench.now() FROM organizations o CROSS JOIN users u;

INSERT INTO invitations
       (id, batch_id, created_at, updated_at, expires_at, ended_at, queued_at, sent_at, generation, send_seq,
        delivery_attempts, key_id, state, accept_policy, delivery_state, nonce, organization_id, email, email_normalized,
        role, inviter_user_id, locale, redirect_url, message, ended_by_user_id, address_tag_key_id, address_tag)
SELECT bench.id(milliseconds, number % 1000 + 1), bench.id(milliseconds, 0), created, created,
       created + interval '14 days', CASE WHEN state = 'accepted' THEN created + interval '2 days' END,
       created, created, 1, 1, 1, 1, state, 'invited_email', 'sent', substr(sha256(number::text::bytea), 1, 16),
       organization_id,
       CASE WHEN NOT is_erased THEN bench.email(number) END, CASE WHEN NOT is_erased THEN bench.email(number) END,
       'member', 'inviter-' || number % 4, '', '', '', CASE WHEN state = 'accepted' THEN 'user-' || number END,
       CASE WHEN is_erased THEN 1 END, CASE WHEN is_erased THEN sha256(bench.email(number)::bytea) END
  FROM (SELECT number, milliseconds, to_timestamp(milliseconds / 1000.0) AS created,
               CASE WHEN batch % 10 = 0 THEN 'large' ELSE 'organization-' || (1 + batch * 7919 % :organizations) END
                   AS organization_id,
               CASE WHEN batch >= batches * (:days - 30) / :days AND number % 5 < 2 THEN 'pending'
                    WHEN number % 5 < 4 THEN 'accepted' ELSE 'expired' END AS state,
               batch < batches * (:days - 40) / :days AS is_erased
          FROM (SELECT number::bigint, batch, batches,
                       (extract(epoch FROM bench.now() - make_interval(days => :days)) * 1000)::bigint
                       + batch * (:days * 86400000::bigint / batches) AS milliseconds
                  FROM (SELECT number, number / 1000 AS batch, :rows / 1000 AS batches
                          FROM generate_series(0, :rows - 1) number) n) t) s;

-- The retention job keeps sent emails for a week.
INSERT INTO outbox (invitation_id, organization_id, send_seq, state, attempts, created_at, next_attempt_at)
SELECT id, organization_id, 1, 'sent', 1, created_at, created_at
  FROM invitations WHERE created_at > bench.now() - interval '7 days';

-- Leaves the indexes as dense as a bulk load does.
REINDEX TABLE invitations;
REINDEX TABLE outbox;
VACUUM (ANALYZE) invitations, outbox, organizations, users, memberships;

-- Other roads for the same rows, by SQL equivalents that the server makes up (chunks run the statement of src/store).
-- Prints for each: CPU and WAL for a row, the least CPU of all turns, and the median time of a call. Variable: turns.
\set QUIET on
CREATE TABLE bench.plain_events (
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(), seq bigint GENERATED ALWAYS AS IDENTITY,
    invitation_id uuid NOT NULL, batch_id uuid, created_at timestamptz NOT NULL, organization_id text COLLATE "C" NOT NULL,
    kind text NOT NULL, state text, delivery_state text, PRIMARY KEY (organization_id, transaction_id, seq));
CREATE TABLE bench.array_events (
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(), seq bigint GENERATED ALWAYS AS IDENTITY,
    batch_id uuid, created_at timestamptz NOT NULL, organization_id text COLLATE "C" NOT NULL,
    kind text NOT NULL, state text, delivery_state text, invitation_ids uuid[] NOT NULL,
    PRIMARY KEY (organization_id, transaction_id, seq));
ALTER TABLE bench.array_events ALTER invitation_ids SET STORAGE EXTERNAL;
CREATE TABLE bench.fixed_first (id uuid, batch_id uuid, a timestamptz, b timestamptz, c timestamptz, d int, e int, f int,
    g smallint, h text, i text, j text, k bytea, l text, m text, n text, o text, p text);
CREATE TABLE bench.text_first (h text, i text, g smallint, j text, d int, l text, id uuid, m text, a timestamptz, n text,
    e int, k bytea, b timestamptz, o text, f int, c timestamptz, p text, batch_id uuid);
CREATE TABLE bench.documents (document jsonb);
CREATE TABLE bench.staging (id uuid, nonce bytea, expires_at timestamptz, email text, email_normalized text, role text,
    inviter_user_id text, locale text, redirect_url text, message text, accept_policy text);

CREATE PROCEDURE bench.roads(turns int, size int) LANGUAGE plpgsql AS $$
DECLARE before bench.measured; ids uuid[]; made timestamptz = bench.now(); texts text[]; first bigint;
BEGIN
    FOR turn IN 1 .. turns LOOP
        UPDATE bench.called SET next = next + size RETURNING next - size INTO first;
        ids = ARRAY(SELECT bench.id(first, n) FROM generate_series(1, size) n);
        texts = ARRAY(SELECT format('{"team": "team %s", "plan": "business", "seats": %s}', n, n) FROM generate_series(1, size) n);
        COMMIT;
        before = bench.look();
        INSERT INTO bench.plain_events (invitation_id, batch_id, created_at, organization_id, kind, state, delivery_state)
        SELECT id, ids[1], made, 'large', 'created', 'pending', 'queued' FROM unnest(ids) id;
        COMMIT;
        CALL bench.note('events: a row each', size, before);
        before = bench.look();
        INSERT INTO bench.array_events (invitation_ids, batch_id, created_at, organization_id, kind, state, delivery_state)
        SELECT array_agg(id), ids[1], made, 'large', 'created', 'pending', 'queued' FROM unnest(ids) id;
        COMMIT;
        CALL bench.note('events: one row with an array', size, before);
        before = bench.look();
        INSERT INTO bench.fixed_first
        SELECT id, id, made, made, made, 1, 1, 1, 1, 'pending', 'invited_email', 'queued', '\x00112233445566778899aabbccddeeff',
               'large', 'person@example.com', 'person@example.com', 'member', 'ada' FROM unnest(ids) id;
        COMMIT;
        CALL bench.note('columns: fixed widths first', size, before);
        before = bench.look();
        INSERT INTO bench.text_first
        SELECT 'pending', 'invited_email', 1, 'queued', 1, 'large', id, 'person@example.com', made, 'person@example.com', 1,
               '\x00112233445566778899aabbccddeeff', made, 'member', 1, made, 'ada', id FROM unnest(ids) id;
        COMMIT;
        CALL bench.note('columns: text first', size, before);
        before = bench.look();
        EXECUTE format('INSERT INTO bench.documents SELECT t::jsonb FROM unnest(%L::text[]) t', texts);
        COMMIT;
        CALL bench.note('metadata: array of text, cast by row', size, before);
        before = bench.look();
        EXECUTE format('INSERT INTO bench.documents SELECT t FROM unnest(%L::jsonb[]) t', texts);
        COMMIT;
        CALL bench.note('metadata: array of jsonb', size, before);
    END LOOP;
END $$;

-- The rows of a COPY that was made before; what the statement of src/store does with arrays, with a table.
CREATE PROCEDURE bench.unstage(size int) LANGUAGE plpgsql AS $$
DECLARE made timestamptz = bench.now();
BEGIN
    WITH written AS (
        INSERT INTO invitations (organization_id, batch_id, key_id, created_at, updated_at, id, nonce, expires_at, email,
               email_normalized, role, inviter_user_id, locale, redirect_url, message, accept_policy, state, generation,
               delivery_attempts, send_seq, delivery_state, queued_at, next_attempt_at, reminder_lead_seconds)
        SELECT 'large', bench.id(1, 1), 1, made, made, id, nonce, expires_at, email, email_normalized, role, inviter_user_id,
               locale, redirect_url, message, accept_policy, 'pending', 1, 0, 1, 'queued', made, made, 0
          FROM bench.staging ORDER BY email_normalized
            ON CONFLICT (organization_id, email_normalized) WHERE state = 'pending' DO NOTHING
        RETURNING id, send_seq)
    INSERT INTO outbox (invitation_id, organization_id, send_seq, state, attempts, created_at, next_attempt_at)
    SELECT id, 'large', send_seq, 'queued', 0, made, made FROM written;
END $$;

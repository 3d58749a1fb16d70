-- The workloads: statements of src/store, which scripts/schema-bench has stored in bench.statement, over generated rows.
-- Each call is a transaction, as in the service.

-- The number of the next generated person, because each person is invited once.
CREATE TABLE bench.sequence (next bigint NOT NULL);
INSERT INTO bench.sequence VALUES (1000000000);

-- One line for each part of a workload.
CREATE TABLE bench.measured (workload text, cpu_nanoseconds bigint, wal_bytes bigint, rows bigint, updates bigint,
                             hot_updates bigint);

-- The processor time of a workload is that of its cheapest part, taken for all parts: other load on the machine makes
-- the other parts more expensive.
CREATE VIEW bench.total AS
SELECT workload, (min(cpu_nanoseconds::numeric / rows) * sum(rows))::bigint AS cpu_nanoseconds, sum(wal_bytes) AS wal_bytes,
       sum(rows) AS rows, sum(updates) AS updates, sum(hot_updates) AS hot_updates
  FROM bench.measured GROUP BY workload;

-- Reads the counters of this backend.
CREATE FUNCTION bench.read() RETURNS bench.measured LANGUAGE plpgsql AS $$
DECLARE reading bench.measured;
BEGIN
    -- Other sessions see these counters only after the procedure has ended.
    SELECT sum(pg_stat_get_xact_tuples_updated(t)), sum(pg_stat_get_xact_tuples_hot_updated(t))
      INTO reading.updates, reading.hot_updates
      FROM unnest(ARRAY['invitations'::regclass, 'outbox'::regclass]) t;
    reading.wal_bytes = pg_current_wal_insert_lsn() - '0/0'::pg_lsn;
    -- The kernel updates the processor time when the process sleeps.
    PERFORM pg_sleep(0.0005);
    reading.cpu_nanoseconds = split_part(pg_read_file('/proc/self/schedstat'), ' ', 1);
    RETURN reading;
END $$;

-- Stores the difference to an earlier reading.
CREATE PROCEDURE bench.store(workload text, size bigint, before bench.measured) LANGUAGE plpgsql AS $$
DECLARE after bench.measured = bench.read();
BEGIN
    INSERT INTO bench.measured
    VALUES (workload, after.cpu_nanoseconds - before.cpu_nanoseconds, after.wal_bytes - before.wal_bytes, size,
            after.updates - before.updates, after.hot_updates - before.hot_updates);
    COMMIT;
END $$;

-- Invites new people. Rows are sorted by address, and ids ascend in another order, as in the service.
CREATE PROCEDURE bench.insert(calls int, size int) LANGUAGE plpgsql AS $$
DECLARE
    statement text = (SELECT text FROM bench.statement WHERE name = 'insert_many');
    before bench.measured; first bigint; milliseconds bigint; created timestamptz;
    ids uuid[]; nonces bytea[]; expiries timestamptz[]; emails text[]; roles text[]; inviters text[]; empty text[];
    policies text[]; nulls text[]; notify boolean[]; leads int[]; reminders timestamptz[];
BEGIN
    FOR call_number IN 1 .. calls LOOP
        UPDATE bench.sequence SET next = next + size RETURNING next - size INTO first;
        milliseconds = (extract(epoch FROM bench.now()) * 1000)::bigint + first / 1000;
        created = to_timestamp(milliseconds / 1000.0);
        SELECT array_agg(bench.id(milliseconds + (first % 1000 + n) / 1000, (first + n) % 1000 + 1) ORDER BY email),
               array_agg(email ORDER BY email), array_agg(substr(sha256(email::bytea), 1, 16) ORDER BY email),
               array_agg(created + interval '14 days'), array_agg('member'::text),
               array_agg('inviter-' || n % 4 ORDER BY email), array_agg(''::text), array_agg('invited_email'::text),
               array_agg(NULL::text), array_agg(true), array_agg(0), array_agg(NULL::timestamptz)
          INTO ids, emails, nonces, expiries, roles, inviters, empty, policies, nulls, notify, leads, reminders
          FROM (SELECT n, bench.email(first + n) AS email FROM generate_series(0, size - 1) n) t;
        COMMIT;
        before = bench.read();
        EXECUTE statement
          USING CASE WHEN call_number % 2 = 0 THEN 'large' ELSE 'organization-' || call_number END, bench.id(milliseconds, 0),
                1::smallint, created, ids, nonces, expiries, emails, emails, roles, inviters, empty, empty, empty,
                policies, nulls, nulls, notify, leads, reminders;
        COMMIT;
        CALL bench.store('insert', size, before);
    END LOOP;
END $$;

-- Claims emails, 16 at a time, and settles them as sent, like a worker whose 16 connections finish at the same time.
CREATE PROCEDURE bench.deliver(calls int) LANGUAGE plpgsql AS $$
DECLARE
    claim text = (SELECT text FROM bench.statement WHERE name = 'claim');
    settle text = (SELECT text FROM bench.statement WHERE name = 'settle_many');
    before bench.measured; claimed_at timestamptz = bench.now() + interval '99 days';
    ids uuid[]; seqs int[]; organizations text[]; tokens uuid[] = array_fill(bench.id(7, 7), ARRAY[16]);
    email record;
BEGIN
    CREATE TEMP TABLE IF NOT EXISTS claimed (number int, invitation_id uuid, send_seq int, organization_id text);
    TRUNCATE claimed;
    COMMIT;
    before = bench.read();
    FOR call_number IN 1 .. calls LOOP
        ids = '{}'; seqs = '{}'; organizations = '{}';
        FOR email IN EXECUTE claim USING 16::bigint, tokens[1], claimed_at, claimed_at LOOP
            ids = ids || email.invitation_id; seqs = seqs || email.send_seq;
            organizations = organizations || email.organization_id;
        END LOOP;
        INSERT INTO claimed SELECT call_number, * FROM unnest(ids, seqs, organizations);
        COMMIT;
        IF call_number % 8 = 0 THEN
            CALL bench.store('claim', 8 * 16, before);
            before = bench.read();
        END IF;
    END LOOP;
    before = bench.read();
    FOR call_number IN 1 .. calls LOOP
        SELECT array_agg(c.invitation_id), array_agg(c.send_seq), array_agg(c.organization_id)
          INTO ids, seqs, organizations FROM claimed c WHERE c.number = call_number;
        SET LOCAL plan_cache_mode = force_custom_plan;
        EXECUTE settle
          USING ids, seqs, organizations, tokens, array_fill('sent'::text, ARRAY[16]), array_fill(0, ARRAY[16]),
                array_fill(NULL::timestamptz, ARRAY[16]), array_fill('sent'::text, ARRAY[16]),
                array_fill(NULL::text, ARRAY[16]), array_fill(NULL::smallint, ARRAY[16]), claimed_at;
        COMMIT;
        IF call_number % 8 = 0 THEN
            CALL bench.store('settle', 8 * 16, before);
            before = bench.read();
        END IF;
    END LOOP;
END $$;

-- Accepts invitations of any age, one at a time. The statement is prepared, as in the service.
CREATE PROCEDURE bench.accept(calls int) LANGUAGE plpgsql AS $$
DECLARE before bench.measured; statements text[]; first bigint = (SELECT next FROM bench.sequence);
BEGIN
    IF NOT EXISTS (SELECT FROM pg_prepared_statements WHERE name = 'accept') THEN
        EXECUTE 'PREPARE accept (text, uuid, int, text, text, text[], timestamptz, text[], uuid, text, text, text, text, text) AS '
                || (SELECT text FROM bench.statement WHERE name = 'accept');
    END IF;
    SELECT array_agg(format('EXECUTE accept(%L, %L, 1, %L, %L, %L, %L, %L, %L, %L, %L, %L, NULL, ''1'')', organization_id, id,
                            'user-' || id, 'A name', ARRAY[email_normalized], bench.now() + interval '1 day',
                            ARRAY[email_normalized], bench.id(9e12::bigint, number), 'accept', 'OK', 'a-caller'))
      INTO statements
      FROM (SELECT *, first + row_number() OVER () AS number
              FROM (SELECT * FROM invitations TABLESAMPLE SYSTEM (2) REPEATABLE (first)
                     WHERE state = 'pending' AND expires_at > bench.now() + interval '1 day'
                     ORDER BY md5(id::text) LIMIT calls) i) i;
    UPDATE bench.sequence SET next = next + calls;
    COMMIT;
    before = bench.read();
    FOR call_number IN 1 .. calls LOOP
        EXECUTE statements[call_number];
        COMMIT;
        IF call_number % 50 = 0 THEN
            CALL bench.store('accept', 50, before);
            before = bench.read();
        END IF;
    END LOOP;
END $$;

-- Queues the emails of the 100 newest invitations again, several times.
CREATE PROCEDURE bench.resend(calls int) LANGUAGE plpgsql AS $$
DECLARE
    statement text = (SELECT text FROM bench.statement WHERE name = 'resend_many');
    before bench.measured; ids uuid[]; resent_at timestamptz; size int = 100;
BEGIN
    SELECT array_agg(id ORDER BY email_normalized) INTO ids
      FROM (SELECT * FROM invitations WHERE organization_id = 'large' AND state = 'pending' ORDER BY id DESC LIMIT size) i;
    COMMIT;
    FOR call_number IN 1 .. calls LOOP
        before = bench.read();
        resent_at = bench.now() + make_interval(mins => call_number);
        EXECUTE statement
          USING 'large'::text, ids, array_fill(resent_at + interval '14 days', ARRAY[size]),
                array_fill(NULL::bytea, ARRAY[size]), 1::smallint, resent_at, resent_at, array_fill(NULL::int, ARRAY[size]);
        COMMIT;
        CALL bench.store('resend', size, before);
    END LOOP;
END $$;

ALTER TABLE invitations SET (autovacuum_enabled = off);
ALTER TABLE outbox SET (autovacuum_enabled = off);

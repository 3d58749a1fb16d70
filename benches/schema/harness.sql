-- What the experiments run with: the statements of src/store, which scripts/schema-bench has put into bench.statement,
-- called over rows that the server makes up. A call is a transaction, as in the service.
-- How far the made-up people came: a database that is kept goes on from there, because each is invited once.
CREATE TABLE IF NOT EXISTS bench.called (next bigint NOT NULL);
INSERT INTO bench.called SELECT 1000000000 WHERE NOT EXISTS (SELECT FROM bench.called);
-- The CPU of a workload is that of its cheapest piece, taken for all of them: what comes on top is the machine's.
CREATE TABLE bench.measured (workload text, cpu_nanoseconds bigint, wal_bytes bigint, rows bigint, updates bigint,
                             hot_updates bigint, wall_nanoseconds bigint);

-- How long this backend has had a processor. The pause lets the kernel bring its account up to date.
CREATE FUNCTION bench.cpu() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(0.0005);
    RETURN split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::bigint;
END $$;

-- Of this backend, which reports them to others only once the whole procedure has ended.
CREATE FUNCTION bench.updates(OUT updates bigint, OUT hot bigint) LANGUAGE sql AS $$
    SELECT sum(pg_stat_get_xact_tuples_updated(t)), sum(pg_stat_get_xact_tuples_hot_updated(t))
      FROM unnest(ARRAY['invitations'::regclass, 'outbox'::regclass]) t
$$;

-- What is noted at the beginning and the end of a piece of a workload.
CREATE PROCEDURE bench.note(piece text, size bigint, before bench.measured) LANGUAGE plpgsql AS $$
DECLARE after bench.measured = bench.look();
BEGIN
    INSERT INTO bench.measured
    VALUES (piece, after.cpu_nanoseconds - before.cpu_nanoseconds, after.wal_bytes - before.wal_bytes, size,
            after.updates - before.updates, after.hot_updates - before.hot_updates,
            after.wall_nanoseconds - before.wall_nanoseconds);
    COMMIT;
END $$;
CREATE VIEW bench.total AS
SELECT workload, (min(cpu_nanoseconds::numeric / rows) * sum(rows))::bigint AS cpu_nanoseconds, sum(wal_bytes) AS wal_bytes,
       sum(rows) AS rows, sum(updates) AS updates, sum(hot_updates) AS hot_updates,
       sum(wall_nanoseconds) AS wall_nanoseconds
  FROM bench.measured GROUP BY workload;
CREATE FUNCTION bench.look() RETURNS bench.measured LANGUAGE plpgsql AS $$
DECLARE it bench.measured;
BEGIN
    SELECT updates, hot INTO it.updates, it.hot_updates FROM bench.updates();
    it.wal_bytes = pg_current_wal_insert_lsn() - '0/0'::pg_lsn;
    it.wall_nanoseconds = (extract(epoch FROM clock_timestamp()) * 1e9)::bigint;
    it.cpu_nanoseconds = bench.cpu();
    RETURN it;
END $$;

-- New people: sorted by address, with ids that ascend in the order they were named in, which is another one.
CREATE PROCEDURE bench.insert(calls int, size int, workload text DEFAULT 'insert', statement text DEFAULT 'insert_many') LANGUAGE plpgsql AS $$
DECLARE
    text text = (SELECT s.text FROM bench.statement s WHERE s.name = insert.statement);
    before bench.measured; first bigint;
    milliseconds bigint; made timestamptz;
    ids uuid[]; nonces bytea[]; expiries timestamptz[]; emails text[]; roles text[]; inviters text[]; nothing text[];
    policies text[]; nulls text[]; notify boolean[]; leads int[]; reminders timestamptz[];
BEGIN
    FOR turn IN 1 .. calls LOOP
        UPDATE bench.called SET next = next + size RETURNING next - size INTO first;
        milliseconds = (extract(epoch FROM bench.now()) * 1000)::bigint + first / 1000;
        made = to_timestamp(milliseconds / 1000.0);
        SELECT array_agg(bench.id(milliseconds + (first % 1000 + n) / 1000, (first + n) % 1000 + 1) ORDER BY email), array_agg(email ORDER BY email),
               array_agg(substr(sha256(email::bytea), 1, 16) ORDER BY email), array_agg(made + interval '14 days'),
               array_agg('member'::text), array_agg('inviter-' || n % 4 ORDER BY email), array_agg(''::text),
               array_agg('invited_email'::text), array_agg(NULL::text), array_agg(true), array_agg(0),
               array_agg(NULL::timestamptz)
          INTO ids, emails, nonces, expiries, roles, inviters, nothing, policies, nulls, notify, leads, reminders
          FROM (SELECT n, bench.email(first + n) AS email FROM generate_series(0, size - 1) n) t;
        COMMIT;
        before = bench.look();
        EXECUTE text
          USING CASE WHEN turn % 2 = 0 THEN 'large' ELSE 'organization-' || turn END, bench.id(milliseconds, 0), 1::smallint,
                made, ids, nonces, expiries, emails, emails, roles, inviters, nothing, nothing, nothing, policies, nulls,
                nulls, notify, leads, reminders;
        COMMIT;
        CALL bench.note(workload, size, before);
    END LOOP;
END $$;

-- Claims and settles mails, 16 at a time, as a worker does whose connections end at the same moment.
CREATE PROCEDURE bench.deliver(calls int) LANGUAGE plpgsql AS $$
DECLARE
    claim text = (SELECT text FROM bench.statement WHERE name = 'claim');
    settle text = (SELECT text FROM bench.statement WHERE name = 'settle_many');
    before bench.measured = bench.look(); made timestamptz = bench.now() + interval '99 days';
    ids uuid[]; seqs int[]; organizations text[]; tokens uuid[] = array_fill(bench.id(7, 7), ARRAY[16]);
    one record;
BEGIN
    CREATE TEMP TABLE IF NOT EXISTS claimed (at_turn int, invitation_id uuid, send_seq int, organization_id text);
    TRUNCATE claimed;
    COMMIT;
    before = bench.look();
    FOR turn IN 1 .. calls LOOP
        ids = '{}'; seqs = '{}'; organizations = '{}';
        FOR one IN EXECUTE claim USING 16::bigint, tokens[1], made, made LOOP
            ids = ids || one.invitation_id; seqs = seqs || one.send_seq; organizations = organizations || one.organization_id;
        END LOOP;
        INSERT INTO claimed SELECT turn, * FROM unnest(ids, seqs, organizations);
        COMMIT;
        IF turn % 8 = 0 THEN
            CALL bench.note('claim', 8 * 16, before);
            before = bench.look();
        END IF;
    END LOOP;
    before = bench.look();
    FOR turn IN 1 .. calls LOOP
        SELECT array_agg(c.invitation_id), array_agg(c.send_seq), array_agg(c.organization_id) INTO ids, seqs, organizations
          FROM claimed c WHERE c.at_turn = turn;
        SET LOCAL plan_cache_mode = force_custom_plan;
        EXECUTE settle
          USING ids, seqs, organizations, tokens, array_fill('sent'::text, ARRAY[16]), array_fill(0, ARRAY[16]),
                array_fill(NULL::timestamptz, ARRAY[16]), array_fill('sent'::text, ARRAY[16]),
                array_fill(NULL::text, ARRAY[16]), array_fill(NULL::smallint, ARRAY[16]), made;
        COMMIT;
        IF turn % 8 = 0 THEN
            CALL bench.note('settle', 8 * 16, before);
            before = bench.look();
        END IF;
    END LOOP;
END $$;

-- People accept, one at a time, whoever was invited when; the statement is prepared, as the service has it.
CREATE PROCEDURE bench.accept(calls int, workload text DEFAULT 'accept', statement text DEFAULT 'accept') LANGUAGE plpgsql AS $$
DECLARE before bench.measured; statements text[]; sample bigint = (SELECT next FROM bench.called);
BEGIN
    IF NOT EXISTS (SELECT FROM pg_prepared_statements p WHERE p.name = accept.statement) THEN
        EXECUTE format('PREPARE %I', statement) || '(text, uuid, int, text, text, text[], timestamptz, text[], uuid, text, text, text, text, text) AS '
                || (SELECT s.text FROM bench.statement s WHERE s.name = accept.statement);
    END IF;
    SELECT array_agg(format('EXECUTE %I(%L, %L, 1, %L, %L, %L, %L, %L, %L, %L, %L, %L, NULL, ''1'')', statement, organization_id, id,
                            'user-' || id, 'A name', ARRAY[email_normalized], bench.now() + interval '1 day',
                            ARRAY[email_normalized], bench.id(9e12::bigint, number), 'accept', 'OK', 'a-caller'))
      INTO statements
      FROM (SELECT *, row_number() OVER () + (SELECT next FROM bench.called) AS number
              FROM (SELECT * FROM invitations TABLESAMPLE SYSTEM (2) REPEATABLE (sample)
                     WHERE state = 'pending' AND expires_at > bench.now() + interval '1 day'
                     ORDER BY md5(id::text) LIMIT calls) i) i;
    UPDATE bench.called SET next = next + calls;
    COMMIT;
    before = bench.look();
    FOR turn IN 1 .. calls LOOP
        EXECUTE statements[turn];
        COMMIT;
        IF turn % 50 = 0 THEN
            CALL bench.note(workload, 50, before);
            before = bench.look();
        END IF;
    END LOOP;
END $$;

-- A hundred of the newest invitations are mailed again, a few times over.
CREATE PROCEDURE bench.resend(calls int) LANGUAGE plpgsql AS $$
DECLARE
    text text = (SELECT text FROM bench.statement WHERE name = 'resend_many');
    before bench.measured; ids uuid[]; made timestamptz; size int = 100;
BEGIN
    SELECT array_agg(id ORDER BY email_normalized) INTO ids
      FROM (SELECT * FROM invitations WHERE organization_id = 'large' AND state = 'pending' ORDER BY id DESC LIMIT size) i;
    COMMIT;
    before = bench.look();
    FOR turn IN 1 .. calls LOOP
        made = bench.now() + make_interval(mins => turn);
        EXECUTE text
          USING 'large'::text, ids, array_fill(made + interval '14 days', ARRAY[size]), array_fill(NULL::bytea, ARRAY[size]),
                1::smallint, made, made, array_fill(NULL::int, ARRAY[size]);
        COMMIT;
        CALL bench.note('resend', size, before);
        before = bench.look();
    END LOOP;
END $$;

ALTER TABLE invitations SET (autovacuum_enabled = off);
ALTER TABLE outbox SET (autovacuum_enabled = off);

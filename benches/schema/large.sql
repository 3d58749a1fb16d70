-- What reads and deletes cost where there is much: pages of List by the statements of src/store, and the same tables in
-- partitions (partitions.sql). Times are what a statement takes on the server, planned as store::plan_pages has it.
CREATE TABLE IF NOT EXISTS bench.timed (what text, place text, number int, milliseconds numeric, rows bigint);
TRUNCATE bench.timed;

CREATE OR REPLACE PROCEDURE bench.page(what text, place text, statement text, times int, states text[], before uuid,
                                       page_size bigint, inviter text, batch uuid, delivery text) LANGUAGE plpgsql AS $$
DECLARE
    text text = (SELECT s.text FROM bench.statement s WHERE s.name = statement); started timestamptz; found bigint;
    stored text[] = coalesce(states, '{pending,accepted,declined,revoked,expired}');
    nothing text = NULL; no_batch uuid = NULL;
BEGIN
    SET LOCAL plan_cache_mode = force_custom_plan;
    SET LOCAL enable_bitmapscan = off;
    SET LOCAL jit = off;
    FOR number IN 1 .. times LOOP
        started = clock_timestamp();
        IF statement ~ '^list_of_states' THEN
            EXECUTE text USING 'large'::text, before, stored, bench.now(), delivery, page_size,
                               stored @> '{expired}' AND NOT stored @> '{pending}', stored @> '{expired,pending}';
        ELSIF statement ~ '^list_of_inviter' THEN
            EXECUTE text USING 'large'::text, before, coalesce(states, '{}'), bench.now(), delivery, page_size, inviter;
        ELSE
            EXECUTE text USING 'large'::text, before, coalesce(states, '{}'), bench.now(), delivery, page_size, batch, nothing;
        END IF;
        GET DIAGNOSTICS found = ROW_COUNT;
        INSERT INTO bench.timed
        SELECT what, place, number, extract(epoch FROM clock_timestamp() - started) * 1000, found;
    END LOOP;
END $$;

CREATE OR REPLACE PROCEDURE bench.pages(place text, suffix text, times int) LANGUAGE plpgsql AS $$
DECLARE
    last uuid = 'ffffffff-ffff-ffff-ffff-ffffffffffff'; middle uuid; deep uuid; batch uuid; late_batch uuid; one record;
    target text = 'invitations'; started timestamptz; id uuid;
BEGIN
    IF suffix <> '' THEN target = substr(suffix, 2); END IF;
    SELECT i.id, i.batch_id INTO middle, batch FROM invitations i WHERE organization_id = 'large' AND state = 'accepted'
     ORDER BY i.id DESC OFFSET 380000 LIMIT 1;
    SELECT i.id INTO deep FROM invitations i WHERE organization_id = 'large' AND state = 'accepted'
     ORDER BY i.id DESC OFFSET 750000 LIMIT 1;
    SELECT i.batch_id INTO late_batch FROM invitations i WHERE organization_id = 'large' AND state = 'pending'
     ORDER BY i.id DESC LIMIT 1;
    CALL bench.page('all, first page', place, 'list_of_states' || suffix, times, NULL, last, 101, NULL, NULL, NULL);
    CALL bench.page('all, from the middle', place, 'list_of_states' || suffix, times, NULL, middle, 101, NULL, NULL, NULL);
    CALL bench.page('all, near the end', place, 'list_of_states' || suffix, times, NULL, deep, 101, NULL, NULL, NULL);
    CALL bench.page('all, from the middle, 1,000 a page', place, 'list_of_states' || suffix, times, NULL, middle, 1001, NULL, NULL, NULL);
    CALL bench.page('pending, from the middle: none', place, 'list_of_states' || suffix, times, '{pending}', middle, 101, NULL, NULL, NULL);
    CALL bench.page('accepted, from the middle', place, 'list_of_states' || suffix, times, '{accepted}', middle, 101, NULL, NULL, NULL);
    CALL bench.page('expired, first page', place, 'list_of_states' || suffix, times, '{expired}', last, 101, NULL, NULL, NULL);
    CALL bench.page('declined: 400, the oldest', place, 'list_of_states' || suffix, times, '{declined}', last, 101, NULL, NULL, NULL);
    CALL bench.page('inviter of a quarter, from the middle', place, 'list_of_inviter' || suffix, times, NULL, middle, 101, 'inviter-1', NULL, NULL);
    CALL bench.page('inviter of 400, the oldest', place, 'list_of_inviter' || suffix, times, NULL, last, 101, 'inviter-rare', NULL, NULL);
    CALL bench.page('batch of 1,000, the newest', place, 'list_of_batch' || suffix, times, NULL, last, 101, NULL, late_batch, NULL);
    CALL bench.page('batch of 1,000 in the middle', place, 'list_of_batch' || suffix, times, NULL, last, 101, NULL, batch, NULL);
    CALL bench.page('mail sent, from the middle', place, 'list_of_states' || suffix, times, NULL, middle, 101, NULL, NULL, 'sent');
    CALL bench.page('mail bounced: 400, the oldest', place, 'list_of_states' || suffix, 3, NULL, last, 101, NULL, NULL, 'bounced');
    SET LOCAL plan_cache_mode = auto;
    SET LOCAL enable_bitmapscan = on;
    FOR one IN SELECT i.* FROM invitations i TABLESAMPLE SYSTEM (0.01) REPEATABLE (7) LIMIT times LOOP
        started = clock_timestamp();
        EXECUTE format('SELECT * FROM %I WHERE id = ANY($1) AND organization_id = $2', target)
          USING ARRAY[one.id], one.organization_id;
        INSERT INTO bench.timed SELECT 'Get', place, 1, extract(epoch FROM clock_timestamp() - started) * 1000, 1;
        started = clock_timestamp();
        EXECUTE format('SELECT * FROM %I WHERE id = $1', target) USING one.id;
        INSERT INTO bench.timed SELECT 'by a token: id alone', place, 1, extract(epoch FROM clock_timestamp() - started) * 1000, 1;
        IF one.email_normalized IS NOT NULL THEN
            started = clock_timestamp();
            EXECUTE format('SELECT * FROM %I WHERE email_normalized = $1', target) USING one.email_normalized;
            INSERT INTO bench.timed SELECT 'by an address', place, 1, extract(epoch FROM clock_timestamp() - started) * 1000, 1;
        END IF;
    END LOOP;
END $$;

CREATE OR REPLACE VIEW bench.timed_summary AS
SELECT rpad(what, 42) || ' ' || string_agg(format('%s: p50 %s ms, most %s', place, round(p50::numeric, 2), round(most, 2)), ' | ' ORDER BY place DESC) AS line,
       min(position) AS position
  FROM (SELECT what, place, percentile_cont(0.5) WITHIN GROUP (ORDER BY milliseconds) AS p50, max(milliseconds) AS most,
               min(ctid) AS position FROM bench.timed GROUP BY what, place) t
 GROUP BY what;

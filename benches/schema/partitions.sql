-- The same invitations in other tables: by a hash of the organization, and by the month of the id. Both take the columns,
-- checks and indexes of invitations; indexes are made last, as in fill.sql. In one transaction, so that a server at
-- wal_level minimal writes nothing twice.
BEGIN;
CREATE TABLE by_organization (LIKE invitations INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
    PARTITION BY HASH (organization_id);
CREATE TABLE by_month (LIKE invitations INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (id);
DO $$
DECLARE month timestamptz = '2025-09-01 00:00:00+00'; bounds uuid[];
BEGIN
    FOR n IN 0 .. 15 LOOP
        EXECUTE format('CREATE TABLE by_organization_%s PARTITION OF by_organization
                        FOR VALUES WITH (MODULUS 16, REMAINDER %s) WITH (fillfactor = 85)', n, n);
    END LOOP;
    WHILE month < '2027-01-01' LOOP
        SELECT array_agg((lpad(to_hex((extract(epoch FROM m) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid ORDER BY m)
          INTO bounds FROM unnest(ARRAY[month, month + interval '1 month']) m;
        EXECUTE format('CREATE TABLE %I PARTITION OF by_month FOR VALUES FROM (%L) TO (%L) WITH (fillfactor = 85)',
                       'by_month_' || to_char(month, 'YYYY_MM'), bounds[1], bounds[2]);
        month = month + interval '1 month';
    END LOOP;
END $$;
INSERT INTO by_organization SELECT * FROM invitations ORDER BY id;
INSERT INTO by_month SELECT * FROM invitations ORDER BY id;
ALTER TABLE by_organization ADD PRIMARY KEY (id, organization_id);
ALTER TABLE by_month ADD PRIMARY KEY (id, organization_id);
-- The pending key holds no id, so by month it could be unique within each month alone: there it is an index like any other.
DO $$
DECLARE target text; one text;
BEGIN
    FOREACH target IN ARRAY ARRAY['by_organization', 'by_month'] LOOP
        FOR one IN SELECT regexp_replace(pg_get_indexdef(indexrelid), 'INDEX .* ON public.invitations', 'INDEX ON ' || target)
                     FROM pg_index WHERE indrelid = 'invitations'::regclass AND NOT indisprimary LOOP
            IF target = 'by_month' THEN one = replace(one, 'UNIQUE ', ''); END IF;
            EXECUTE one;
        END LOOP;
    END LOOP;
END $$;
COMMIT;
VACUUM (ANALYZE) by_organization, by_month;

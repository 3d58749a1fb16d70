-- The same invitations in another table, :target: by_organization, by a hash of the organization, or by_month, by the month
-- of the id. It takes the columns, checks and indexes of invitations; indexes are made last, as in fill.sql. In one
-- transaction, so that a server at wal_level minimal writes nothing twice.
SELECT :'target' = 'by_month' AS is_by_month \gset
BEGIN;
\if :is_by_month
CREATE TABLE by_month (LIKE invitations INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (id);
DO $$
DECLARE month timestamptz = '2025-09-01 00:00:00+00'; bounds uuid[];
BEGIN
    WHILE month < '2027-01-01' LOOP
        SELECT array_agg((lpad(to_hex((extract(epoch FROM m) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid ORDER BY m)
          INTO bounds FROM unnest(ARRAY[month, month + interval '1 month']) m;
        EXECUTE format('CREATE TABLE %I PARTITION OF by_month FOR VALUES FROM (%L) TO (%L) WITH (fillfactor = 85)',
                       'by_month_' || to_char(month, 'YYYY_MM'), bounds[1], bounds[2]);
        month = month + interval '1 month';
    END LOOP;
END $$;
\else
CREATE TABLE by_organization (LIKE invitations INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
    PARTITION BY HASH (organization_id);
DO $$
BEGIN
    FOR n IN 0 .. 15 LOOP
        EXECUTE format('CREATE TABLE by_organization_%s PARTITION OF by_organization
                        FOR VALUES WITH (MODULUS 16, REMAINDER %s) WITH (fillfactor = 85)', n, n);
    END LOOP;
END $$;
\endif
INSERT INTO :target SELECT * FROM invitations;
ALTER TABLE :target ADD PRIMARY KEY (id, organization_id);
-- The pending key holds no id, so by month it could be unique within each month alone: there it is an index like any other.
SELECT replace(regexp_replace(pg_get_indexdef(indexrelid), 'INDEX .* ON public.invitations', 'INDEX ON ' || :'target'),
               'UNIQUE ', CASE WHEN :'target' = 'by_month' THEN '' ELSE 'UNIQUE ' END)
  FROM pg_index WHERE indrelid = 'invitations'::regclass AND NOT indisprimary \gexec
COMMIT;
VACUUM (ANALYZE) :target;

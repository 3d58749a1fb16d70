# Sourced by scripts/schema-bench: the large database, and the same rows in partitions.

# The same statements over another table; by month nothing can conflict, because nothing there is unique.
statements_over() {
  psql schema_bench_large -c "DELETE FROM bench.statement WHERE name LIKE '%-$1'" -c "
    INSERT INTO bench.statement
    SELECT name || '-$1',
           CASE WHEN '$1' = 'by_month'
                THEN regexp_replace(replace(text, 'invitations', '$1'), 'ON CONFLICT \(organization_id, email_normalized\)[^\n]*', '')
                ELSE replace(text, 'invitations', '$1') END
      FROM bench.statement WHERE name !~ '-'"
}

# What leaves a table at its old end: 20,000 rows that are deleted as the retention does, 500 at a time, or a month of it.
deletions() {
  psql schema_bench_large <<SQL
CREATE OR REPLACE PROCEDURE bench.delete_oldest(place text) LANGUAGE plpgsql AS \$\$
DECLARE before bench.measured;
    text text = (SELECT replace(s.text, 'invitations', place) FROM bench.statement s WHERE s.name = 'delete_ended');
BEGIN
    FOR turn IN 1 .. 40 LOOP
        before = bench.look();
        EXECUTE text USING bench.now(), 500::bigint;
        COMMIT;
        CALL bench.note('delete of 500, ' || place, 500, before);
    END LOOP;
END \$\$;
CALL bench.delete_oldest('$1');
SQL
  [[ $1 != by_month ]] || psql schema_bench_large -c '\timing on' -c 'DROP TABLE by_month_2025_10'
}

# As the program leaves them when it has migrated: it starts on a copy of this database, by scripts/bench.
remember_migrations() {
  local migration name
  psql schema_bench_large -c 'CREATE TABLE IF NOT EXISTS _sqlx_migrations (version bigint PRIMARY KEY,
    description text NOT NULL, installed_on timestamptz NOT NULL DEFAULT now(), success boolean NOT NULL,
    checksum bytea NOT NULL, execution_time bigint NOT NULL)'
  for migration in migrations/*.sql; do
    name=$(basename "$migration" .sql)
    psql schema_bench_large -c "INSERT INTO _sqlx_migrations VALUES (${name%%_*}::bigint, '${name#*_}', now(), true,
      '\\x$(sha384sum "$migration" | cut -d ' ' -f 1)', 0) ON CONFLICT (version) DO UPDATE SET checksum = excluded.checksum"
  done
}

large() {
  local table place
  if [[ $(psql postgres -c "SELECT 1 FROM pg_database WHERE datname = 'schema_bench_large'") != 1 ]]; then
    psql postgres -c 'CREATE DATABASE schema_bench_large'
    local migration
    for migration in migrations/*.sql; do psql schema_bench_large -1 -f "$migration"; done
    psql schema_bench_large -v rows=10000000 -v organizations=900 -v days=400 -f benches/schema/fill.sql
    # As the sweeper leaves it.
    psql schema_bench_large -c "UPDATE invitations SET state = 'expired' WHERE state = 'pending' AND expires_at <= bench.now()" \
      -c 'VACUUM (ANALYZE) invitations'
  fi
  remember_migrations
  psql schema_bench_large -c 'SET client_min_messages = error' \
    -c 'DROP TABLE IF EXISTS bench.statement, bench.measured CASCADE' \
    -c 'DROP FUNCTION IF EXISTS bench.cpu, bench.updates, bench.look' \
    -c 'DROP PROCEDURE IF EXISTS bench.note, bench.insert, bench.deliver, bench.accept, bench.resend'
  statements | psql schema_bench_large -1
  psql schema_bench_large -c 'SET client_min_messages = error' -f benches/schema/harness.sql
  psql schema_bench_large -c 'SET client_min_messages = error' -f benches/schema/large.sql
  for table in invitations by_organization by_month; do
    place=$table
    # One after the other, because each is as large as the first.
    if [[ $table != invitations ]]; then
      psql schema_bench_large -c 'SET client_min_messages = error' -c "DROP TABLE IF EXISTS $table"
      psql schema_bench_large -v target="$table" -f benches/schema/partitions.sql
      statements_over "$table"
    fi
    local suffix=-$table
    [[ $table != invitations ]] || suffix=''
    psql schema_bench_large -c "CALL bench.pages('$place', '$suffix', 51)" -c "CALL bench.pages('$place', '$suffix', 3)"
    # After a checkpoint and a warm-up, because the plain table was written long ago and a partition just now.
    psql schema_bench_large -c CHECKPOINT -c "CALL bench.insert(10, 1000, 'warm-up', 'insert_many$suffix')" \
      -c "CALL bench.insert(10, 1000, 'insert $place', 'insert_many$suffix')" \
      -c "CALL bench.accept(300, 'accept $place', 'accept$suffix')"
    psql schema_bench_large -c "SELECT format('$place: %s, indexes %s', pg_size_pretty(sum(pg_table_size(t))), pg_size_pretty(sum(pg_indexes_size(t))))
      FROM (SELECT relid AS t FROM pg_partition_tree('$table') WHERE isleaf UNION SELECT '$table'::regclass) t"
    deletions "$table"
    [[ $table == invitations ]] || psql schema_bench_large -c "DROP TABLE $table"
  done
  # What was invited into partitions is gone, and whoever starts on a copy of this has an autovacuum.
  psql schema_bench_large -c 'DELETE FROM outbox o WHERE NOT EXISTS (SELECT FROM invitations i WHERE i.id = o.invitation_id)' \
    -c 'ALTER TABLE invitations RESET (autovacuum_enabled)' -c 'ALTER TABLE outbox RESET (autovacuum_enabled)'
  psql schema_bench_large -c 'SELECT line FROM bench.timed_summary ORDER BY position' -c "
    SELECT format('%s: %s us CPU a row, %s bytes of WAL', workload, round(min(cpu_nanoseconds::numeric / rows) / 1000, 1), round(sum(wal_bytes) / sum(rows)))
      FROM bench.measured WHERE workload <> 'warm-up' GROUP BY workload ORDER BY workload DESC"
}

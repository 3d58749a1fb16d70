# Sourced by scripts/schema-bench: runs benches/schema/roads.sql and the chunks, in turns, in the copy "a".
roads() {
  local turns=$rounds size turn number=0 file=$folder/staging
  copy a
  psql schema_bench_a -f benches/schema/roads.sql
  psql postgres -c CHECKPOINT
  for ((turn = 0; turn <= turns; turn++)); do
    # The first turn warms up.
    [[ $turn -ne 1 ]] || psql schema_bench_a -c 'TRUNCATE bench.measured'
    psql schema_bench_a -c 'CALL bench.roads(2, 1000)'
    for size in 250 500 1000 2000 5000 10000; do
      psql schema_bench_a -c "CALL bench.insert($((10000 / size > 4 ? 4 : 10000 / size)), $size, 'chunk of $size')"
    done
    for size in 1000 2000 5000 10000; do
      number=$((number + 1))
      psql schema_bench_a -c "\\copy (SELECT bench.id(${number}77777777, n), substr(sha256(n::text::bytea), 1, 16), bench.now() + interval '14 days', e, e, 'member'::text, 'inviter-1'::text, ''::text, ''::text, ''::text, 'invited_email'::text FROM (SELECT n, bench.email(${number}000000 - n) e FROM generate_series(1, $size) n) t) TO '$file' (FORMAT binary)"
      # One session, so that its account of CPU has both halves.
      psql schema_bench_a <<SQL
SELECT cpu_nanoseconds AS cpu, wal_bytes AS wal, wall_nanoseconds AS wall FROM bench.look() \gset
BEGIN;
TRUNCATE bench.staging;
\copy bench.staging FROM '$file' (FORMAT binary)
CALL bench.unstage($size);
COMMIT;
INSERT INTO bench.measured
SELECT 'COPY of $size into a table, then INSERT', cpu_nanoseconds - :cpu, wal_bytes - :wal, $size, 0, 0, wall_nanoseconds - :wall
  FROM bench.look();
SQL
    done
  done
  psql schema_bench_a -c "
    SELECT rpad(workload, 45) || format(' %s us CPU, %s bytes of WAL a row; a call %s ms; %s rows/s of one session',
           round(min(cpu_nanoseconds::numeric / rows) / 1000, 1),
           round((percentile_cont(0.5) WITHIN GROUP (ORDER BY wal_bytes::numeric / rows))::numeric),
           round((percentile_cont(0.5) WITHIN GROUP (ORDER BY wall_nanoseconds))::numeric / 1e6, 1),
           round((percentile_cont(0.5) WITHIN GROUP (ORDER BY rows * 1e9 / wall_nanoseconds))::numeric))
      FROM bench.measured GROUP BY workload ORDER BY split_part(workload, ' ', 1), min(rows), workload"
}

-- What happened to invitations, and how many of a batch are where. An event is written by the statement that makes it, a
-- row for each transition of a statement and not for each invitation: ten thousand that were made are one row of ids.

CREATE TABLE invitation_events (
    transaction_id     xid8        NOT NULL DEFAULT pg_current_xact_id(),
    seq                bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    batch_id           uuid        NOT NULL,
    created_at         timestamptz NOT NULL,
    -- Told without reading the ids, which lie elsewhere once they are many.
    invitation_count   integer     NOT NULL GENERATED ALWAYS AS (cardinality(invitation_ids)) STORED,
    event_type         text        NOT NULL,
    old_state          text,
    old_delivery_state text,
    new_state          text        NOT NULL,
    new_delivery_state text        NOT NULL,
    organization_id    text COLLATE "C" NOT NULL,
    invitation_ids     uuid[]      NOT NULL,
    CONSTRAINT invitation_events_pkey PRIMARY KEY (organization_id, transaction_id, seq),
    -- A shape and not a list: while two versions run side by side, the newer one writes what the older does not know.
    CONSTRAINT invitation_events_event_type_check CHECK (event_type ~ '^[a-z_]{1,40}$'),
    CONSTRAINT invitation_events_old_check CHECK ((old_state IS NULL) = (old_delivery_state IS NULL)),
    CONSTRAINT invitation_events_invitation_ids_check CHECK (cardinality(invitation_ids) > 0)
);
-- Ids are half chance: trying to make them smaller is work for nothing.
ALTER TABLE invitation_events ALTER COLUMN invitation_ids SET STORAGE EXTERNAL;
-- What was not folded into the counts yet, and the oldest for the retention.
CREATE INDEX invitation_events_transaction_id_idx ON invitation_events (transaction_id);
COMMENT ON TABLE invitation_events IS 'What happened to invitations, in the transactions that made it happen; names nobody';
COMMENT ON COLUMN invitation_events.transaction_id IS 'The transaction. Readers go by it: below the oldest one that still runs, nothing can be added';
COMMENT ON COLUMN invitation_events.seq IS 'Tells the rows of one transaction apart';
COMMENT ON COLUMN invitation_events.batch_id IS 'The batch that made the invitations';
COMMENT ON COLUMN invitation_events.created_at IS 'When it happened';
COMMENT ON COLUMN invitation_events.invitation_count IS 'How many invitations';
COMMENT ON COLUMN invitation_events.event_type IS 'What happened, such as created, sent or accepted';
COMMENT ON COLUMN invitation_events.old_state IS 'The state they were in; null if they were made';
COMMENT ON COLUMN invitation_events.old_delivery_state IS 'The delivery state they were in; null if they were made';
COMMENT ON COLUMN invitation_events.new_state IS 'The state they are in since';
COMMENT ON COLUMN invitation_events.new_delivery_state IS 'The delivery state they are in since';
COMMENT ON COLUMN invitation_events.organization_id IS 'Their organization';
COMMENT ON COLUMN invitation_events.invitation_ids IS 'Which invitations, ascending';

CREATE TABLE batches (
    id              uuid        NOT NULL,
    transaction_id  xid8        NOT NULL DEFAULT pg_current_xact_id(),
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    item_count      bigint      NOT NULL,
    failed_count    bigint      NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    CONSTRAINT batches_pkey PRIMARY KEY (organization_id, id)
) WITH (fillfactor = 85);
CREATE INDEX batches_created_at_idx ON batches (created_at);
COMMENT ON TABLE batches IS 'Calls that made invitations';
COMMENT ON COLUMN batches.id IS 'UUIDv7, made by the service';
COMMENT ON COLUMN batches.transaction_id IS 'The transaction of its first items: its events begin there';
COMMENT ON COLUMN batches.created_at IS 'When its first items were done';
COMMENT ON COLUMN batches.updated_at IS 'When its last items were done';
COMMENT ON COLUMN batches.item_count IS 'How many items were done';
COMMENT ON COLUMN batches.failed_count IS 'How many of them failed';
COMMENT ON COLUMN batches.organization_id IS 'The organization';

CREATE TABLE batch_counts (
    batch_id         uuid   NOT NULL,
    invitation_count bigint NOT NULL,
    state            text   NOT NULL,
    delivery_state   text   NOT NULL,
    organization_id  text COLLATE "C" NOT NULL,
    CONSTRAINT batch_counts_pkey PRIMARY KEY (organization_id, batch_id, state, delivery_state)
) WITH (fillfactor = 50);
COMMENT ON TABLE batch_counts IS 'How many invitations of a batch are where, by all events that were folded in; one writer alone, so that nobody waits for a counter';
COMMENT ON COLUMN batch_counts.batch_id IS 'The batch';
COMMENT ON COLUMN batch_counts.invitation_count IS 'How many';
COMMENT ON COLUMN batch_counts.state IS 'The state, as it is written down';
COMMENT ON COLUMN batch_counts.delivery_state IS 'The delivery state';
COMMENT ON COLUMN batch_counts.organization_id IS 'The organization';

CREATE TABLE event_fold (
    id            smallint NOT NULL,
    folded_before xid8     NOT NULL,
    CONSTRAINT event_fold_pkey PRIMARY KEY (id),
    CONSTRAINT event_fold_one_check CHECK (id = 1)
);
INSERT INTO event_fold (id, folded_before) VALUES (1, pg_current_xact_id());
COMMENT ON TABLE event_fold IS 'How far events were folded into counts; its one row is the lock of whoever folds';
COMMENT ON COLUMN event_fold.id IS '1';
COMMENT ON COLUMN event_fold.folded_before IS 'Events of all transactions before this one are in the counts';

CREATE TABLE stream_chunks (
    batch_id        uuid        NOT NULL,
    first_index     bigint      NOT NULL,
    next_index      bigint      NOT NULL,
    created_at      timestamptz NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    item_hashes     bytea       NOT NULL,
    response        bytea       NOT NULL,
    CONSTRAINT stream_chunks_pkey PRIMARY KEY (organization_id, batch_id, first_index),
    CONSTRAINT stream_chunks_index_check CHECK (first_index >= 0 AND next_index > first_index),
    CONSTRAINT stream_chunks_item_hashes_check CHECK (octet_length(item_hashes) = 8 * (next_index - first_index))
);
-- Hashes do not get smaller.
ALTER TABLE stream_chunks ALTER COLUMN item_hashes SET STORAGE EXTERNAL;
CREATE INDEX stream_chunks_created_at_idx ON stream_chunks (created_at);
COMMENT ON TABLE stream_chunks IS 'Answers of streams that may be sent again for 24 hours, a row for each chunk; the request id of a stream names its batch in idempotency_keys. Hold no address';
COMMENT ON COLUMN stream_chunks.batch_id IS 'The batch of the stream';
COMMENT ON COLUMN stream_chunks.first_index IS 'The place of the chunk''s first item';
COMMENT ON COLUMN stream_chunks.next_index IS 'The place after its last item';
COMMENT ON COLUMN stream_chunks.created_at IS 'When it was done';
COMMENT ON COLUMN stream_chunks.organization_id IS 'The organization';
COMMENT ON COLUMN stream_chunks.item_hashes IS 'The first 8 bytes of the SHA-256 of each item: another one at the same place is refused';
COMMENT ON COLUMN stream_chunks.response IS 'The results without addresses, notes and metadata';

-- Batches that were made before, as they are now: nobody makes or changes an invitation meanwhile.
LOCK TABLE invitations IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO batches (id, created_at, updated_at, item_count, failed_count, organization_id)
SELECT batch_id, min(created_at), max(created_at), count(*), 0, organization_id
  FROM invitations
 GROUP BY organization_id, batch_id;
INSERT INTO batch_counts (batch_id, invitation_count, state, delivery_state, organization_id)
SELECT batch_id, count(*), state, delivery_state, organization_id
  FROM invitations
 GROUP BY organization_id, batch_id, state, delivery_state;

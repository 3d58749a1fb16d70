-- Who did what, for whom, and what came of it. Written with the act, never changed, deleted by the retention alone.

CREATE TABLE audit_events (
    id                   uuid        NOT NULL,
    invitation_id        uuid,
    batch_id             uuid,
    request_id           uuid,
    created_at           timestamptz NOT NULL,
    organization_id      text COLLATE "C" NOT NULL,
    action               text        NOT NULL,
    outcome              text        NOT NULL,
    caller               text COLLATE "C" NOT NULL,
    on_behalf_of_user_id text COLLATE "C",
    subject_user_id      text COLLATE "C",
    counts               jsonb       NOT NULL,
    CONSTRAINT audit_events_pkey PRIMARY KEY (organization_id, id),
    -- Shapes and not lists: while two versions run side by side, the newer one writes what the older does not know.
    CONSTRAINT audit_events_action_check CHECK (action ~ '^[a-z_]{1,40}$'),
    CONSTRAINT audit_events_outcome_check CHECK (outcome ~ '^[A-Z_]{1,40}$'),
    -- Numbers alone: there is no place for words.
    CONSTRAINT audit_events_counts_check
        CHECK (jsonb_typeof(counts) = 'object'
               AND NOT jsonb_path_exists(counts, '$.* ? (@.type() != "number")'))
);
-- Newest first over all organizations, and oldest first for the retention: ids ascend with time.
CREATE INDEX audit_events_id_idx ON audit_events (id);
-- What became of one invitation.
CREATE INDEX audit_events_invitation_id_idx ON audit_events (invitation_id, id) WHERE invitation_id IS NOT NULL;

COMMENT ON TABLE audit_events IS 'What callers did; holds no address, token, name or text of theirs, and is never changed';
COMMENT ON COLUMN audit_events.id IS 'UUIDv7 of the time of the act';
COMMENT ON COLUMN audit_events.invitation_id IS 'The invitation, where it was about one';
COMMENT ON COLUMN audit_events.batch_id IS 'The batch that BulkCreate made';
COMMENT ON COLUMN audit_events.request_id IS 'The caller''s UUID for the call, if it gave one';
COMMENT ON COLUMN audit_events.created_at IS 'When it was done';
COMMENT ON COLUMN audit_events.organization_id IS 'The organization it was done in; empty for what belongs to none';
COMMENT ON COLUMN audit_events.action IS 'What was asked: mostly the method''s name';
COMMENT ON COLUMN audit_events.outcome IS 'OK, or the reason it was refused for';
COMMENT ON COLUMN audit_events.caller IS 'Name of the caller; with a colon for who came another way than by the API';
COMMENT ON COLUMN audit_events.on_behalf_of_user_id IS 'The user for whom the caller acted, if it named one';
COMMENT ON COLUMN audit_events.subject_user_id IS 'The user it was about, where it was about one';
COMMENT ON COLUMN audit_events.counts IS 'How many of what, as a JSON object of numbers';

-- Append-only, whoever asks. The one way to delete is the retention's: it says so, for its own transaction.
CREATE FUNCTION audit_events_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('invitations.audit_retention', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_events is append-only' USING ERRCODE = 'restrict_violation';
END
$$;
COMMENT ON FUNCTION audit_events_keep() IS 'Refuses to change or delete audit events';
CREATE TRIGGER audit_events_keep BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION audit_events_keep();
CREATE TRIGGER audit_events_keep_all BEFORE TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_events_keep();

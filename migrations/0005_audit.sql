-- The audit log: who did what, for whom, and with which outcome. An event is inserted in the transaction of the action
-- and never changed. Only the retention deletes events.

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
    -- Patterns instead of lists of values: while two versions run side by side, the newer one writes values that the
    -- older one does not know.
    CONSTRAINT audit_events_action_check CHECK (action ~ '^[a-z_]{1,40}$'),
    CONSTRAINT audit_events_outcome_check CHECK (outcome ~ '^[A-Z_]{1,40}$'),
    -- Only numbers, so that no text can get in.
    CONSTRAINT audit_events_counts_check
        CHECK (jsonb_typeof(counts) = 'object'
               AND NOT jsonb_path_exists(counts, '$.* ? (@.type() != "number")'))
);
-- For lists over all organizations, newest first, and for the retention, oldest first: ids ascend with time.
CREATE INDEX audit_events_id_idx ON audit_events (id);
-- For the history of one invitation.
CREATE INDEX audit_events_invitation_id_idx ON audit_events (invitation_id, id) WHERE invitation_id IS NOT NULL;

COMMENT ON TABLE audit_events IS 'Actions of callers. Contains no addresses, tokens, names or texts, and is append-only';
COMMENT ON COLUMN audit_events.id IS 'UUIDv7 of the time of the action';
COMMENT ON COLUMN audit_events.invitation_id IS 'The invitation, if the action was about one';
COMMENT ON COLUMN audit_events.batch_id IS 'The batch that BulkCreate created';
COMMENT ON COLUMN audit_events.request_id IS 'The caller''s UUID of the request, if there was one';
COMMENT ON COLUMN audit_events.created_at IS 'When the action happened';
COMMENT ON COLUMN audit_events.organization_id IS 'The organization of the action. Empty for actions outside organizations';
COMMENT ON COLUMN audit_events.action IS 'What was requested, usually the name of the method';
COMMENT ON COLUMN audit_events.outcome IS 'OK, or the reason of the refusal';
COMMENT ON COLUMN audit_events.caller IS 'Name of the caller. Contains a colon if the action did not come through the API';
COMMENT ON COLUMN audit_events.on_behalf_of_user_id IS 'The user for whom the caller acted, if the request named one';
COMMENT ON COLUMN audit_events.subject_user_id IS 'The user whom the action was about, if any';
COMMENT ON COLUMN audit_events.counts IS 'Counts as a JSON object of numbers';

-- Append-only for every role. Only the retention may delete: it sets a parameter for its own transaction.
CREATE FUNCTION audit_events_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('invitations.audit_retention', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_events is append-only' USING ERRCODE = 'restrict_violation';
END
$$;
COMMENT ON FUNCTION audit_events_keep() IS 'Rejects changes and deletions of audit events';
CREATE TRIGGER audit_events_keep BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION audit_events_keep();
CREATE TRIGGER audit_events_keep_all BEFORE TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_events_keep();

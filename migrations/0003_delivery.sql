-- Delivery: branding of emails, reminders, provider batches, the suppression list and delivery reports.

ALTER TABLE organizations
    ADD COLUMN reminder_lead_seconds integer NOT NULL DEFAULT 0,
    ADD COLUMN logo_url              text    NOT NULL DEFAULT '',
    ADD COLUMN brand_color           text    NOT NULL DEFAULT '',
    ADD COLUMN support_email         text    NOT NULL DEFAULT '';
COMMENT ON COLUMN organizations.reminder_lead_seconds IS 'How long before expiry a reminder is sent. 0 for never';
COMMENT ON COLUMN organizations.logo_url IS 'https URL of an image for the head of emails. May be empty';
COMMENT ON COLUMN organizations.brand_color IS 'Color of emails as #rrggbb. Empty for the service''s default';
COMMENT ON COLUMN organizations.support_email IS 'Address that readers of emails may write to. May be empty';

ALTER TABLE invitations
    ADD COLUMN remind_at             timestamptz,
    ADD COLUMN reminder_lead_seconds integer NOT NULL DEFAULT 0;
CREATE INDEX invitations_remind_at_idx ON invitations (remind_at) WHERE state = 'pending' AND remind_at IS NOT NULL;
COMMENT ON COLUMN invitations.remind_at IS 'When the reminder is due. Null if there is none or it was queued';
COMMENT ON COLUMN invitations.reminder_lead_seconds IS 'How long before expiry a reminder is sent. 0 for never';

ALTER TABLE outbox
    ADD COLUMN batch_id    uuid,
    ADD COLUMN batch_index integer,
    ADD COLUMN requeued_at timestamptz,
    ADD COLUMN kind        text NOT NULL DEFAULT 'invitation',
    ADD CONSTRAINT outbox_kind_check CHECK (kind IN ('invitation', 'reminder')),
    ADD CONSTRAINT outbox_batch_check CHECK ((batch_id IS NULL) = (batch_index IS NULL)
                                             AND (batch_id IS NULL OR state = 'sending'));
CREATE INDEX outbox_batch_id_idx ON outbox (batch_id, batch_index) WHERE batch_id IS NOT NULL;
CREATE INDEX outbox_dead_idx ON outbox (organization_id, invitation_id) WHERE state = 'dead';
COMMENT ON COLUMN outbox.batch_id IS 'The provider batch of the email. The email is then leased to the batch';
COMMENT ON COLUMN outbox.batch_index IS 'The index in the batch, from 0';
COMMENT ON COLUMN outbox.requeued_at IS 'When the email was last requeued after it was given up. The time limit of retries starts here, or else at created_at';
COMMENT ON COLUMN outbox.kind IS 'invitation or reminder';

CREATE TABLE mail_batches (
    id              uuid        NOT NULL,
    lease_token     uuid        NOT NULL,
    created_at      timestamptz NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    lease_until     timestamptz NOT NULL,
    attempts        integer     NOT NULL,
    lane            text        NOT NULL,
    CONSTRAINT mail_batches_pkey PRIMARY KEY (id)
);
CREATE INDEX mail_batches_lane_idx ON mail_batches (lane, next_attempt_at);
COMMENT ON TABLE mail_batches IS 'Provider calls whose outcome is not stored yet. Their composition never changes, so that a retry is the same call';
COMMENT ON COLUMN mail_batches.id IS 'The idempotency key of the call';
COMMENT ON COLUMN mail_batches.lease_token IS 'Fencing token of the worker that claimed the batch';
COMMENT ON COLUMN mail_batches.created_at IS 'When the batch was created';
COMMENT ON COLUMN mail_batches.next_attempt_at IS 'The earliest time of the next attempt';
COMMENT ON COLUMN mail_batches.lease_until IS 'When the lease expires';
COMMENT ON COLUMN mail_batches.attempts IS 'How often the call was attempted, counted before each attempt';
COMMENT ON COLUMN mail_batches.lane IS 'The lane of the call. No other lane repeats it';

CREATE TABLE suppressions (
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz,
    key_id          smallint    NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    reason          text        NOT NULL,
    address_tag     bytea       NOT NULL,
    CONSTRAINT suppressions_pkey PRIMARY KEY (organization_id, address_tag),
    CONSTRAINT suppressions_reason_check
        CHECK (reason IN ('hard_bounce', 'complaint', 'unsubscribed', 'declined', 'manual')),
    CONSTRAINT suppressions_address_tag_check CHECK (octet_length(address_tag) = 32)
);
-- For one address in all organizations.
CREATE INDEX suppressions_address_tag_idx ON suppressions (address_tag);
-- For lists of one reason, in the order of the pages.
CREATE INDEX suppressions_reason_idx ON suppressions (reason, organization_id, address_tag);
-- To find out that a removed key is not needed any more, without reading the whole table.
CREATE INDEX suppressions_key_id_idx ON suppressions (key_id);
CREATE INDEX suppressions_expires_at_idx ON suppressions (expires_at) WHERE expires_at IS NOT NULL;
COMMENT ON TABLE suppressions IS 'The suppression list, which stores addresses as keyed hashes';
COMMENT ON COLUMN suppressions.created_at IS 'When the suppression was added or last confirmed';
COMMENT ON COLUMN suppressions.expires_at IS 'When the suppression expires. Null for never';
COMMENT ON COLUMN suppressions.key_id IS 'The key that the hash is derived with';
COMMENT ON COLUMN suppressions.organization_id IS 'The organization whose emails are suppressed. Empty for all organizations';
COMMENT ON COLUMN suppressions.reason IS 'hard_bounce, complaint, unsubscribed, declined or manual';
COMMENT ON COLUMN suppressions.address_tag IS 'HMAC-SHA256 of the normalized address';

CREATE TABLE feedback_events (
    created_at timestamptz NOT NULL,
    source     text COLLATE "C" NOT NULL,
    event_id   text COLLATE "C" NOT NULL,
    CONSTRAINT feedback_events_pkey PRIMARY KEY (source, event_id)
);
CREATE INDEX feedback_events_created_at_idx ON feedback_events (created_at);
COMMENT ON TABLE feedback_events IS 'Reports of mail providers that were processed, so that a repeated report changes nothing. Kept for a week';
COMMENT ON COLUMN feedback_events.created_at IS 'When the report was processed';
COMMENT ON COLUMN feedback_events.source IS 'The reporter: resend, postmark or dsn';
COMMENT ON COLUMN feedback_events.event_id IS 'The reporter''s id of the report';

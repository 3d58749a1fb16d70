-- Invitations, the mails they still owe, the calls that may be repeated, and the keys that signed.
--
-- Fixed-width columns come first, so that a row wastes nothing on alignment. There is no foreign key: each costs a
-- fifth of the insert rate, and deletion is one statement of the service.

CREATE TABLE invitations (
    id                       uuid        NOT NULL,
    batch_id                 uuid        NOT NULL,
    created_at               timestamptz NOT NULL,
    updated_at               timestamptz NOT NULL,
    expires_at               timestamptz NOT NULL,
    ended_at                 timestamptz,
    queued_at                timestamptz,
    next_attempt_at          timestamptz,
    sent_at                  timestamptz,
    generation               integer     NOT NULL,
    send_seq                 integer     NOT NULL,
    delivery_attempts        integer     NOT NULL,
    key_id                   smallint    NOT NULL,
    delivery_reply_code      smallint,
    state                    text        NOT NULL,
    accept_policy            text        NOT NULL,
    delivery_state           text        NOT NULL,
    nonce                    bytea       NOT NULL,
    organization_id          text COLLATE "C" NOT NULL,
    email                    text        NOT NULL,
    email_normalized         text COLLATE "C" NOT NULL,
    role                     text        NOT NULL,
    inviter_user_id          text COLLATE "C" NOT NULL,
    locale                   text        NOT NULL,
    redirect_url             text        NOT NULL,
    message                  text        NOT NULL,
    ended_by_user_id         text,
    last_accept_error        text,
    delivery_error           text,
    public_metadata          jsonb,
    private_metadata         jsonb,
    CONSTRAINT invitations_pkey PRIMARY KEY (id, organization_id),
    CONSTRAINT invitations_state_check
        CHECK (state IN ('pending', 'accepted', 'declined', 'revoked', 'expired')),
    CONSTRAINT invitations_accept_policy_check
        CHECK (accept_policy IN ('invited_email', 'any_email')),
    CONSTRAINT invitations_delivery_state_check
        CHECK (delivery_state IN ('not_requested', 'queued', 'sent', 'deferred', 'bounced', 'complained', 'failed',
                                  'suppressed', 'canceled')),
    CONSTRAINT invitations_nonce_check CHECK (octet_length(nonce) = 16)
) WITH (fillfactor = 85);
-- One pending invitation for each address of an organization, whatever the callers do.
CREATE UNIQUE INDEX invitations_pending_key ON invitations (organization_id, email_normalized)
    WHERE state = 'pending';
-- Newest first: ids ascend with time.
CREATE INDEX invitations_organization_id_idx ON invitations (organization_id, id);
-- What the sweeper has to end.
CREATE INDEX invitations_expires_at_idx ON invitations (expires_at) WHERE state = 'pending';

COMMENT ON TABLE invitations IS 'Offers of membership to one address each';
COMMENT ON COLUMN invitations.id IS 'UUIDv7, made by the service';
COMMENT ON COLUMN invitations.batch_id IS 'UUIDv7 of the call that made it';
COMMENT ON COLUMN invitations.created_at IS 'When it was made';
COMMENT ON COLUMN invitations.updated_at IS 'When it was last changed, delivery included';
COMMENT ON COLUMN invitations.expires_at IS 'From when on it cannot be accepted, whatever state says';
COMMENT ON COLUMN invitations.ended_at IS 'When it was accepted, declined or revoked';
COMMENT ON COLUMN invitations.queued_at IS 'When its latest mail was queued';
COMMENT ON COLUMN invitations.next_attempt_at IS 'When its latest mail is tried again; null once that is settled';
COMMENT ON COLUMN invitations.sent_at IS 'When the mail server took its latest mail';
COMMENT ON COLUMN invitations.generation IS 'Counts rotations of the link from 1; older links are dead';
COMMENT ON COLUMN invitations.send_seq IS 'Counts its mails from 0 (none); names the outbox row of the latest';
COMMENT ON COLUMN invitations.delivery_attempts IS 'How often its latest mail was tried';
COMMENT ON COLUMN invitations.key_id IS 'Which key of the ring its token is derived with';
COMMENT ON COLUMN invitations.delivery_reply_code IS 'SMTP reply code of the last failed attempt';
COMMENT ON COLUMN invitations.state IS 'pending, accepted, declined, revoked or expired';
COMMENT ON COLUMN invitations.accept_policy IS 'invited_email, or any_email for whoever holds the link';
COMMENT ON COLUMN invitations.delivery_state IS 'What became of its latest mail; sending is told by the outbox alone';
COMMENT ON COLUMN invitations.nonce IS '16 random bytes, new for each generation: the key alone forges no token';
COMMENT ON COLUMN invitations.organization_id IS 'Where it leads';
COMMENT ON COLUMN invitations.email IS 'The address as given, trimmed';
COMMENT ON COLUMN invitations.email_normalized IS 'Normal form of the address, compared byte for byte';
COMMENT ON COLUMN invitations.role IS 'The role its person will have';
COMMENT ON COLUMN invitations.inviter_user_id IS 'Who invites';
COMMENT ON COLUMN invitations.locale IS 'Language of its mail; empty for the organization''s';
COMMENT ON COLUMN invitations.redirect_url IS 'Where the application goes after accepting; may be empty';
COMMENT ON COLUMN invitations.message IS 'The inviter''s personal note; may be empty';
COMMENT ON COLUMN invitations.ended_by_user_id IS 'Who accepted or revoked it';
COMMENT ON COLUMN invitations.last_accept_error IS 'Reason of the last refused attempt to accept it';
COMMENT ON COLUMN invitations.delivery_error IS 'What the last failed attempt said, without the address';
COMMENT ON COLUMN invitations.public_metadata IS 'A JSON object that moves to the membership';
COMMENT ON COLUMN invitations.private_metadata IS 'A JSON object that moves to the membership';

CREATE TABLE outbox (
    invitation_id   uuid        NOT NULL,
    lease_token     uuid,
    created_at      timestamptz NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    lease_until     timestamptz,
    send_seq        integer     NOT NULL,
    attempts        integer     NOT NULL,
    state           text        NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    CONSTRAINT outbox_pkey PRIMARY KEY (invitation_id, send_seq, organization_id),
    CONSTRAINT outbox_state_check CHECK (state IN ('queued', 'sending', 'sent', 'canceled', 'dead')),
    CONSTRAINT outbox_lease_check CHECK ((state = 'sending') = (lease_token IS NOT NULL AND lease_until IS NOT NULL))
) WITH (fillfactor = 85);
-- One partial index for each state that is looked for; settled rows are in none.
CREATE INDEX outbox_queued_idx ON outbox (next_attempt_at, invitation_id) WHERE state = 'queued';
CREATE INDEX outbox_sending_idx ON outbox (lease_until) WHERE state = 'sending';

COMMENT ON TABLE outbox IS 'Mails that are owed: written with the invitation, drained by the delivery workers';
COMMENT ON COLUMN outbox.invitation_id IS 'The invitation it mails';
COMMENT ON COLUMN outbox.lease_token IS 'Fencing token of the worker that holds it; only that worker may settle it';
COMMENT ON COLUMN outbox.created_at IS 'When it was queued; the Date of the mail, however often it is tried';
COMMENT ON COLUMN outbox.next_attempt_at IS 'Not to be tried before';
COMMENT ON COLUMN outbox.lease_until IS 'When the worker that holds it counts as dead';
COMMENT ON COLUMN outbox.send_seq IS 'Which mail of the invitation, from 1';
COMMENT ON COLUMN outbox.attempts IS 'How often it was tried, counted before each attempt';
COMMENT ON COLUMN outbox.state IS 'queued, sending, sent, canceled (no longer wanted) or dead (given up)';
COMMENT ON COLUMN outbox.organization_id IS 'The invitation''s organization';

CREATE TABLE idempotency_keys (
    request_id      uuid        NOT NULL,
    created_at      timestamptz NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    caller          text COLLATE "C" NOT NULL,
    method          text COLLATE "C" NOT NULL,
    request_hash    bytea       NOT NULL,
    response        bytea,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (organization_id, caller, method, request_id)
);
CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (created_at);
COMMENT ON TABLE idempotency_keys IS 'Answers of calls that may be repeated for 24 hours; holds no address';
COMMENT ON COLUMN idempotency_keys.request_id IS 'The caller''s UUID for the call';
COMMENT ON COLUMN idempotency_keys.created_at IS 'When the call was first made';
COMMENT ON COLUMN idempotency_keys.organization_id IS 'The organization the call was for';
COMMENT ON COLUMN idempotency_keys.caller IS 'Name of the configured caller';
COMMENT ON COLUMN idempotency_keys.method IS 'Which call';
COMMENT ON COLUMN idempotency_keys.request_hash IS 'SHA-256 of the request: another request with the same id is refused';
COMMENT ON COLUMN idempotency_keys.response IS 'The answer without addresses, notes and metadata; null while the call runs';

CREATE TABLE signing_keys (
    key_id      smallint    NOT NULL,
    check_value bytea       NOT NULL,
    created_at  timestamptz NOT NULL,
    CONSTRAINT signing_keys_pkey PRIMARY KEY (key_id)
);
COMMENT ON TABLE signing_keys IS 'Keys that were ever loaded, so that a missing or changed one is noticed at start';
COMMENT ON COLUMN signing_keys.key_id IS 'Id in the keys file';
COMMENT ON COLUMN signing_keys.check_value IS 'Derived from the key one way; tells whether it is still the same';
COMMENT ON COLUMN signing_keys.created_at IS 'When it was first loaded';

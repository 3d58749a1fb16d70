-- What was taken of quotas, and organizations that the operator stopped.

ALTER TABLE organizations
    ADD COLUMN suspended_at timestamptz;
COMMENT ON COLUMN organizations.suspended_at IS 'When the operator stopped it; null while it may invite';

CREATE TABLE organization_quotas (
    used            bigint NOT NULL,
    pending_at_most bigint,
    day             date   NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    CONSTRAINT organization_quotas_pkey PRIMARY KEY (organization_id, day),
    CONSTRAINT organization_quotas_used_check CHECK (used >= 0)
) WITH (fillfactor = 50);
-- Days that are over.
CREATE INDEX organization_quotas_day_idx ON organization_quotas (day);
COMMENT ON TABLE organization_quotas IS 'How many people an organization invited a day; its row is the lock under which quotas are taken';
COMMENT ON COLUMN organization_quotas.used IS 'Invitations that were made or mailed again';
COMMENT ON COLUMN organization_quotas.pending_at_most IS 'How many of its invitations are pending, or fewer: those that were counted and all that were made since; null before the first count';
COMMENT ON COLUMN organization_quotas.day IS 'The day in UTC';
COMMENT ON COLUMN organization_quotas.organization_id IS 'The organization';

-- The one table that cannot be distributed by organization: an address is everybody's.
CREATE TABLE address_quotas (
    address_hash bigint  NOT NULL,
    day          date    NOT NULL,
    used         integer NOT NULL,
    CONSTRAINT address_quotas_pkey PRIMARY KEY (day, address_hash),
    CONSTRAINT address_quotas_used_check CHECK (used > 0)
) WITH (fillfactor = 85);
COMMENT ON TABLE address_quotas IS 'How many mails an address was invited by a day, over all organizations; names no address';
COMMENT ON COLUMN address_quotas.address_hash IS 'The first 8 bytes of a keyed hash of the normalized address';
COMMENT ON COLUMN address_quotas.day IS 'The day in UTC';
COMMENT ON COLUMN address_quotas.used IS 'Mails that were queued';

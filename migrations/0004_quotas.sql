-- Quotas, and organizations that the operator suspended.

ALTER TABLE organizations
    ADD COLUMN suspended_at timestamptz;
COMMENT ON COLUMN organizations.suspended_at IS 'When the operator suspended the organization. Null if it is not suspended';

CREATE TABLE organization_quotas (
    used            bigint NOT NULL,
    pending_at_most bigint,
    day             date   NOT NULL,
    organization_id text COLLATE "C" NOT NULL,
    CONSTRAINT organization_quotas_pkey PRIMARY KEY (organization_id, day),
    CONSTRAINT organization_quotas_used_check CHECK (used >= 0)
) WITH (fillfactor = 50);
-- For purging days that are over.
CREATE INDEX organization_quotas_day_idx ON organization_quotas (day);
COMMENT ON TABLE organization_quotas IS 'Used quotas of organizations by day. Reserving quota locks the row';
COMMENT ON COLUMN organization_quotas.used IS 'Invitations that were created or resent';
COMMENT ON COLUMN organization_quotas.pending_at_most IS 'Upper bound of the pending invitations: the last count and all that became pending since. Null before the first count of the day';
COMMENT ON COLUMN organization_quotas.day IS 'The day in UTC';
COMMENT ON COLUMN organization_quotas.organization_id IS 'The organization';

-- The only table that cannot be partitioned by organization: several organizations may invite the same address.
CREATE TABLE address_quotas (
    address_hash bigint  NOT NULL,
    day          date    NOT NULL,
    used         integer NOT NULL,
    CONSTRAINT address_quotas_pkey PRIMARY KEY (day, address_hash),
    CONSTRAINT address_quotas_used_check CHECK (used > 0)
) WITH (fillfactor = 85);
COMMENT ON TABLE address_quotas IS 'Emails to an address by day, from all organizations. Contains no address';
COMMENT ON COLUMN address_quotas.address_hash IS 'The first 8 bytes of a keyed hash of the normalized address';
COMMENT ON COLUMN address_quotas.day IS 'The day in UTC';
COMMENT ON COLUMN address_quotas.used IS 'Emails that were queued';

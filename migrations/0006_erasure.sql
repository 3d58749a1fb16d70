-- Erasure of personal data: an invitation is kept after its address was erased.

ALTER TABLE invitations
    ALTER COLUMN email DROP NOT NULL,
    ALTER COLUMN email_normalized DROP NOT NULL,
    ADD COLUMN address_tag_key_id smallint,
    ADD COLUMN address_tag        bytea,
    ADD CONSTRAINT invitations_address_tag_check CHECK (octet_length(address_tag) = 32),
    -- Either the address or its tag. A pending invitation has its address.
    ADD CONSTRAINT invitations_erased_check
        CHECK ((email IS NULL) = (email_normalized IS NULL)
               AND (email IS NULL) = (address_tag IS NOT NULL)
               AND (address_tag IS NULL) = (address_tag_key_id IS NULL)
               AND (state <> 'pending' OR email IS NOT NULL));
-- For the invitations of an address, in all organizations or in one.
CREATE INDEX invitations_email_normalized_idx ON invitations (email_normalized, organization_id)
    WHERE email_normalized IS NOT NULL;
-- The same for erased addresses. An invitation costs nothing here before that.
CREATE INDEX invitations_address_tag_idx ON invitations (address_tag) WHERE address_tag IS NOT NULL;
-- Invitations that ended, by time: those whose address is to be erased, and those to delete. A row is in at most one of
-- these indexes, and in none while it is pending.
CREATE INDEX invitations_erase_idx ON invitations ((coalesce(ended_at, expires_at)))
    WHERE state <> 'pending' AND email IS NOT NULL;
CREATE INDEX invitations_delete_idx ON invitations ((coalesce(ended_at, expires_at)))
    WHERE state <> 'pending' AND email IS NULL;
COMMENT ON COLUMN invitations.email IS 'The address as given, trimmed. Null once it was erased';
COMMENT ON COLUMN invitations.email_normalized IS 'The normalized address, compared byte by byte. Null once it was erased';
COMMENT ON COLUMN invitations.address_tag_key_id IS 'The key that address_tag is derived with. Without that key the invitation cannot be found by its address any more';
COMMENT ON COLUMN invitations.address_tag IS 'HMAC-SHA256 of the normalized address that was erased. Null before that';

-- Emails whose delivery ended, by the time at which they were last due.
CREATE INDEX outbox_settled_idx ON outbox (next_attempt_at) WHERE state IN ('sent', 'canceled');
CREATE INDEX outbox_given_up_idx ON outbox (next_attempt_at) WHERE state = 'dead';

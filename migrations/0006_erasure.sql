-- What is kept of people, and how it is erased: an invitation outlives the address it was made for.

ALTER TABLE invitations
    ALTER COLUMN email DROP NOT NULL,
    ALTER COLUMN email_normalized DROP NOT NULL,
    ADD COLUMN address_tag_key_id smallint,
    ADD COLUMN address_tag        bytea,
    ADD CONSTRAINT invitations_address_tag_check CHECK (octet_length(address_tag) = 32),
    -- Either the address or what stands for it; whoever still may come has one.
    ADD CONSTRAINT invitations_erased_check
        CHECK ((email IS NULL) = (email_normalized IS NULL)
               AND (email IS NULL) = (address_tag IS NOT NULL)
               AND (address_tag IS NULL) = (address_tag_key_id IS NULL)
               AND (state <> 'pending' OR email IS NOT NULL));
-- Everything about one address, over all organizations or in one.
CREATE INDEX invitations_email_normalized_idx ON invitations (email_normalized, organization_id)
    WHERE email_normalized IS NOT NULL;
-- The same once it is erased; costs an invitation nothing before that.
CREATE INDEX invitations_address_tag_idx ON invitations (address_tag) WHERE address_tag IS NOT NULL;
-- What has ended, by when: first those with an address to erase, then those to delete. A row is in one of them at most,
-- and in none while it is pending.
CREATE INDEX invitations_erase_idx ON invitations ((coalesce(ended_at, expires_at)))
    WHERE state <> 'pending' AND email IS NOT NULL;
CREATE INDEX invitations_delete_idx ON invitations ((coalesce(ended_at, expires_at)))
    WHERE state <> 'pending' AND email IS NULL;
COMMENT ON COLUMN invitations.email IS 'The address as given, trimmed; null once it was erased';
COMMENT ON COLUMN invitations.email_normalized IS 'Normal form of the address, compared byte for byte; null once it was erased';
COMMENT ON COLUMN invitations.address_tag_key_id IS 'Which key of the ring address_tag is made with; one that is gone makes the row unfindable by its address, and nothing else';
COMMENT ON COLUMN invitations.address_tag IS 'HMAC-SHA256 of the normalized address that was erased; null before that';

-- Mails that were settled, by when they were last due.
CREATE INDEX outbox_settled_idx ON outbox (next_attempt_at) WHERE state IN ('sent', 'canceled');
CREATE INDEX outbox_given_up_idx ON outbox (next_attempt_at) WHERE state = 'dead';

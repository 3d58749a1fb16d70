-- Indexes for every filter of List in the order of its pages, paid for by a cheaper one of addresses. What each costs is
-- measured by scripts/schema-bench and stands in docs/scaling.md.

-- Newest first in each state; the list of all is merged of five.
CREATE INDEX invitations_state_idx ON invitations (organization_id, state, id);
CREATE INDEX invitations_inviter_user_id_idx ON invitations (organization_id, inviter_user_id, id);
CREATE INDEX invitations_batch_id_idx ON invitations (batch_id, id);
-- An address is looked for by equality alone, and lands all over a tree.
CREATE INDEX invitations_email_normalized_hash_idx ON invitations USING hash (email_normalized)
    WHERE email_normalized IS NOT NULL;
-- At the very end: readers wait from here on.
DROP INDEX invitations_organization_id_idx;
DROP INDEX invitations_email_normalized_idx;
ALTER INDEX invitations_email_normalized_hash_idx RENAME TO invitations_email_normalized_idx;

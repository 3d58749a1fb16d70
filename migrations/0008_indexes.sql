-- Indexes for the filters of List in the order of the pages. A cheaper index over addresses makes up for their cost.
-- scripts/schema-bench measures the costs, see docs/scaling.md.

-- Newest first in each state. The list of all states is merged from five pages.
CREATE INDEX invitations_state_idx ON invitations (organization_id, state, id);
CREATE INDEX invitations_inviter_user_id_idx ON invitations (organization_id, inviter_user_id, id);
CREATE INDEX invitations_batch_id_idx ON invitations (batch_id, id);
-- Addresses are searched by equality only, and insertions into a B-tree would be scattered over all of its pages.
CREATE INDEX invitations_email_normalized_hash_idx ON invitations USING hash (email_normalized)
    WHERE email_normalized IS NOT NULL;
-- Last, because readers wait from here on.
DROP INDEX invitations_organization_id_idx;
DROP INDEX invitations_email_normalized_idx;
ALTER INDEX invitations_email_normalized_hash_idx RENAME TO invitations_email_normalized_idx;

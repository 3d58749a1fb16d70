-- Organizations, users and memberships. Other systems own them and send them through the directory API. Every primary
-- key contains organization_id if the table has that column, so that the tables can be partitioned by organization.

CREATE TABLE organizations (
    id                    text COLLATE "C" NOT NULL,
    name                  text        NOT NULL,
    roles                 text[]      NOT NULL,
    inviting_roles        text[]      NOT NULL,
    role_names            jsonb       NOT NULL,
    default_role          text        NOT NULL,
    allowed_email_domains text[]      NOT NULL,
    redirect_origins      text[]      NOT NULL,
    locale                text        NOT NULL,
    recheck_inviter       boolean     NOT NULL,
    created_at            timestamptz NOT NULL,
    updated_at            timestamptz NOT NULL,
    deleted_at            timestamptz,
    CONSTRAINT organizations_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE organizations IS 'Organizations that people are invited to. Deleted ones stay, so that their links can say so';
COMMENT ON COLUMN organizations.id IS 'Assigned by the system that owns the organization';
COMMENT ON COLUMN organizations.name IS 'Shown in emails. Checked for links and control characters';
COMMENT ON COLUMN organizations.roles IS 'Ids of all roles of members, including admin';
COMMENT ON COLUMN organizations.inviting_roles IS 'Those of the roles whose members may invite, including admin';
COMMENT ON COLUMN organizations.role_names IS 'Display names of roles, by id: {"lead": {"display_name": "Team lead", "localized": {"de": "Leitung"}}}. Roles without names are left out';
COMMENT ON COLUMN organizations.default_role IS 'The role of an invitation that does not name one';
COMMENT ON COLUMN organizations.allowed_email_domains IS 'Domains of addresses that may be invited, as A-labels. Empty for all domains';
COMMENT ON COLUMN organizations.redirect_origins IS 'Origins that a redirect_url may have. Empty for none';
COMMENT ON COLUMN organizations.locale IS 'Language of emails, a BCP 47 tag. Empty for English';
COMMENT ON COLUMN organizations.recheck_inviter IS 'Whether Accept checks that the role of the inviter can still invite';
COMMENT ON COLUMN organizations.created_at IS 'When the organization was first upserted';
COMMENT ON COLUMN organizations.updated_at IS 'When the organization was last upserted';
COMMENT ON COLUMN organizations.deleted_at IS 'When the organization was deleted. Null if it is not';

CREATE TABLE users (
    id         text COLLATE "C" NOT NULL,
    name       text        NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT users_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE users IS 'People who have an account';
COMMENT ON COLUMN users.id IS 'Assigned by the system that owns the user';
COMMENT ON COLUMN users.name IS 'Shown in emails as the inviter. May be empty';
COMMENT ON COLUMN users.created_at IS 'When the user was first upserted';
COMMENT ON COLUMN users.updated_at IS 'When the user was last upserted';

CREATE TABLE user_emails (
    email_normalized text COLLATE "C" NOT NULL,
    user_id          text COLLATE "C" NOT NULL,
    CONSTRAINT user_emails_pkey PRIMARY KEY (email_normalized, user_id)
);
CREATE INDEX user_emails_user_id_idx ON user_emails (user_id);
COMMENT ON TABLE user_emails IS 'Verified addresses of users';
COMMENT ON COLUMN user_emails.email_normalized IS 'The normalized address, compared byte by byte';
COMMENT ON COLUMN user_emails.user_id IS 'The owner of the address';

CREATE TABLE memberships (
    organization_id  text COLLATE "C" NOT NULL,
    user_id          text COLLATE "C" NOT NULL,
    role             text        NOT NULL,
    public_metadata  jsonb,
    private_metadata jsonb,
    invitation_id    uuid,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    CONSTRAINT memberships_pkey PRIMARY KEY (organization_id, user_id)
);
CREATE UNIQUE INDEX memberships_invitation_key ON memberships (organization_id, invitation_id)
    WHERE invitation_id IS NOT NULL;
CREATE INDEX memberships_user_id_idx ON memberships (user_id);
COMMENT ON TABLE memberships IS 'Which users belong to which organizations, and in which role';
COMMENT ON COLUMN memberships.organization_id IS 'The organization';
COMMENT ON COLUMN memberships.user_id IS 'The user';
COMMENT ON COLUMN memberships.role IS 'One of the organization''s roles';
COMMENT ON COLUMN memberships.public_metadata IS 'A JSON object for everybody who can see the member';
COMMENT ON COLUMN memberships.private_metadata IS 'A JSON object for backend services only';
COMMENT ON COLUMN memberships.invitation_id IS 'The accepted invitation. An invitation creates at most one membership';
COMMENT ON COLUMN memberships.created_at IS 'When the membership was created';
COMMENT ON COLUMN memberships.updated_at IS 'When the membership was last changed';

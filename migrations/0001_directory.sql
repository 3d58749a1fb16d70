-- What the service knows of organizations, users and memberships. Other systems own them and tell it through the
-- directory API. Every key holds organization_id where there is one, so that the tables can be distributed by it.

CREATE TABLE organizations (
    id                    text COLLATE "C" NOT NULL,
    name                  text        NOT NULL,
    roles                 text[]      NOT NULL,
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
COMMENT ON TABLE organizations IS 'What people are invited into; deleted ones stay so that their links can say so';
COMMENT ON COLUMN organizations.id IS 'Given by the system that owns the organization';
COMMENT ON COLUMN organizations.name IS 'Shown in mails, checked for links and control characters';
COMMENT ON COLUMN organizations.roles IS 'Every role a member may have, admin among them';
COMMENT ON COLUMN organizations.default_role IS 'The role of an invitation that names none';
COMMENT ON COLUMN organizations.allowed_email_domains IS 'Mail domains that may be invited, in A-labels; empty for all';
COMMENT ON COLUMN organizations.redirect_origins IS 'Origins a redirect_url may have; empty for none';
COMMENT ON COLUMN organizations.locale IS 'Language of its mails, a BCP 47 tag; empty for English';
COMMENT ON COLUMN organizations.recheck_inviter IS 'Whether Accept asks if the inviter is still an admin member';
COMMENT ON COLUMN organizations.created_at IS 'When it was first told';
COMMENT ON COLUMN organizations.updated_at IS 'When it was last told';
COMMENT ON COLUMN organizations.deleted_at IS 'When it was deleted; null while it lives';

CREATE TABLE users (
    id         text COLLATE "C" NOT NULL,
    name       text        NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT users_pkey PRIMARY KEY (id)
);
COMMENT ON TABLE users IS 'Who has an account';
COMMENT ON COLUMN users.id IS 'Given by the system that owns the user';
COMMENT ON COLUMN users.name IS 'Shown in mails as the inviter; may be empty';
COMMENT ON COLUMN users.created_at IS 'When the user was first told';
COMMENT ON COLUMN users.updated_at IS 'When the user was last told';

CREATE TABLE user_emails (
    email_normalized text COLLATE "C" NOT NULL,
    user_id          text COLLATE "C" NOT NULL,
    CONSTRAINT user_emails_pkey PRIMARY KEY (email_normalized, user_id)
);
CREATE INDEX user_emails_user_id_idx ON user_emails (user_id);
COMMENT ON TABLE user_emails IS 'The addresses users have proven to own';
COMMENT ON COLUMN user_emails.email_normalized IS 'Normal form of the address, compared byte for byte';
COMMENT ON COLUMN user_emails.user_id IS 'The user';

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
COMMENT ON TABLE memberships IS 'The only thing that lets anybody in';
COMMENT ON COLUMN memberships.organization_id IS 'The organization';
COMMENT ON COLUMN memberships.user_id IS 'The user';
COMMENT ON COLUMN memberships.role IS 'One of the organization''s roles';
COMMENT ON COLUMN memberships.public_metadata IS 'A JSON object for everybody who sees the member';
COMMENT ON COLUMN memberships.private_metadata IS 'A JSON object for backend services alone';
COMMENT ON COLUMN memberships.invitation_id IS 'The invitation it came from; one membership at most for each';
COMMENT ON COLUMN memberships.created_at IS 'When it was made';
COMMENT ON COLUMN memberships.updated_at IS 'When it was last changed';

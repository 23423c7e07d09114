-- Logins: what a desktop needs to outlive its server, and what is told of it.

-- A login is `auth_sessions`: started_at is when it was asked for, expires_at its deadline.
ALTER TABLE auth_sessions ADD COLUMN sandbox_id TEXT;
ALTER TABLE auth_sessions ADD COLUMN cancel_requested_at BIGINT;
-- when its person was warned of the deadline; null again when that was moved
ALTER TABLE auth_sessions ADD COLUMN warned_at BIGINT;
-- the number of the newest event
ALTER TABLE auth_sessions ADD COLUMN last_seq BIGINT NOT NULL DEFAULT 0;

-- A person signs in at a provider once at a time.
CREATE UNIQUE INDEX auth_sessions_open ON auth_sessions (user_id, provider) WHERE completed_at IS NULL;
-- What admins see of everybody's, newest first; and what is old enough to be forgotten.
CREATE INDEX auth_sessions_by_age ON auth_sessions (started_at, session_id);

CREATE TABLE login_events (
    login_id TEXT NOT NULL REFERENCES auth_sessions (session_id) ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    -- JSON of `login::EventBody`
    body TEXT NOT NULL,
    PRIMARY KEY (login_id, seq)
);

-- The login that a sandbox was made for.
ALTER TABLE sandboxes ADD COLUMN login_id TEXT;
CREATE INDEX sandboxes_of_login ON sandboxes (login_id);

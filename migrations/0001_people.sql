-- One text for SQLite and PostgreSQL: TEXT, BIGINT, DOUBLE PRECISION and BYTEA only.
-- Times are Unix milliseconds; a fact that has a time (revoked, disabled) is that time or null.

CREATE TABLE users (
    id            TEXT NOT NULL PRIMARY KEY,
    email         TEXT NOT NULL UNIQUE, -- in lower case
    role          TEXT NOT NULL,        -- admin, member
    password_hash TEXT NOT NULL,        -- argon2id, PHC string
    created_at    BIGINT NOT NULL,
    disabled_at   BIGINT
);

-- API keys and browser sessions: both are a random secret of which only the hash is kept.
CREATE TABLE tokens (
    id           TEXT NOT NULL PRIMARY KEY,
    user_id      TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind         TEXT NOT NULL,         -- key, session
    hash         BYTEA NOT NULL UNIQUE, -- SHA-256 of the whole token
    hint         TEXT NOT NULL,         -- how the token begins and ends, to tell it from others
    name         TEXT,
    scopes       TEXT NOT NULL,         -- separated by spaces
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT,
    revoked_at   BIGINT
);
CREATE INDEX tokens_by_user ON tokens (user_id, created_at);

-- Connections. What is secret lies in encrypted_data, sealed by the vault and bound to its row.
CREATE TABLE encrypted_credentials (
    id             TEXT NOT NULL PRIMARY KEY,
    user_id        TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider       TEXT NOT NULL,
    encrypted_data BYTEA NOT NULL,
    version        BIGINT NOT NULL,     -- from 1, one more with every change of encrypted_data
    status         TEXT NOT NULL,       -- active, expiring, needs_reconnect, revoked
    method         TEXT NOT NULL,       -- login, api_key, setup_token, import
    account        TEXT,
    plan           TEXT,
    error          TEXT,                -- JSON: why it needs to be reconnected
    created_at     BIGINT NOT NULL,
    connected_at   BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    expires_at     BIGINT,
    UNIQUE (user_id, provider)
);

-- Logins.
CREATE TABLE auth_sessions (
    session_id   TEXT NOT NULL PRIMARY KEY,
    user_id      TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider     TEXT NOT NULL,
    status       TEXT NOT NULL,         -- requested, preparing, ready, verifying, connected, failed, expired, cancelled
    stages       TEXT NOT NULL,         -- JSON
    command      TEXT,
    error        TEXT,                  -- JSON
    started_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    completed_at BIGINT
);
CREATE INDEX auth_sessions_by_user ON auth_sessions (user_id, started_at);

-- People over HTTP: sessions that say where they come from, and the record of what was done.

-- Of a session: the program that signed in, as it calls itself, and the address that it was last used from.
ALTER TABLE tokens ADD COLUMN agent TEXT;
ALTER TABLE tokens ADD COLUMN address TEXT;

-- What admins see of everybody's, newest first.
CREATE INDEX runs_by_age ON runs (created_at, id);
CREATE INDEX sandboxes_by_age ON sandboxes (created_at, id);

-- An entry is written before the work, and completed after it. It outlives those of whom it speaks.
CREATE TABLE audit (
    id TEXT PRIMARY KEY,
    created_at BIGINT NOT NULL,
    -- domain/audit.rs lists them
    action TEXT NOT NULL,
    -- what it was done to: an id, a provider
    target TEXT,
    -- how; never a secret
    detail TEXT,
    -- whose thing it was done to
    user_id TEXT,
    -- session, key, local, server, anonymous
    actor TEXT NOT NULL,
    actor_user_id TEXT,
    actor_token_id TEXT,
    address TEXT,
    request_id TEXT,
    -- ok, failed; null until it is done, and for ever when the server was killed meanwhile
    outcome TEXT,
    -- of `failed`: the code of the public surface
    code TEXT,
    finished_at BIGINT
);
CREATE INDEX audit_by_age ON audit (created_at, id);
CREATE INDEX audit_of_user ON audit (user_id, created_at, id);
CREATE INDEX audit_of_actor ON audit (actor_user_id, created_at, id);

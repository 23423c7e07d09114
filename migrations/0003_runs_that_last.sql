-- What a run needs to outlive its server, what it leaves behind, and answers that are given twice.

-- JSON of `control::progress::Progress`: how far the tool's words are stored
ALTER TABLE runs ADD COLUMN progress TEXT;
-- how often a sandbox was made for it
ALTER TABLE runs ADD COLUMN attempts BIGINT NOT NULL DEFAULT 0;

-- How many of a person's wait is asked for each new one.
CREATE INDEX runs_waiting ON runs (user_id) WHERE status = 'queued';
-- When a person's last run was started tells whose turn it is.
CREATE INDEX runs_started ON runs (user_id, started_at);
-- whose turn it is: the person whose last start is longest ago
CREATE INDEX runs_by_start ON runs (user_id, started_at);

-- What a run made or changed in /workspace.
CREATE TABLE run_outputs (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    size BIGINT NOT NULL,
    content BYTEA NOT NULL,
    PRIMARY KEY (run_id, path)
);

-- The tail of what its first process printed, kept when it is destroyed.
ALTER TABLE sandboxes ADD COLUMN console BYTEA;
-- JSON: the names that it reached, and bytes
ALTER TABLE sandboxes ADD COLUMN network TEXT;
CREATE INDEX sandboxes_of_user ON sandboxes (user_id, created_at, id);
CREATE INDEX sandboxes_of_run ON sandboxes (run_id);

-- Answers to requests with an `Idempotency-Key`, for 24 hours.
CREATE TABLE idempotency_keys (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- method and path
    endpoint TEXT NOT NULL,
    key TEXT NOT NULL,
    -- SHA-256 of the query and the body
    request_hash BYTEA NOT NULL,
    -- the run that it made, written with that run
    run_id TEXT,
    -- null until it is answered
    status BIGINT,
    headers TEXT,
    body BYTEA,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, endpoint, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- Runs, their events, the files that were given to them, and the sandboxes.

CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    provider TEXT NOT NULL,
    -- queued, running, completed, failed, cancelled
    status TEXT NOT NULL,
    model TEXT,
    conversation TEXT,
    prompt TEXT NOT NULL,
    system TEXT,
    -- all, none
    tools TEXT NOT NULL,
    timeout_s BIGINT NOT NULL,
    -- JSON, as it was given
    metadata TEXT,
    text TEXT,
    -- JSON of `Usage` and `Failure`
    usage TEXT,
    error TEXT,
    sandbox_id TEXT,
    cancel_requested_at BIGINT,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    -- the number of the newest event
    last_seq BIGINT NOT NULL
);

CREATE INDEX runs_of_user ON runs (user_id, created_at, id);
CREATE INDEX runs_by_status ON runs (status, created_at, id);

CREATE TABLE run_events (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL,
    -- JSON of `EventBody`
    body TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
);

CREATE TABLE run_files (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    content BYTEA NOT NULL,
    PRIMARY KEY (run_id, path)
);

CREATE TABLE sandboxes (
    id TEXT PRIMARY KEY,
    user_id TEXT REFERENCES users (id),
    run_id TEXT,
    driver TEXT NOT NULL,
    image_id TEXT NOT NULL,
    -- creating, ready, stopping, gone, failed
    state TEXT NOT NULL,
    error TEXT,
    created_at BIGINT NOT NULL,
    ended_at BIGINT
);

CREATE INDEX sandboxes_by_state ON sandboxes (state);

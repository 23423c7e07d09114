-- Which master key seals, and what a change of it has come to. One row.
CREATE TABLE vault (
    id            BIGINT NOT NULL PRIMARY KEY, -- 1
    key_id        TEXT,                -- the master key that secrets are sealed under from now on
    next_key_id   TEXT,                -- the one that a rotation gives them; null when there is none under way
    learnt_key_id TEXT,                -- the next one, as soon as the server that runs can open what is under it
    -- How often something was sealed. Whoever seals counts first, and has the row until it is stored: so there is
    -- nothing under another key that is not stored yet when key_id has changed.
    sealings      BIGINT NOT NULL
);
INSERT INTO vault (id, sealings) VALUES (1, 0);

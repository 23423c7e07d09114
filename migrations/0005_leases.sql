-- Whose account a connection is, as the provider tells; and who uses its credential.

-- the provider's own name for the account
ALTER TABLE encrypted_credentials ADD COLUMN account_id TEXT;
-- when the access token of a login ends, Unix milliseconds; null for what is never refreshed
ALTER TABLE encrypted_credentials ADD COLUMN fresh_until BIGINT;

-- The right of a run to use a login. It goes with the run.
CREATE TABLE leases (
    run_id TEXT NOT NULL PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    credential_id TEXT NOT NULL REFERENCES encrypted_credentials (id) ON DELETE CASCADE,
    -- shared, exclusive
    kind TEXT NOT NULL,
    -- the version of the credential that it was taken for
    version BIGINT NOT NULL,
    at BIGINT NOT NULL
);
CREATE INDEX leases_by_credential ON leases (credential_id);

-- What the person of a login is asked before it is kept: JSON of `login::Question`; null where nothing is asked.
ALTER TABLE auth_sessions ADD COLUMN question TEXT;

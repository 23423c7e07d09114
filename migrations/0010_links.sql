-- How somebody signs in with a browser of their own beside the desktop: JSON of `login::Link`; null where nobody asked.
ALTER TABLE auth_sessions ADD COLUMN link TEXT;

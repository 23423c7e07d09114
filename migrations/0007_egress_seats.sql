-- Which of the people who have gone out somebody is: it chooses their port of `egress.upstream_proxy`. Given in the order
-- in which they first go out, and theirs from then on, so that ports are shared evenly.
CREATE TABLE egress_seats (
    user_id TEXT NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    -- from 0
    seat BIGINT NOT NULL UNIQUE
);

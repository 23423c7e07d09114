//! Who goes out by which port of the upstream proxy.

use super::{Store, StoreError};

impl Store {
    /// A person's seat among those who have gone out, from 0: the next one that is free, and theirs from then on.
    pub async fn seat(&self, user_id: &str) -> Result<u64, StoreError> {
        loop {
            let seat = sqlx::query_scalar("SELECT seat FROM egress_seats WHERE user_id = $1").bind(user_id);
            if let Some(seat) = seat.fetch_optional(self.write()).await? {
                let seat: i64 = seat;
                return Ok(seat as u64);
            }
            // Two people may be given the same one at a time: it stays the first one's, and the other tries again.
            sqlx::query(
                "INSERT INTO egress_seats (user_id, seat) \
                 SELECT CAST($1 AS TEXT), COALESCE(MAX(seat) + 1, 0) FROM egress_seats WHERE true ON CONFLICT DO NOTHING",
            )
            .bind(user_id)
            .execute(self.write())
            .await?;
        }
    }
}

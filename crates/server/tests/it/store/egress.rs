//! Seats: who goes out by which port of the upstream proxy.

use crate::support::db;
use polydev_server::store::Store;

async fn person(store: &Store, id: &str) {
    let insert = "INSERT INTO users (id, email, role, password_hash, created_at) VALUES ($1, $1, 'member', '', 0)";
    sqlx::query(insert).bind(id).execute(store.write()).await.unwrap();
}

#[tokio::test]
async fn everybody_gets_the_next_seat_and_keeps_it() {
    db::each_url(async |url| {
        let store = Store::open(url).await.unwrap();
        for n in 0..40 {
            person(&store, &format!("usr_{n}")).await;
        }
        // All at once, and each several times.
        let all = (0..120).map(|n| {
            let store = store.clone();
            tokio::spawn(async move { (n % 40, store.seat(&format!("usr_{}", n % 40)).await.unwrap()) })
        });
        let mut seats = [None; 40];
        for given in futures_util::future::join_all(all.collect::<Vec<_>>()).await {
            let (n, seat) = given.unwrap();
            assert_eq!(*seats[n].get_or_insert(seat), seat, "one each");
        }
        let mut taken = seats.map(Option::unwrap);
        taken.sort();
        assert_eq!(taken.to_vec(), (0..40).collect::<Vec<_>>(), "without holes");
        store.close().await;

        let store = Store::open(url).await.unwrap();
        person(&store, "usr_new").await;
        assert_eq!(store.seat("usr_new").await.unwrap(), 40);
        for (n, seat) in seats.into_iter().enumerate() {
            assert_eq!(store.seat(&format!("usr_{n}")).await.unwrap(), seat.unwrap(), "by another server too");
        }
        assert!(store.seat("usr_nobody").await.is_err());
        store.close().await;
    })
    .await;
}

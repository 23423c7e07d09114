//! Users, passwords and keys.

use crate::support::db;
use polydev_server::{
    domain::{
        people::{self, NewKey, PeopleError, Role, Scope, User},
        time,
    },
    store::Store,
};
use secrecy::{ExposeSecret, SecretString};

const MINUTE_MS: i64 = 60_000;

async fn user(store: &Store, email: &str, role: Role) -> (User, SecretString) {
    people::create_user(store, email, role).await.expect("a user can be made")
}

async fn key(store: &Store, user: &User, new: NewKey) -> (people::Key, String) {
    let (key, token) = people::create_key(store, user, new).await.expect("a key can be made");
    (key, token.expose_secret().to_owned())
}

async fn principal(store: &Store, token: &str) -> Option<people::Principal> {
    people::authenticate_bearer(store, token, time::now_ms()).await.expect("the database answers")
}

#[tokio::test]
async fn a_user_has_the_password_that_was_made_up() {
    db::each_database(async |store| {
        let (ann, password) = user(&store, " Ann@Example.com ", Role::Admin).await;
        assert_eq!((ann.email.as_str(), ann.role), ("ann@example.com", Role::Admin));
        assert!(password.expose_secret().len() >= 20);
        let check = |email, password: &str| people::check_password(&store, email, password.into());
        assert_eq!(check("ANN@example.com", password.expose_secret()).await.unwrap(), Some(ann.clone()));
        assert_eq!(check("ann@example.com", "something else").await.unwrap(), None);
        assert_eq!(check("bob@example.com", password.expose_secret()).await.unwrap(), None);
        assert_eq!(check("nonsense", password.expose_secret()).await.unwrap(), None);
        let hash: String = sqlx::query_scalar("SELECT password_hash FROM users").fetch_one(store.read()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$") && !hash.contains(password.expose_secret()), "{hash}");
    })
    .await;
}

#[tokio::test]
async fn an_email_is_taken_whatever_its_case() {
    db::each_database(async |store| {
        user(&store, "ann@example.com", Role::Member).await;
        let error = people::create_user(&store, "Ann@EXAMPLE.com", Role::Admin).await.unwrap_err();
        assert!(matches!(error, PeopleError::Exists(_)), "{error:?}");
        assert_eq!(error.to_string(), "a user `ann@example.com` exists already");
        assert_eq!(people::users(&store).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_is_no_email_is_refused() {
    let fresh = db::sqlite();
    let store = Store::open(&fresh.url).await.unwrap();
    let long = format!("{}@example.com", "a".repeat(250));
    for email in ["", "ann", "@example.com", "ann@", "a@b@c", "a b@example.com", "a@exam\nple.com", &long] {
        let error = people::create_user(&store, email, Role::Member).await.unwrap_err();
        assert!(matches!(error, PeopleError::Email(_)), "{email}: {error:?}");
    }
}

#[tokio::test]
async fn a_new_password_takes_the_place_of_the_old() {
    db::each_database(async |store| {
        let (_, old) = user(&store, "ann@example.com", Role::Member).await;
        let made_up = people::set_password(&store, "ann@example.com", None).await.unwrap();
        assert_ne!(made_up.expose_secret(), old.expose_secret());
        let check = |password| people::check_password(&store, "ann@example.com", password);
        assert_eq!(check(old).await.unwrap(), None);
        assert!(check(made_up).await.unwrap().is_some());
        people::set_password(&store, "ann@example.com", Some("correct horse".into())).await.unwrap();
        assert!(check("correct horse".into()).await.unwrap().is_some());

        let short = people::set_password(&store, "ann@example.com", Some("1234567".into())).await.unwrap_err();
        assert_eq!(short.to_string(), "a password has 8 to 1024 characters");
        let nobody = people::set_password(&store, "bob@example.com", None).await.unwrap_err();
        assert_eq!(nobody.to_string(), "there is no user `bob@example.com`");
    })
    .await;
}

#[tokio::test]
async fn a_key_lets_its_owner_in_and_is_not_kept() {
    db::each_database(async |store| {
        let (ann, _) = user(&store, "ann@example.com", Role::Admin).await;
        let (made, token) = key(&store, &ann, NewKey { name: Some("ci".into()), ..NewKey::default() }).await;
        assert!(token.starts_with("pdv_") && token.len() >= 4 + 52, "{token}");
        assert_eq!(made.scopes, Scope::DEFAULT);
        let (begin, end) = made.hint.split_once('…').unwrap();
        assert!(token.starts_with(begin) && token.ends_with(end) && made.hint.chars().count() < 20, "{}", made.hint);

        let principal_of = principal(&store, &token).await.unwrap();
        assert_eq!((&principal_of.user_id, &principal_of.token_id), (&ann.id, &made.id));
        assert_eq!((principal_of.email.as_str(), principal_of.role), ("ann@example.com", Role::Admin));
        assert!(principal_of.may(Scope::RunsWrite) && !principal_of.may(Scope::Admin));

        let hash: Vec<u8> = sqlx::query_scalar("SELECT hash FROM tokens").fetch_one(store.read()).await.unwrap();
        assert_eq!(hash.len(), 32);
        assert!(!token.as_bytes().windows(32).any(|window| window == hash));
        for other in ["", "pdv_", &token[..token.len() - 1], &format!("{token}a"), &token.to_uppercase(), &token[4..]] {
            assert_eq!(principal(&store, other).await, None, "{other}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_ends_when_it_expires_is_revoked_or_its_owner_is_disabled() {
    db::each_database(async |store| {
        let (ann, password) = user(&store, "ann@example.com", Role::Member).await;
        let at = time::now_ms() + MINUTE_MS;
        let (_, short) = key(&store, &ann, NewKey { expires_at: Some(at), ..NewKey::default() }).await;
        assert!(people::authenticate_bearer(&store, &short, at - 1).await.unwrap().is_some());
        assert!(people::authenticate_bearer(&store, &short, at).await.unwrap().is_none());

        let (made, token) = key(&store, &ann, NewKey::default()).await;
        assert!(principal(&store, &token).await.is_some());
        people::revoke_key(&store, Some(&ann.id), &made.id).await.unwrap();
        assert!(principal(&store, &token).await.is_none());
        let revoked_at = people::keys(&store, &ann.id).await.unwrap()[0].revoked_at;
        people::revoke_key(&store, None, &made.id).await.expect("once more is no error");
        assert_eq!(people::keys(&store, &ann.id).await.unwrap()[0].revoked_at, revoked_at);

        let (_, token) = key(&store, &ann, NewKey::default()).await;
        people::disable(&store, "ann@example.com").await.unwrap();
        people::disable(&store, "ann@example.com").await.expect("once more is no error");
        assert!(principal(&store, &token).await.is_none());
        assert!(people::check_password(&store, "ann@example.com", password).await.unwrap().is_none());
        let ann = people::by_email(&store, "ann@example.com").await.unwrap();
        let error = people::create_key(&store, &ann, NewKey::default()).await.unwrap_err();
        assert_eq!(error.to_string(), "the user `ann@example.com` is disabled");
    })
    .await;
}

#[tokio::test]
async fn keys_are_their_owners_to_revoke() {
    db::each_database(async |store| {
        let (ann, _) = user(&store, "ann@example.com", Role::Member).await;
        let (bob, _) = user(&store, "bob@example.com", Role::Member).await;
        let (made, token) = key(&store, &ann, NewKey::default()).await;
        let error = people::revoke_key(&store, Some(&bob.id), &made.id).await.unwrap_err();
        assert_eq!(error.to_string(), format!("there is no key `{}`", made.id));
        assert!(people::revoke_key(&store, None, "key_none").await.is_err());
        assert!(principal(&store, &token).await.is_some());
        assert!(people::keys(&store, &bob.id).await.unwrap().is_empty());
        people::revoke_key(&store, None, &made.id).await.expect("the operator may");
    })
    .await;
}

#[tokio::test]
async fn the_last_use_is_noted_once_a_minute() {
    db::each_database(async |store| {
        let (ann, _) = user(&store, "ann@example.com", Role::Member).await;
        let (made, token) = key(&store, &ann, NewKey::default()).await;
        assert_eq!(made.last_used_at, None);
        let start = made.created_at;
        let used = async |at: i64| {
            people::authenticate_bearer(&store, &token, at).await.unwrap().unwrap();
            people::keys(&store, &ann.id).await.unwrap()[0].last_used_at
        };
        assert_eq!(used(start).await, Some(start));
        assert_eq!(used(start + MINUTE_MS - 1).await, Some(start));
        assert_eq!(used(start + MINUTE_MS).await, Some(start + MINUTE_MS));
    })
    .await;
}

#[tokio::test]
async fn only_an_admin_has_a_key_that_administers() {
    db::each_database(async |store| {
        let (ann, _) = user(&store, "ann@example.com", Role::Admin).await;
        let (bob, _) = user(&store, "bob@example.com", Role::Member).await;
        let all = || NewKey { scopes: Some(Scope::ALL.to_vec()), ..NewKey::default() };
        let (_, token) = key(&store, &ann, all()).await;
        assert!(principal(&store, &token).await.unwrap().may(Scope::Admin));
        let error = people::create_key(&store, &bob, all()).await.unwrap_err();
        assert!(matches!(error, PeopleError::NotAdmin(_)), "{error:?}");

        // A key outlives its owner's office, but not with its powers.
        sqlx::query("UPDATE users SET role = 'member'").execute(store.write()).await.unwrap();
        let principal = principal(&store, &token).await.unwrap();
        assert!(!principal.may(Scope::Admin) && principal.may(Scope::Logins));
    })
    .await;
}

#[tokio::test]
async fn keys_that_make_no_sense_are_refused() {
    let fresh = db::sqlite();
    let store = Store::open(&fresh.url).await.unwrap();
    let (ann, _) = user(&store, "ann@example.com", Role::Member).await;
    let none = NewKey { scopes: Some(Vec::new()), ..NewKey::default() };
    assert!(matches!(people::create_key(&store, &ann, none).await.unwrap_err(), PeopleError::NoScope));
    let past = NewKey { expires_at: Some(time::now_ms()), ..NewKey::default() };
    assert!(matches!(people::create_key(&store, &ann, past).await.unwrap_err(), PeopleError::Past));
    let unknown = "runs".parse::<Scope>().unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "`runs` is no scope; the scopes are `runs:read`, `runs:write`, `connections`, `logins` and `admin`"
    );
}

#[tokio::test]
async fn the_only_user_need_not_be_named() {
    db::each_database(async |store| {
        let only = || people::named_or_only(&store, None);
        assert!(matches!(only().await.unwrap_err(), PeopleError::NoUsers));
        let (ann, _) = user(&store, "ann@example.com", Role::Member).await;
        assert_eq!(only().await.unwrap(), ann);
        let (bob, _) = user(&store, "bob@example.com", Role::Member).await;
        assert!(matches!(only().await.unwrap_err(), PeopleError::WhichUser));
        assert_eq!(people::named_or_only(&store, Some("bob@example.com")).await.unwrap(), bob);
        people::disable(&store, "ann@example.com").await.unwrap();
        assert_eq!(only().await.unwrap(), bob);
    })
    .await;
}

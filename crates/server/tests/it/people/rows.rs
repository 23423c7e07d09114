//! Users, passwords, keys and sessions, on both databases.

use crate::support::db;
use polydev_server::{
    domain::{
        people::{self, Change, NewKey, PeopleError, Place, Role, Scope, Session, User},
        time,
    },
    store::{Store, runs::After},
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

async fn begin(store: &Store, user: &User) -> (Session, String) {
    let from = Place { agent: Some("a browser".into()), address: "192.0.2.1".into() };
    let (session, secret) = people::begin_session(store, user, None, from).await.expect("a session can be begun");
    (session, secret.expose_secret().to_owned())
}

/// Who comes with this session from another address at this time.
async fn signed_in(store: &Store, secret: &str, at: i64) -> Option<people::Principal> {
    people::authenticate_session(store, secret, "192.0.2.2", at).await.expect("the database answers")
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
        assert_eq!(people::users(&store, None, 100).await.unwrap().len(), 1);
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
        let (_, made_up) = people::reset_password(&store, "ANN@example.com").await.unwrap();
        assert_ne!(made_up.expose_secret(), old.expose_secret());
        let check = |password| people::check_password(&store, "ann@example.com", password);
        assert_eq!(check(old).await.unwrap(), None);
        let ann = check(made_up.clone()).await.unwrap().unwrap();
        let (session, _) = begin(&store, &ann).await;
        let who = session.principal(&ann);
        let change = |current: &str, new: &str| people::change_password(&store, &who, current.into(), new.into());
        let wrong = change("something else", "correct horse").await.unwrap_err();
        assert_eq!(wrong.to_string(), "the current password is wrong");
        change(made_up.expose_secret(), "correct horse").await.unwrap();
        assert!(check("correct horse".into()).await.unwrap().is_some());

        let short = change("correct horse", "1234567").await.unwrap_err();
        assert_eq!(short.to_string(), "a password has 8 to 1024 characters");
        let nobody = people::reset_password(&store, "bob@example.com").await.unwrap_err();
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
        people::revoke_key(&store, &made).await.unwrap();
        assert!(principal(&store, &token).await.is_none());
        let revoked_at = people::keys(&store, &ann.id, None, 100).await.unwrap()[0].revoked_at;
        people::revoke_key(&store, &made).await.expect("once more is no error");
        assert_eq!(people::keys(&store, &ann.id, None, 100).await.unwrap()[0].revoked_at, revoked_at);

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
        let (_, bobs) = key(&store, &bob, NewKey::default()).await;
        let bobs = principal(&store, &bobs).await.unwrap();
        let error = people::own_key(&store, &bobs, &made.id).await.unwrap_err();
        assert_eq!(error.to_string(), format!("there is no key `{}`", made.id));
        for none in ["key_none", "key_\0", "", &bob.id] {
            assert!(matches!(people::key_by_id(&store, none).await.unwrap_err(), PeopleError::NoKey(_)), "{none:?}");
        }
        assert_eq!(people::keys(&store, &bob.id, None, 100).await.unwrap().len(), 1);
        let anns = principal(&store, &token).await.unwrap();
        assert_eq!(people::own_key(&store, &anns, &made.id).await.unwrap().id, made.id);
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
            people::keys(&store, &ann.id, None, 100).await.unwrap()[0].last_used_at
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

#[tokio::test]
async fn a_session_lasts_while_it_is_used_and_not_for_ever() {
    db::each_database(async |store| {
        let (ann, _) = user(&store, "ann@example.com", Role::Admin).await;
        let (session, secret) = begin(&store, &ann).await;
        let start = session.created_at;
        let who = signed_in(&store, &secret, start).await.unwrap();
        assert_eq!(who, session.principal(&ann));
        assert_eq!(who.scopes, Scope::ALL);
        for other in ["", "pds_", &secret[..secret.len() - 1], &format!("pdv_{}", &secret[4..])] {
            assert_eq!(signed_in(&store, other, start).await, None, "{other}");
        }
        assert_eq!(principal(&store, &secret).await, None, "a session is no key");
        let listed = people::sessions(&store, &ann.id, None, 100).await.unwrap();
        assert_eq!(listed[0].address.as_deref(), Some("192.0.2.2"), "the last one");
        assert_eq!(listed[0].agent.as_deref(), Some("a browser"));

        // Noted once a minute, and that counts.
        assert!(signed_in(&store, &secret, start + MINUTE_MS - 1).await.is_some());
        let idle = start + people::IDLE_MS;
        assert!(signed_in(&store, &secret, idle).await.is_none(), "nobody has used it");
        assert!(signed_in(&store, &secret, idle - 1).await.is_some());
        let mut now = idle - 1;
        while now + people::IDLE_MS / 2 < start + people::LIFETIME_MS {
            now += people::IDLE_MS / 2;
            assert!(signed_in(&store, &secret, now).await.is_some());
        }
        assert!(signed_in(&store, &secret, start + people::LIFETIME_MS - 1).await.is_some());
        assert!(signed_in(&store, &secret, start + people::LIFETIME_MS).await.is_none(), "however much it is used");

        assert_eq!(people::forget_sessions(&store, start + people::LIFETIME_MS + people::KEPT_MS).await.unwrap(), 0);
        assert_eq!(
            people::forget_sessions(&store, start + people::LIFETIME_MS + people::KEPT_MS + 1).await.unwrap(),
            1
        );
    })
    .await;
}

#[tokio::test]
async fn sessions_end_with_the_password_and_with_the_person() {
    db::each_database(async |store| {
        let (ann, password) = user(&store, "ann@example.com", Role::Admin).await;
        let (here, one) = begin(&store, &ann).await;
        let (_, two) = begin(&store, &ann).await;
        let now = here.created_at;
        people::change_password(&store, &here.principal(&ann), password, "correct horse".into()).await.unwrap();
        assert!(signed_in(&store, &one, now).await.is_some(), "it is the one that changed it");
        assert!(signed_in(&store, &two, now).await.is_none());
        people::reset_password(&store, "ann@example.com").await.unwrap();
        assert!(signed_in(&store, &one, now).await.is_none());

        let (_, key) = key(&store, &ann, NewKey::default()).await;
        let (session, three) = begin(&store, &ann).await;
        let who = session.principal(&ann);
        assert!(people::is_still_good(&store, &who, now).await.unwrap());
        people::disable(&store, "ann@example.com").await.unwrap();
        assert!(!people::is_still_good(&store, &who, now).await.unwrap());
        assert!(signed_in(&store, &three, now).await.is_none());
        let on = Change { disabled: Some(false), ..Change::default() };
        assert_eq!(people::change_user(&store, &ann.id, on).await.unwrap().disabled_at, None);
        assert!(principal(&store, &key).await.is_some(), "a key works again");
        assert!(signed_in(&store, &three, now).await.is_none(), "a session does not");
    })
    .await;
}

#[tokio::test]
async fn there_is_always_an_admin() {
    db::each_database(async |store| {
        let (ann, _) = user(&store, "ann@example.com", Role::Admin).await;
        let (bob, _) = user(&store, "bob@example.com", Role::Admin).await;
        let no_admin = Change { role: Some(Role::Member), ..Change::default() };
        let off = Change { disabled: Some(true), ..Change::default() };
        // Each one the other, at once.
        let both = futures_util::join!(
            people::change_user(&store, &ann.id, no_admin),
            people::change_user(&store, &bob.id, off)
        );
        let refused: Vec<_> = [both.0, both.1].into_iter().filter_map(Result::err).collect();
        assert!(matches!(refused[..], [PeopleError::LastAdmin]), "{refused:?}");
        let admins = people::users(&store, None, 100).await.unwrap();
        let [last] = &admins
            .iter()
            .filter(|user| user.role == Role::Admin && user.disabled_at.is_none())
            .collect::<Vec<_>>()[..]
        else {
            panic!("{admins:?}")
        };
        for change in [no_admin, off, Change { role: Some(Role::Member), disabled: Some(false) }] {
            let error = people::change_user(&store, &last.id, change).await.unwrap_err();
            assert!(matches!(error, PeopleError::LastAdmin), "{error:?}");
        }
        let error = people::change_user(&store, "usr_none", off).await.unwrap_err();
        assert!(matches!(error, PeopleError::NoUser(_)), "{error:?}");
        let member = people::change_user(&store, &last.id, Change { role: Some(Role::Admin), ..Change::default() });
        assert_eq!(member.await.unwrap().role, Role::Admin, "what changes nothing is done");
    })
    .await;
}

#[tokio::test]
async fn a_key_gains_nothing_by_making_keys() {
    db::each_database(async |store| {
        let (ann, _) = user(&store, "ann@example.com", Role::Admin).await;
        let at = time::now_ms() + MINUTE_MS;
        let (reader, token) = {
            let new = NewKey { scopes: Some(vec![Scope::RunsRead]), expires_at: Some(at), ..NewKey::default() };
            key(&store, &ann, new).await
        };
        let who = principal(&store, &token).await.unwrap();
        let within = |new: NewKey| new.within(&who);
        let made = within(NewKey::default()).unwrap();
        assert_eq!((made.scopes, made.expires_at), (Some(vec![Scope::RunsRead]), Some(at)));
        let more = NewKey { scopes: Some(vec![Scope::RunsRead, Scope::RunsWrite]), ..NewKey::default() };
        assert!(matches!(within(more.clone()).unwrap_err(), PeopleError::Beyond));
        let longer = NewKey { expires_at: Some(at + 1), ..NewKey::default() };
        assert!(matches!(within(longer).unwrap_err(), PeopleError::Outlives));
        assert_eq!(within(NewKey { expires_at: Some(at - 1), ..NewKey::default() }).unwrap().expires_at, Some(at - 1));

        let (writer, _) = key(&store, &ann, more).await;
        let (session, _) = begin(&store, &ann).await;
        assert!(matches!(people::own_key(&store, &who, &writer.id).await.unwrap_err(), PeopleError::Beyond));
        assert!(matches!(people::own_session(&store, &who, &session.id).await.unwrap_err(), PeopleError::Beyond));
        assert!(people::own_key(&store, &who, &reader.id).await.is_ok());

        // A session may all that its person may, and its own end is no limit.
        let who = session.principal(&ann);
        assert!(people::own_key(&store, &who, &writer.id).await.is_ok());
        assert_eq!(NewKey::default().within(&who).unwrap().expires_at, None);
        let all = NewKey { scopes: Some(Scope::ALL.to_vec()), ..NewKey::default() };
        assert!(all.clone().within(&who).is_ok());
        let (bob, _) = user(&store, "bob@example.com", Role::Member).await;
        let (session, _) = begin(&store, &bob).await;
        assert!(matches!(all.within(&session.principal(&bob)).unwrap_err(), PeopleError::Beyond));
        assert!(matches!(people::own_session(&store, &who, &session.id).await.unwrap_err(), PeopleError::NoSession(_)));
    })
    .await;
}

#[tokio::test]
async fn lists_are_read_a_page_at_a_time() {
    db::each_database(async |store| {
        let mut emails = Vec::new();
        for n in 0..5 {
            emails.push(user(&store, &format!("{n}@example.com"), Role::Member).await.0.email);
        }
        emails.reverse();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = people::users(&store, after.as_ref(), 2).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(After { created_at: last.created_at, id: last.id.clone() });
            seen.extend(page.into_iter().map(|user| user.email));
        }
        seen.sort();
        emails.sort();
        assert_eq!(seen, emails);
    })
    .await;
}

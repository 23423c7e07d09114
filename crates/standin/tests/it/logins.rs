//! Logins at all three providers: given out, refreshed once, expired, revoked.

use crate::{
    client::{Answered, Client, request},
    start,
};
use polydev_standin::{Account, Provider, credential_id};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// A login, as far as a tool reads it from its files.
#[derive(Debug, Clone)]
struct Login {
    access: String,
    refresh: String,
}

fn parse(files: &BTreeMap<String, Vec<u8>>, name: &str) -> Value {
    serde_json::from_slice(&files[name]).unwrap()
}

fn login(provider: Provider, files: &BTreeMap<String, Vec<u8>>) -> Login {
    let (file, access, refresh) = match provider {
        Provider::Claude => (".credentials.json", "/claudeAiOauth/accessToken", "/claudeAiOauth/refreshToken"),
        Provider::Codex => ("auth.json", "/tokens/access_token", "/tokens/refresh_token"),
        Provider::Gemini => ("oauth_creds.json", "/access_token", "/refresh_token"),
    };
    let file = parse(files, file);
    let text = |path: &str| file.pointer(path).unwrap().as_str().unwrap().to_owned();
    Login { access: text(access), refresh: text(refresh) }
}

fn signed_in(provider: Provider, account: &Account) -> Login {
    login(provider, &account.login_files(provider))
}

/// As each tool asks for new tokens.
async fn refresh(client: &Client, provider: Provider, token: &str) -> Answered {
    let body = json!({"grant_type": "refresh_token", "refresh_token": token, "client_id": "c"});
    match provider {
        Provider::Claude => client.post("https://platform.claude.com/v1/oauth/token", &[], body).await,
        Provider::Codex => client.post("https://auth.openai.com/oauth/token", &[], body).await,
        Provider::Gemini => {
            let form = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs([("grant_type", "refresh_token"), ("refresh_token", token)])
                .finish();
            client.send(request("POST", "https://oauth2.googleapis.com/token", &[], form)).await
        }
    }
}

/// As each tool asks its model.
async fn ask(client: &Client, provider: Provider, token: &str) -> Answered {
    let bearer = format!("Bearer {token}");
    let authorization = ("authorization", bearer.as_str());
    match provider {
        Provider::Claude => {
            let headers =
                [authorization, ("anthropic-version", "2023-06-01"), ("anthropic-beta", "a,oauth-2025-04-20")];
            let body = json!({"model": "m", "messages": [{"role": "user", "content": "What is 2+2?"}]});
            client.post("https://api.anthropic.com/v1/messages", &headers, body).await
        }
        Provider::Codex => {
            let said = json!({"role": "user", "content": "What is 2+2?"});
            let body = zstd::encode_all(json!({"model": "m", "input": [said]}).to_string().as_bytes(), 0).unwrap();
            let headers = [authorization, ("content-encoding", "zstd")];
            let url = "https://chatgpt.com/backend-api/codex/responses";
            client.send(request("POST", url, &headers, String::new()).map(|_| body.into())).await
        }
        Provider::Gemini => {
            let contents = json!([{"role": "user", "parts": [{"text": "What is 2+2?"}]}]);
            let body = json!({"model": "gemini-2.5-flash", "project": "p", "request": {"contents": contents}});
            client.post("https://cloudcode-pa.googleapis.com/v1internal:generateContent", &[authorization], body).await
        }
    }
}

fn text(provider: Provider, answered: &Answered) -> String {
    let path = match provider {
        Provider::Claude => "/content/0/text",
        Provider::Codex => "/output/0/content/0/text",
        Provider::Gemini => "/response/candidates/0/content/parts/0/text",
    };
    answered.json().pointer(path).unwrap_or(&Value::Null).to_string()
}

#[tokio::test]
async fn a_login_asks_the_model() {
    let (standin, client) = start().await;
    for provider in Provider::ALL {
        let login = signed_in(provider, &standin.account("ada"));
        let answered = ask(&client, provider, &login.access).await;
        assert_eq!((answered.status, text(provider, &answered)), (200, "\"4\"".to_owned()), "{provider:?}");
        // Another provider's token is none.
        for other in Provider::ALL.into_iter().filter(|other| *other != provider) {
            assert_eq!(ask(&client, other, &login.access).await.status, 401, "{provider:?} at {other:?}");
        }
    }
}

#[tokio::test]
async fn a_refresh_token_works_once() {
    let (standin, client) = start().await;
    for provider in [Provider::Claude, Provider::Codex] {
        let ada = standin.account("ada");
        let first = signed_in(provider, &ada);
        let answered = refresh(&client, provider, &first.refresh).await;
        assert_eq!(answered.status, 200);
        let second = answered.json();
        assert_ne!(second["access_token"], first.access);
        assert_ne!(second["refresh_token"], first.refresh);
        assert_eq!(ask(&client, provider, second["access_token"].as_str().unwrap()).await.status, 200);
        assert_eq!((ada.refreshes(provider), ada.refresh_reuses(provider)), (1, 0));

        let again = refresh(&client, provider, &first.refresh).await;
        let error = &again.json()["error"];
        match provider {
            Provider::Claude => assert_eq!((again.status, error.as_str()), (400, Some("invalid_grant"))),
            _ => assert_eq!((again.status, error["code"].as_str()), (401, Some("refresh_token_reused"))),
        }
        assert_eq!((ada.refreshes(provider), ada.refresh_reuses(provider)), (1, 1));
        // A reuse is refused, and ends nothing.
        assert_eq!(refresh(&client, provider, second["refresh_token"].as_str().unwrap()).await.status, 200);
    }
}

#[tokio::test]
async fn a_refresh_token_of_googles_stays() {
    let (standin, client) = start().await;
    let ada = standin.account("ada");
    let login = signed_in(Provider::Gemini, &ada);
    for n in 1..=2 {
        let answered = refresh(&client, Provider::Gemini, &login.refresh).await;
        assert_eq!((answered.status, answered.json().get("refresh_token")), (200, None));
        assert_eq!((ada.refreshes(Provider::Gemini), ada.refresh_reuses(Provider::Gemini)), (n, 0));
    }
}

#[tokio::test]
async fn tokens_expire_by_themselves_and_on_request() {
    let (standin, client) = start().await;
    for provider in Provider::ALL {
        let ada = standin.account("ada");
        let stale = login(provider, &ada.login_files_for(provider, Duration::ZERO));
        let fresh = signed_in(provider, &ada);
        assert_eq!(ask(&client, provider, &stale.access).await.status, 401, "{provider:?}");
        assert_eq!(ask(&client, provider, &fresh.access).await.status, 200, "{provider:?}");
        ada.expire(provider);
        assert_eq!(ask(&client, provider, &fresh.access).await.status, 401, "{provider:?}");
        // Only the access token is gone, and only hers.
        assert_eq!(refresh(&client, provider, &fresh.refresh).await.status, 200, "{provider:?}");
        let bob = signed_in(provider, &standin.account("bob"));
        ada.expire(provider);
        assert_eq!(ask(&client, provider, &bob.access).await.status, 200, "{provider:?}");
    }
}

#[tokio::test]
async fn tokens_live_as_long_as_they_were_told_to() {
    let (standin, client) = start().await;
    for provider in Provider::ALL {
        let ada = standin.account("ada");
        let login = signed_in(provider, &ada);
        ada.let_live(provider, Duration::from_secs(90));
        assert_eq!(refresh(&client, provider, &login.refresh).await.json()["expires_in"], 90, "{provider:?}");
    }
}

#[tokio::test]
async fn a_revoked_login_is_dead_and_the_next_one_is_not() {
    let (standin, client) = start().await;
    for provider in Provider::ALL {
        let ada = standin.account("ada");
        let dead = signed_in(provider, &ada);
        let bob = signed_in(provider, &standin.account("bob"));
        ada.revoke(provider);
        assert_eq!(ask(&client, provider, &dead.access).await.status, 401, "{provider:?}");
        let refused = refresh(&client, provider, &dead.refresh).await;
        let error = &refused.json()["error"];
        match provider {
            Provider::Codex => assert_eq!(error["code"], "refresh_token_invalidated"),
            Provider::Claude | Provider::Gemini => assert_eq!(error, "invalid_grant"),
        }
        assert_eq!(ada.refreshes(provider), 0);
        assert_eq!(ask(&client, provider, &bob.access).await.status, 200);
        assert_eq!(ask(&client, provider, &signed_in(provider, &ada).access).await.status, 200);
    }
}

#[tokio::test]
async fn a_tool_that_signs_out_ends_its_own_login_only() {
    let (standin, client) = start().await;
    let urls = [
        (Provider::Claude, "https://platform.claude.com/v1/oauth/token/revoke"),
        (Provider::Codex, "https://auth.openai.com/oauth/revoke"),
        (Provider::Gemini, "https://oauth2.googleapis.com/revoke"),
    ];
    for (provider, url) in urls {
        let ada = standin.account("ada");
        let (one, other) = (signed_in(provider, &ada), signed_in(provider, &ada));
        assert_eq!(client.post(url, &[], json!({"token": one.refresh})).await.status, 200);
        assert_eq!(ask(&client, provider, &one.access).await.status, 401, "{provider:?}");
        assert_eq!(ask(&client, provider, &other.access).await.status, 200, "{provider:?}");
    }
}

#[tokio::test]
async fn an_authorization_code_is_redeemed_once() {
    let (standin, client) = start().await;
    for (provider, url) in [
        (Provider::Claude, "https://platform.claude.com/v1/oauth/token"),
        (Provider::Codex, "https://auth.openai.com/oauth/token"),
        (Provider::Gemini, "https://oauth2.googleapis.com/token"),
    ] {
        let code = standin.account("ada").authorization_code(provider);
        let body = json!({"grant_type": "authorization_code", "code": code});
        let tokens = client.post(url, &[], body.clone()).await.json();
        assert_eq!(ask(&client, provider, tokens["access_token"].as_str().unwrap()).await.status, 200);
        assert_eq!(
            refresh(&client, provider, tokens["refresh_token"].as_str().unwrap()).await.status,
            200,
            "{provider:?}"
        );
        assert_eq!(client.post(url, &[], body).await.status, 400, "{provider:?}");
    }
    let exchange = json!({"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange"});
    let key = client.post("https://auth.openai.com/oauth/token", &[], exchange).await.json();
    let bearer = format!("Bearer {}", key["access_token"].as_str().unwrap());
    let models = client.get("https://api.openai.com/v1/models", &[("authorization", &bearer)]).await;
    assert_eq!(models.status, 200);
}

#[tokio::test]
async fn each_provider_says_who_is_signed_in() {
    let (standin, client) = start().await;
    let (ada, bob) = (standin.account("ada"), standin.account("bob"));
    for account in [&ada, &bob] {
        let token = |provider| format!("Bearer {}", signed_in(provider, account).access);
        let get = async |url, token: String| client.get(url, &[("authorization", &token)]).await.json();
        let profile = get("https://api.anthropic.com/api/oauth/profile", token(Provider::Claude)).await;
        assert_eq!(profile["account"]["email"], account.email());
        assert_eq!(profile["account"]["uuid"], account.id(Provider::Claude));
        assert_eq!(profile["organization"]["organization_type"], "claude_max");
        let roles = get("https://api.anthropic.com/api/oauth/claude_cli/roles", token(Provider::Claude)).await;
        assert_eq!(roles["organization_role"], "admin");
        let check = get("https://chatgpt.com/backend-api/wham/accounts/check", token(Provider::Codex)).await;
        // Theirs is not the first.
        assert_eq!(check["accounts"][1]["id"], account.id(Provider::Codex));
        assert_ne!(check["accounts"][0]["id"], check["accounts"][1]["id"]);
        // Without these two, the tool never asks for an answer.
        assert_eq!(check["accounts"][1]["workspace_backend_origin"], "https://chatgpt.com");
        assert_eq!(check["accounts"][1]["account_routing_override"], "NO_CONSTRAINT");
        let user = get("https://www.googleapis.com/oauth2/v2/userinfo", token(Provider::Gemini)).await;
        assert_eq!((&user["email"], &user["id"]), (&json!(account.email()), &json!(account.id(Provider::Gemini))));
    }
    assert_ne!(ada.id(Provider::Claude), bob.id(Provider::Claude));
}

#[tokio::test]
async fn the_files_name_the_account() {
    let (standin, _) = start().await;
    let ada = standin.account("ada");
    let claude = parse(&ada.login_files(Provider::Claude), ".credentials.json");
    assert_eq!(claude["claudeAiOauth"]["accountUuid"], ada.id(Provider::Claude));
    let codex = parse(&ada.login_files(Provider::Codex), "auth.json");
    assert_eq!(
        (&codex["auth_mode"], &codex["tokens"]["account_id"]),
        (&json!("chatgpt"), &json!(ada.id(Provider::Codex)))
    );
    let claims = codex["tokens"]["id_token"].as_str().unwrap().split('.').nth(1).unwrap();
    let claims: Value =
        serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(claims.as_bytes()).unwrap()).unwrap();
    assert_eq!(claims["email"], ada.email());
    let openai = &claims["https://api.openai.com/auth"];
    assert_eq!(openai["chatgpt_account_id"], ada.id(Provider::Codex));
    assert_eq!(openai["chatgpt_plan_type"], "plus");
    let google = parse(&ada.login_files(Provider::Gemini), "google_accounts.json");
    assert_eq!(google, json!({"active": "ada@example.test", "old": []}));
}

/// The names of all fields, in the order in which they are written, and how the text is laid out.
fn shape(file: &[u8]) -> String {
    let without_numbers = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    let mut shape = String::new();
    let mut rest = std::str::from_utf8(file).unwrap();
    while let Some((before, inside)) = rest.split_once('"') {
        let (string, after) = inside.split_once('"').unwrap();
        let key = after.starts_with(':');
        shape.push_str(&format!("{}\"{}\"", without_numbers(before), if key { string } else { "" }));
        rest = after;
    }
    shape + &without_numbers(rest)
}

#[tokio::test]
async fn the_files_are_laid_out_as_the_tools_write_them() {
    let (standin, _) = start().await;
    let ada = standin.account("ada");
    for (provider, name, recorded) in [
        (Provider::Claude, ".credentials.json", &include_bytes!("../samples/credentials.json")[..]),
        (Provider::Codex, "auth.json", include_bytes!("../samples/auth.json")),
        (Provider::Gemini, "oauth_creds.json", include_bytes!("../samples/oauth_creds.json")),
        (Provider::Gemini, "google_accounts.json", include_bytes!("../samples/google_accounts.json")),
    ] {
        assert_eq!(shape(&ada.login_files(provider)[name]), shape(recorded), "{name}");
    }
}

#[tokio::test]
async fn a_setup_token_asks_the_model_and_nothing_else() {
    let (standin, client) = start().await;
    let ada = standin.account("ada");
    let token = ada.setup_token();
    assert!(token.starts_with("sk-ant-oat01-"));
    assert_eq!(ask(&client, Provider::Claude, &token).await.status, 200);
    let bearer = format!("Bearer {token}");
    let profile = client.get("https://api.anthropic.com/api/oauth/profile", &[("authorization", &bearer)]).await;
    assert_eq!(profile.status, 403);
    ada.revoke(Provider::Claude);
    assert_eq!(ask(&client, Provider::Claude, &token).await.status, 401);
}

#[tokio::test]
async fn claude_takes_a_bearer_with_its_beta_only() {
    let (standin, client) = start().await;
    let bearer = format!("Bearer {}", signed_in(Provider::Claude, &standin.account("ada")).access);
    let headers = [("authorization", bearer.as_str()), ("anthropic-version", "2023-06-01")];
    let answered = client.get("https://api.anthropic.com/v1/models", &headers).await;
    assert_eq!(answered.status, 401);
    assert!(answered.text.contains("OAuth authentication is currently not supported"));
}

#[tokio::test]
async fn chatgpt_refuses_a_websocket() {
    let (standin, client) = start().await;
    let bearer = format!("Bearer {}", signed_in(Provider::Codex, &standin.account("ada")).access);
    let headers = [("authorization", bearer.as_str())];
    let answered = client.get("https://chatgpt.com/backend-api/codex/responses", &headers).await;
    assert_eq!(answered.status, 426);
}

#[tokio::test]
async fn code_assist_knows_its_user() {
    let (standin, client) = start().await;
    let bearer = format!("Bearer {}", signed_in(Provider::Gemini, &standin.account("ada")).access);
    let headers = [("authorization", bearer.as_str())];
    let call = async |method: &str, body| {
        client.post(&format!("https://cloudcode-pa.googleapis.com/v1internal:{method}"), &headers, body).await
    };
    let loaded = call("loadCodeAssist", json!({})).await.json();
    assert_eq!(loaded["currentTier"]["id"], "standard-tier");
    assert_eq!(loaded["cloudaicompanionProject"], "standin-ada");
    assert_eq!(call("onboardUser", json!({})).await.json()["done"], true);
    let contents = json!([{"role": "user", "parts": [{"text": "count to 3"}]}]);
    let streamed =
        call("streamGenerateContent?alt=sse", json!({"model": "m", "request": {"contents": contents}})).await;
    let texts: Vec<Value> = crate::events(&streamed)
        .iter()
        .map(|event| event["response"]["candidates"][0]["content"]["parts"][0]["text"].clone())
        .collect();
    assert_eq!(texts, ["1", " 2", " 3"]);
    let info = client.post("https://oauth2.googleapis.com/tokeninfo", &headers, json!({})).await.json();
    assert_eq!(info["email"], "ada@example.test");
}

#[tokio::test]
async fn a_record_of_a_refresh_names_the_token_without_telling_it() {
    let (standin, client) = start().await;
    for provider in Provider::ALL {
        let login = signed_in(provider, &standin.account("ada"));
        refresh(&client, provider, &login.refresh).await;
        let id = credential_id(&login.refresh);
        let record = standin.request(|record| record.credential.as_ref() == Some(&id)).await;
        assert!(record.path.ends_with("/token") && record.body.contains("refresh_token"), "{record:?}");
        let told = serde_json::to_string(&standin.requests()).unwrap();
        assert!(!told.contains(&login.refresh) && !told.contains(&login.access), "{provider:?}");
    }
}

#[tokio::test]
async fn scripts_do_the_same_over_http() {
    let (standin, client) = start().await;
    let ada = standin.account("ada");
    let call = async |method, path: &str| client.plain(method, path).await;
    let files = call("POST", "/accounts/ada/claude/login?lives=60").await;
    let text = files["files"][".credentials.json"].as_str().unwrap();
    let claude = login(Provider::Claude, &BTreeMap::from([(".credentials.json".to_owned(), text.as_bytes().to_vec())]));
    assert_eq!(ask(&client, Provider::Claude, &claude.access).await.status, 200);
    call("POST", "/accounts/ada/claude/expire").await;
    assert_eq!(ask(&client, Provider::Claude, &claude.access).await.status, 401);
    refresh(&client, Provider::Claude, &claude.refresh).await;
    let told = call("GET", "/accounts/ada/claude").await;
    assert_eq!((&told["refreshes"], &told["email"]), (&json!(1), &json!(ada.email())));
    let token = call("POST", "/accounts/ada/claude/setup-token").await;
    assert_eq!(ask(&client, Provider::Claude, token["token"].as_str().unwrap()).await.status, 200);
    call("POST", "/accounts/ada/claude/revoke").await;
    assert_eq!(ask(&client, Provider::Claude, token["token"].as_str().unwrap()).await.status, 401);
}

//! The server as the command line sees it.

use super::output::{CliError, exit};
use crate::{
    api::{error::ErrorBody, health::Health},
    config::Env,
};
use backon::{ConstantBuilder, Retryable};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{fs, io, os::unix::fs::OpenOptionsExt, path::PathBuf, time::Duration};
use url::Url;

/// Where the server is when nothing says otherwise.
pub const DEFAULT_URL: &str = "http://127.0.0.1:4000";

/// The longest that the command line waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How often it then asks again.
const TRIES: usize = 5;

/// A server and a key for it.
#[derive(Debug, Clone)]
pub struct Client {
    /// Where the server is.
    pub url: Url,
    key: SecretString,
    http: reqwest::Client,
}

/// What `polydev login` saves.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    url: String,
    api_key: String,
}

/// The file that `polydev login` saves to.
pub fn saved_at(env: &Env) -> Result<PathBuf, CliError> {
    let home = env
        .get("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| env.get("HOME").map(|home| PathBuf::from(home).join(".config")));
    home.map(|home| home.join("polydev/client.toml")).ok_or_else(|| {
        CliError::usage("neither `HOME` nor `XDG_CONFIG_HOME` is set").hint("Set `POLYDEV_URL` and `POLYDEV_API_KEY`.")
    })
}

/// An answer that is an error.
struct Refused {
    /// How long to wait before the same is asked again, where that helps.
    wait: Option<Duration>,
    error: CliError,
}

/// How long the server asks to wait, because there were too many requests: not where a provider does, nor for long.
fn too_often(response: &Response) -> Option<Duration> {
    let headers = response.headers();
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    let wait = Duration::from_secs(seconds);
    let is_ours = response.status() == StatusCode::TOO_MANY_REQUESTS && headers.contains_key("ratelimit");
    (is_ours && wait <= WAIT_MAX).then_some(wait)
}

impl Client {
    /// The server and key of the environment, or of `polydev login`.
    pub fn open(env: &Env) -> Result<Self, CliError> {
        let saved = match saved_at(env).map(fs::read_to_string) {
            Ok(Ok(text)) => Some(toml::from_str::<Saved>(&text).map_err(|error| {
                CliError::usage(format!(
                    "{} cannot be read: {}",
                    saved_at(env).unwrap_or_default().display(),
                    error.message()
                ))
                .hint("Write it anew with `polydev login`.")
            })?),
            Ok(Err(_)) | Err(_) => None,
        };
        let named = env.get("POLYDEV_URL");
        // A saved key is for the server that it was saved with, and is sent to no other.
        let same = |saved: &Saved| named.is_none_or(|url| Url::parse(url).ok() == Url::parse(&saved.url).ok());
        let saved = saved.filter(same);
        let url = named.map(str::to_owned).or_else(|| saved.as_ref().map(|saved| saved.url.clone()));
        let key = env.get("POLYDEV_API_KEY").map(str::to_owned).or_else(|| saved.map(|saved| saved.api_key));
        let key = key.ok_or_else(|| {
            CliError::new(exit::BAD_KEY, "there is no API key")
                .hint("Make one with `polydev key create`, then save it with `polydev login` or set `POLYDEV_API_KEY`.")
        })?;
        Self::new(url.as_deref().unwrap_or(DEFAULT_URL), key.trim().to_owned().into())
    }

    /// This server and this key.
    pub fn new(url: &str, key: SecretString) -> Result<Self, CliError> {
        let url = Url::parse(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                CliError::usage(format!("`{url}` is not the address of a server"))
                    .hint(format!("One looks like {DEFAULT_URL}."))
            })?;
        if key.expose_secret().is_empty() || !key.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(CliError::new(exit::BAD_KEY, "the API key has characters that no key has")
                .hint("A key is one word: `pdv_…`."));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            // A stream says every 15 s that it lives.
            .read_timeout(Duration::from_secs(60))
            // A request may carry a credential: it goes to the host that was named and to no other.
            .redirect(reqwest::redirect::Policy::none())
            // The address is the user's own: their proxy settings are for other hosts.
            .no_proxy()
            .build()
            .map_err(CliError::failed)?;
        Ok(Self { url, key, http })
    }

    /// Saves address and key for later commands.
    pub fn save(&self, env: &Env) -> Result<PathBuf, CliError> {
        let path = saved_at(env)?;
        let saved = Saved { url: self.url.to_string(), api_key: self.key.expose_secret().to_owned() };
        let write = || -> io::Result<()> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let beside = path.with_extension("new");
            let _ = fs::remove_file(&beside);
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            io::Write::write_all(&mut file, toml::to_string(&saved).map_err(io::Error::other)?.as_bytes())?;
            fs::rename(&beside, &path)
        };
        write().map_err(|error| CliError::failed(format!("{} cannot be written: {error}", path.display())))?;
        Ok(path)
    }

    /// A request to a path under `/api/v1`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/api/v1{path}", self.url.as_str().trim_end_matches('/'));
        self.http.request(method, url).bearer_auth(self.key.expose_secret())
    }

    /// Sends a request; an answer that is an error becomes one here. One that was too many, and may be sent twice, is
    /// sent again when the server says.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let (http, request) = request.build_split();
        let request = request.map_err(CliError::failed)?;
        if !request.method().is_idempotent() || request.try_clone().is_none() {
            return self.answer(http.execute(request).await).await.map_err(|refused| refused.error);
        }
        let send = || {
            let request = request.try_clone().expect("it could be cloned before");
            async { self.answer(http.execute(request).await).await }
        };
        let times = ConstantBuilder::default().with_max_times(TRIES);
        let answer = send.retry(times).when(|refused| refused.wait.is_some()).adjust(|refused, _| refused.wait);
        answer.await.map_err(|refused: Refused| refused.error)
    }

    async fn answer(&self, sent: Result<Response, reqwest::Error>) -> Result<Response, Refused> {
        let response = sent.map_err(|error| Refused { wait: None, error: self.unreachable(&error) })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, wait) = (response.status(), too_often(&response));
        let body = response.bytes().await.unwrap_or_default();
        let error = match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(body) => body.error.into(),
            Err(_) => {
                let code = if status == StatusCode::UNAUTHORIZED { exit::BAD_KEY } else { exit::FAILED };
                CliError::new(code, format!("{} answered {status}", self.url)).hint("Is this a Polydev server?")
            }
        };
        Err(Refused { wait, error })
    }

    /// Sends a request and reads the JSON of its answer.
    pub async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, CliError> {
        let response = self.send(request).await?;
        response
            .json()
            .await
            .map_err(|error| CliError::failed(format!("{} gave an answer that cannot be read: {error}", self.url)))
    }

    /// How the server is. One that is not ready says so with an error status, and is heard all the same.
    pub async fn health(&self) -> Result<Health, CliError> {
        let url = format!("{}/readyz", self.url.as_str().trim_end_matches('/'));
        let response = self.http.get(url).send().await.map_err(|error| self.unreachable(&error))?;
        response
            .json()
            .await
            .map_err(|error| CliError::failed(format!("{} gave an answer that cannot be read: {error}", self.url)))
    }

    /// Says that the server cannot be reached.
    pub fn unreachable(&self, error: &reqwest::Error) -> CliError {
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        CliError::new(exit::UNREACHABLE, format!("{} cannot be reached: {cause}", self.url))
            .hint("Is the server running? `polydev serve` starts one; `POLYDEV_URL` says where it is.")
    }
}

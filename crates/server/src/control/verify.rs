//! Asks a provider, from the host, whether a credential is good.

use super::secrets;
use crate::{
    domain::failure::{Code, Failure},
    providers::{Credential, Proof, Provider},
};
use backon::{ExponentialBuilder, Retryable};
use futures_util::StreamExt;
use secrecy::ExposeSecret;
use std::time::Duration;

/// How long a provider may take.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long it may take in all when it is asked again, where somebody waits for it and may ask again.
pub(super) const WHILE_SOMEBODY_WAITS: Duration = Duration::from_secs(7);
/// The same where what it does not prove is lost.
pub(super) const BEFORE_IT_IS_LOST: Duration = Duration::from_secs(30);
/// The first and the longest pause between two such requests: some five of them, or ten.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// How much of its answer is read.
const ANSWER_MAX: usize = 4 * 1024 * 1024;

/// The same as [`verify`], asked again within this time for as long as the provider neither takes nor refuses it.
pub async fn prove(
    client: &reqwest::Client,
    provider: &dyn Provider,
    credential: &Credential,
    within: Duration,
) -> Result<Proof, Failure> {
    let proof = (|| verify(client, provider, credential))
        .retry(pauses())
        .when(|failure| matches!(failure.code, Code::ProviderUnavailable | Code::RateLimited));
    tokio::time::timeout(within, proof.into_future()).await.unwrap_or_else(|_elapsed| {
        let words = format!("{} did not answer within {} s", provider.about().label, within.as_secs());
        Err(Failure::new(Code::ProviderUnavailable, words).hint("Try again."))
    })
}

/// Without an end: the time has one.
fn pauses() -> ExponentialBuilder {
    ExponentialBuilder::default().with_min_delay(PAUSES.0).with_max_delay(PAUSES.1).without_max_times()
}

/// What the provider says to a credential that it takes, or why it refuses it.
pub async fn verify(
    client: &reqwest::Client,
    provider: &dyn Provider,
    credential: &Credential,
) -> Result<Proof, Failure> {
    let about = provider.about();
    let probe = provider.probe(credential);
    let mut request = client.get(&probe.url).timeout(TIMEOUT);
    for (name, value) in &probe.headers {
        let mut value = http::HeaderValue::from_str(value.expose_secret())
            .map_err(|_| Failure::new(Code::InvalidRequest, "the credential has characters that cannot be sent"))?;
        value.set_sensitive(true);
        request = request.header(*name, value);
    }
    let unavailable = |reason: &reqwest::Error| {
        // The innermost words say what happened; those around it repeat the address.
        let mut cause: &dyn std::error::Error = reason;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let what = if reason.is_timeout() {
            "did not answer in time".to_owned()
        } else {
            format!("cannot be reached: {cause}")
        };
        Failure::new(Code::ProviderUnavailable, format!("{} {what}", about.label))
            .hint("Try again; if it stays, look at this server's way out (`egress.upstream_proxy`).")
    };
    let response = request.send().await.map_err(|error| unavailable(&error))?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.map_err(|error| unavailable(&error))?);
        if body.len() > ANSWER_MAX {
            return Err(Failure::new(Code::ProviderUnavailable, format!("{} gave an answer without end", about.label)));
        }
    }
    // Some providers repeat the key that they refuse.
    provider.probed(credential, status, &body).map_err(|failure| failure.without(&secrets::of(provider, credential)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use backon::BackoffBuilder;

    #[test]
    fn a_provider_is_asked_again_to_the_end_of_the_time_and_not_without_pauses() {
        let after = |times| pauses().build().take(times).sum::<Duration>();
        for (within, least, most) in [(WHILE_SOMEBODY_WAITS, 5, 6), (BEFORE_IT_IS_LOST, 8, 12)] {
            assert!(after(least) < within && within < after(most), "{:?} {:?}", after(least), after(most));
        }
    }
}

//! Streams that break off anywhere, and are taken up where they were.

use super::{answer, blocking, over, standin};
use crate::support::{
    chance::{branch, chance, shuffle},
    server::Server,
};
use eventsource_stream::Eventsource;
use futures_util::{StreamExt, future::join_all};
use polydev_server::domain::event::{Event, EventBody};
use proptest::{prelude::RngExt, test_runner::TestRng};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{sync::watch, task::JoinHandle};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

/// How often each test cuts a stream.
const CUTS: usize = 100;
/// How long a stream may say nothing at all. A run of these tests says something every few milliseconds.
const SILENCE: Duration = Duration::from_secs(60);

/// Where a server is at the moment, and the key for it.
#[derive(Clone)]
struct Place {
    client: Client,
    url: String,
    key: String,
}

impl Place {
    fn of(server: &Server) -> Self {
        let client = Client::builder().no_proxy().build().unwrap();
        Self { client, url: server.url.clone(), key: server.key.clone() }
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.request(Method::GET, format!("{}/api/v1{path}", self.url)).bearer_auth(&self.key)
    }
}

/// One who follows a run, and keeps what there was before each cut.
struct Reader {
    run: String,
    got: Vec<Event>,
    cuts: usize,
}

/// How a look at a stream ended.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    /// The reader went away.
    Cut,
    /// The server did.
    Lost,
    /// With the run's last event.
    Ended,
}

impl Reader {
    fn of(run: &str) -> Self {
        Self { run: run.to_owned(), got: Vec::new(), cuts: 0 }
    }

    /// Takes what comes next: it must be what comes next.
    fn take(&mut self, event: Event) {
        assert_eq!(event.seq, self.got.len() as i64 + 1, "of {}, after {:?}", self.run, self.got.last());
        self.got.push(event);
    }

    fn is_over(&self) -> bool {
        self.got.last().is_some_and(|event| event.body.is_last())
    }

    /// Reads on, at most `most` events, in one of the ways that there are to resume.
    async fn read(&mut self, place: &Place, chance: &mut TestRng, most: usize) -> Left {
        let left = match chance.random_range(0..3) {
            0 => self.header(place, most).await,
            1 => self.query(place, most).await,
            _ => self.socket(place, most).await,
        };
        self.cuts += usize::from(left == Left::Cut);
        assert_eq!(left == Left::Ended, self.is_over(), "of {}: {left:?} after {:?}", self.run, self.got.last());
        left
    }

    async fn header(&mut self, place: &Place, most: usize) -> Left {
        let request = place.get(&format!("/runs/{}/events", self.run)).header("last-event-id", self.got.len());
        self.sse(request, most).await
    }

    async fn query(&mut self, place: &Place, most: usize) -> Left {
        self.sse(place.get(&format!("/runs/{}/events?after={}", self.run, self.got.len())), most).await
    }

    async fn socket(&mut self, place: &Place, most: usize) -> Left {
        let url = place.url.replace("http://", "ws://");
        let url = format!("{url}/api/v1/runs/{}/stream?after={}", self.run, self.got.len());
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {}", place.key).parse().unwrap());
        let mut socket = match connect_async(request).await {
            Ok((socket, _)) => socket,
            Err(Error::Http(refused)) => panic!("{refused:?}"),
            Err(_) => return Left::Lost,
        };
        let mut taken = 0;
        while taken < most {
            match tokio::time::timeout(SILENCE, socket.next()).await.expect("something is said") {
                Some(Ok(Message::Text(text))) => {
                    self.take(serde_json::from_str(&text).unwrap());
                    taken += 1;
                }
                Some(Ok(Message::Ping(_))) => {}
                Some(Ok(Message::Close(close))) => {
                    let code = close.map(|close| u16::from(close.code));
                    assert!(code == Some(1000) || code == Some(1001), "{code:?}");
                    return if code == Some(1000) { Left::Ended } else { Left::Lost };
                }
                Some(Ok(other)) => panic!("{other:?}"),
                Some(Err(_)) | None => return Left::Lost,
            }
        }
        if self.is_over() { Left::Ended } else { Left::Cut }
    }

    async fn sse(&mut self, request: RequestBuilder, most: usize) -> Left {
        let Ok(response) = request.send().await else { return Left::Lost };
        if response.status() == 204 {
            return Left::Ended;
        }
        assert_eq!(response.status(), 200);
        let mut frames = response.bytes_stream().eventsource();
        for _ in 0..most {
            match tokio::time::timeout(SILENCE, frames.next()).await.expect("something is said") {
                Some(Ok(frame)) => {
                    assert_eq!(frame.id, (self.got.len() + 1).to_string());
                    self.take(serde_json::from_str(&frame.data).unwrap());
                }
                Some(Err(_)) => return Left::Lost,
                None if self.is_over() => return Left::Ended,
                None => return Left::Lost,
            }
        }
        // Whoever has the last event may leave as well.
        if self.is_over() { Left::Ended } else { Left::Cut }
    }

    /// Reads to the end without a cut; then what it has got in pieces is what there is.
    async fn check(mut self, server: &Server) {
        if !self.is_over() {
            assert_eq!(self.query(&Place::of(server), usize::MAX).await, Left::Ended);
        }
        let (_, whole) = over(server, &self.run).await;
        assert_eq!(self.got, whole, "what came in pieces is what is stored");
    }
}

async fn accepted(server: &Server, provider: &str, prompt: &str) -> Reader {
    let body = json!({ "provider": provider, "prompt": prompt });
    let response = server.request(Method::POST, "/runs").json(&body).send().await.unwrap();
    assert_eq!(response.status(), 202);
    Reader::of(response.json::<Value>().await.unwrap()["id"].as_str().unwrap())
}

/// A server with all three connected, where six may run at a time.
async fn server() -> (Server, polydev_standin::Standin) {
    let standin = standin().await;
    blocking(move || {
        let server = Server::start_with(&standin, "[runs]\nmax_concurrent = 6\n");
        for provider in ["claude", "codex", "gemini"] {
            server.connect(provider);
        }
        (server, standin)
    })
    .await
}

/// Starts reading: every reader at once, each with a chance of its own, `cuts` times or to the end.
/// What they have got together is counted.
fn reading(
    readers: Vec<Reader>,
    server: &Server,
    chance: &mut TestRng,
    cuts: usize,
) -> (JoinHandle<Vec<Reader>>, watch::Receiver<usize>) {
    let (place, (seen, told)) = (Place::of(server), watch::channel(0));
    let each = readers.into_iter().map(|mut reader| {
        let (place, mut chance, seen) = (place.clone(), branch(chance), seen.clone());
        async move {
            let enough = reader.cuts.saturating_add(cuts);
            while !reader.is_over() && reader.cuts < enough {
                let (most, before) = (chance.random_range(0..12), reader.got.len());
                if reader.read(&place, &mut chance, most).await == Left::Lost {
                    break;
                }
                seen.send_modify(|seen| *seen += reader.got.len() - before);
            }
            reader
        }
    });
    (tokio::spawn(join_all(each.collect::<Vec<_>>())), told)
}

fn all_cuts(readers: &[Reader]) -> usize {
    readers.iter().map(|reader| reader.cuts).sum()
}

/// Reads the runs again, from the start, until there are enough cuts in all.
async fn read_again(runs: &[String], server: &Server, chance: &mut TestRng, mut cuts: usize) {
    while cuts < CUTS {
        let again = vec![Reader::of(&runs[chance.random_range(0..runs.len())])];
        let again = reading(again, server, chance, 20).0.await.unwrap();
        cuts += all_cuts(&again);
        check(again, server).await;
    }
}

async fn check(readers: Vec<Reader>, server: &Server) {
    join_all(readers.into_iter().map(|reader| reader.check(server)).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_goes_on_where_it_was() {
    let mut chance = chance();
    let (server, _standin) = server().await;
    let mut readers = Vec::new();
    for (provider, prompt) in [
        ("claude", "[fault:slow 10] count to 200"),
        ("codex", "[fault:slow 15] count to 200"),
        ("gemini", "[fault:slow 20] count to 200"),
        ("claude", "count to 200"),
    ] {
        readers.push(accepted(&server, provider, prompt).await);
    }
    let readers = reading(readers, &server, &mut chance, usize::MAX).0.await.unwrap();
    let (runs, cuts): (Vec<_>, _) = (readers.iter().map(|reader| reader.run.clone()).collect(), all_cuts(&readers));
    println!("{cuts} cuts while the runs ran");
    let counted = (1..=200).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    for reader in &readers {
        assert_eq!(answer(&reader.got), counted);
    }
    check(readers, &server).await;
    read_again(&runs, &server, &mut chance, cuts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_outlives_the_server_that_began_it() {
    let mut chance = chance();
    let (mut server, _standin) = server().await;
    let mut readers: Vec<Reader> = Vec::new();
    let mut killed = [true, false, true, false, true, false];
    shuffle(&mut killed, &mut chance);
    for killed in killed {
        // Some that are under way when the server goes, and one that is over soon.
        for (provider, prompt) in [
            ("claude", "count to 100"),
            ("claude", "[fault:slow 20] count to 300"),
            (["codex", "gemini"][chance.random_range(0..2)], "[fault:slow 30] count to 200"),
        ] {
            readers.push(accepted(&server, provider, prompt).await);
        }
        let (reading, mut seen) = reading(readers, &server, &mut chance, 30);
        let moment = chance.random_range(0..200);
        // They may be through before.
        let _ = seen.wait_for(|seen| *seen >= moment).await;
        server = blocking(move || {
            if killed {
                server.kill();
            } else {
                assert_eq!(server.stop(), Some(0));
            }
            server.run();
            server
        })
        .await;
        readers = reading.await.unwrap();
    }
    readers = reading(readers, &server, &mut chance, usize::MAX).0.await.unwrap();
    let (runs, cuts): (Vec<_>, _) = (readers.iter().map(|reader| reader.run.clone()).collect(), all_cuts(&readers));
    println!("{cuts} cuts, {} servers", killed.len() + 1);
    check(readers, &server).await;
    read_again(&runs, &server, &mut chance, cuts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_tool_works_on_its_own_is_read_to_its_answer_through_two_kills() {
    let mut chance = chance();
    let (mut server, _standin) = server().await;
    let mut reader = accepted(&server, "claude", "use tool: echo begun; sleep 4; echo woken").await;
    while !reader.got.iter().any(|event| matches!(event.body, EventBody::ToolCall { .. })) {
        reader.read(&Place::of(&server), &mut chance, 1).await;
    }
    for _ in 0..2 {
        server = blocking(move || {
            server.kill();
            server.run();
            server
        })
        .await;
        reader.read(&Place::of(&server), &mut chance, 0).await;
    }
    let readers = reading(vec![reader], &server, &mut chance, usize::MAX).0.await.unwrap();
    assert_eq!(answer(&readers[0].got), "done: begun");
    let woken = |event: &Event| matches!(&event.body, EventBody::ToolResult { output, .. } if output.contains("woken"));
    assert_eq!(readers[0].got.iter().filter(|event| woken(event)).count(), 1, "{:?}", readers[0].got);
    check(readers, &server).await;
}

//! Somebody at a desktop: they type in its terminal, and what the tool opens in a browser they authorize.

use super::{look, looking, rfb::Closed, rfb::Viewer};
use crate::support::server::Server;
use polydev_standin::{Provider, Recorded, SignInFault, Standin};
use std::{path::Path, time::Duration};

/// A browser that presses *Authorize* on the stand-in's page at once, as account `A`, with fault `F`: the sandbox's
/// Firefox, in a second less. It goes through the proxy, and on this computer to wherever it is sent.
const BROWSER: &str = r#"const h=require('http'),e=process.env,u=new URL(process.argv[2]),p=new URL(e.HTTPS_PROXY)
const d=new URLSearchParams({decision:'authorize',account:e.A,fault:e.F||''}).toString()
const q={agent:false,servername:u.host,host:u.host,path:u.pathname+u.search,method:'POST'}
q.headers={'content-type':'application/x-www-form-urlencoded','content-length':d.length}
const back=(r,t)=>r.headers.location?[r.headers.location]:t.match(/http:..(l|1)[^" ]*/g)||[]
const on=(t,l)=>t&&new URL(t,l).protocol=='http:'&&go(new URL(t,l).href)
const go=l=>h.get(l=l.replace(/&amp;/g,'&'),r=>on(r.headers.location,l)).on('error',()=>{})
const read=r=>{let t='';r.on('data',c=>t+=c).on('end',()=>back(r,t).forEach(go))}
const via=(r,socket)=>require('https').request({...q,socket},read).end(d)
h.request({host:p.hostname,port:p.port,method:'CONNECT',path:u.host+':443'}).on('connect',via).end()
"#;

/// What a prompt without a login needs to begin with signing in.
const GEMINI: &str = r#"{"security":{"auth":{"selectedType":"oauth-personal"},"folderTrust":{"enabled":false}}}"#;

/// Types this in the terminal of a login's desktop.
pub(super) async fn types(server: &Server, login: &str, text: &str) {
    let mut viewer = Viewer::new(look(looking(server, login)).await.unwrap()).await.unwrap();
    viewer.types(text).await;
    // A screen that is left before it has come to a key forgets it. A login that is over by then closes by itself.
    let closed = match viewer.heard().await {
        Ok(()) => viewer.close().await,
        Err(closed) => closed,
    };
    assert!(matches!(closed, Closed(Some(1000 | 4002))), "{closed:?}");
}

/// Where a picture of what the desktop shows was put.
pub(super) async fn shows(server: &Server, login: &str) -> String {
    let mut viewer = Viewer::new(look(looking(server, login)).await.unwrap()).await.unwrap();
    let (width, height) = viewer.size;
    let mut picture = format!("P6 {width} {height} 255\n").into_bytes();
    // Blue, green, red, and nothing.
    picture.extend(viewer.pixels().await.unwrap().chunks(4).flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{login}.ppm"));
    std::fs::write(&path, picture).unwrap();
    path.display().to_string()
}

/// Puts the browser in its place, and what else signing in at this provider needs.
pub(super) async fn sits_down(server: &Server, login: &str, provider: Provider) {
    let mut text = format!("echo '#!/usr/bin/env node' >b; cat >>b <<'END'\n{BROWSER}END\n");
    text += "chmod +x b; mkdir p; ln -s ../b p/xdg-open; export BROWSER=$HOME/b PATH=$HOME/p:$PATH\n";
    if provider == Provider::Gemini {
        text += &format!("mkdir -m 700 .gemini; echo '{GEMINI}' >.gemini/settings.json\n");
    }
    types(server, login, &text).await;
}

/// Presses *Authorize* where the desktop's Firefox shows claude's page, which has the keys then: the one that is asked
/// for first.
pub(super) async fn authorizes_in_firefox(server: &Server, login: &str, standin: &Standin) {
    let page = |method: &'static str| {
        move |request: &Recorded| request.method == method && request.path.starts_with("/cai/oauth/authorize")
    };
    standin.request(page("GET")).await;
    let mut viewer = Viewer::new(look(looking(server, login)).await.unwrap()).await.unwrap();
    let agreed = standin.request(page("POST"));
    tokio::pin!(agreed);
    // A page is asked for before it is there.
    let mut often = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            _ = &mut agreed => return,
            _ = often.tick() => viewer.types("\n").await,
        }
    }
}

/// What signs in as this account when it is typed, and what goes wrong with it.
pub(super) fn signs_in(provider: Provider, account: &str, fault: Option<SignInFault>) -> String {
    let fault = fault.map(|fault| fault.to_string()).unwrap_or_default();
    match provider {
        Provider::Claude => format!("A={account} F={fault} claude auth login\n"),
        Provider::Codex => format!("A={account} F={fault} codex login\n"),
        Provider::Gemini => format!(
            "rm -f .gemini/oauth_creds.json; echo y | A={account} F={fault} GEMINI_CLI_NO_RELAUNCH=true gemini -m gemini-2.5-flash -p 'What is 1+1?'\n"
        ),
    }
}

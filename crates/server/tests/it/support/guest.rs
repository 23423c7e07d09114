//! A sandbox, without the server that it is of.

use polydev_sandbox::{
    Guest,
    guest::JobOutput,
    proto::{Exec, Overflow, Ring},
};
use std::collections::BTreeMap;

/// Runs a line of bash to its end, and gives what it printed.
pub(crate) async fn shell(guest: &Guest, job: &str, script: &str) -> String {
    let ring = Ring { capacity: 64 * 1024, overflow: Overflow::Block };
    let exec = Exec {
        job: job.into(),
        argv: ["/bin/bash", "-c", script].map(str::to_owned).to_vec(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())]),
        cwd: "/".into(),
        stdin: false,
        pty: None,
        stdout: ring,
        stderr: ring,
    };
    guest.exec(exec).await.unwrap();
    let mut output = guest.attach(job, 0, 0).await.unwrap();
    let mut said = Vec::new();
    while let Some(JobOutput::Bytes { bytes, .. }) = output.next().await.unwrap() {
        said.extend(bytes);
    }
    String::from_utf8(said).unwrap()
}

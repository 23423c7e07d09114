//! What the kernel has so much of for all: one sandbox takes what it gets, and others and the host still get theirs.

use crate::{
    common::job,
    house::{House, Inside, Said},
};
use polydev_sandbox::guest::{Attachment, JobOutput};

/// Instances of inotify that a sandbox has at most where it has users of its own for them too: what one user may have.
const INSTANCES: &str = "/proc/sys/fs/inotify/max_user_instances";

/// As the specification has it.
const TERMINALS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_sandbox_takes_is_there_for_others() {
    for house in House::all().await {
        let (greedy, other) = (house.sandbox(&[]).await, house.sandbox(&[]).await);
        let may: usize = std::fs::read_to_string(INSTANCES).unwrap().trim().parse().unwrap();
        for (what, most) in [("inotify", may), ("terminals", TERMINALS)] {
            let (taken, holds) = takes_all(&greedy, what).await;
            assert!((1..=most).contains(&taken), "{taken} of {what}, and it may have {most}");
            assert_eq!(other.probe(&["take-one", what]).await, Said::Got("1".to_owned()), "{what}, beside {taken}");
            assert!(matches!(greedy.probe(&["take-one", what]).await, Said::Refused(_)), "it has {taken} of {what}");
            // This is the user whose sandboxes they are.
            let mine = rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC);
            assert!(mine.is_ok(), "the host has no {what} left: {mine:?}");
            drop(holds);
        }
        greedy.end().await;
        other.end().await;
    }
}

/// Has a sandbox take all that it gets of something, and keep it. Tells how much that is.
async fn takes_all(inside: &Inside, what: &str) -> (usize, Attachment) {
    let exec = job(&["/bin/probe", "take-all", what]);
    let name = exec.job.clone();
    inside.guest.exec(exec).await.unwrap();
    let mut holds = inside.guest.attach(&name, 0, 0).await.unwrap();
    let mut said = String::new();
    while !said.ends_with('\n') {
        match holds.next().await.unwrap().expect("it holds what it has") {
            JobOutput::Bytes { bytes, .. } => said += str::from_utf8(&bytes).unwrap(),
            JobOutput::Exit(exit) => panic!("{what}: {said} {exit:?}"),
        }
    }
    (said.trim().parse().unwrap(), holds)
}

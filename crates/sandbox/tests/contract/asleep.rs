//! What is stopped where it is, and goes on.

use super::{Host, groups, id, phase};
use crate::common::{job, sh};
use polydev_sandbox::{DriverError, Phase, SandboxSpec, driver::Priority, guest::Guest};
use std::{fs, time::Duration};

/// How long a sandbox that sleeps is listened to: one that is awake answers in a fraction of a millisecond.
const SILENCE: Duration = Duration::from_millis(100);

/// How often a busy sandbox is put to sleep: version 1 of control groups needs to be told twice now and then.
const TIMES: usize = 20;

/// Holds for every driver: it sleeps and goes on, or says beforehand that it cannot.
pub(crate) async fn asleep(host: &Host) {
    let (driver, a) = (host.driver(), id('a'));
    assert!(!driver.capabilities().freezes || matches!(driver.freeze(&a).await, Err(DriverError::Gone(_))));
    let spec = SandboxSpec { priority: Priority::UntilThawed, ..host.spec() };
    driver.create(&a, &spec).await.unwrap();
    let guest = Guest::new(driver.clone(), a.clone());
    if !driver.capabilities().freezes {
        let refused = driver.freeze(&a).await;
        assert!(matches!(&refused, Err(DriverError::Unavailable { hint, .. }) if hint.contains("pool.desktop")));
        guest.hello().await.unwrap();
        driver.thaw(&a).await.unwrap();
        return driver.destroy(&a).await.unwrap();
    }
    let weights = || {
        let files = groups(&a).into_iter().flat_map(|group| [group.join("cpu.shares"), group.join("cpu.weight")]);
        files.filter_map(|file| Some(fs::read_to_string(file).ok()?.trim().to_owned())).collect::<Vec<_>>()
    };
    assert!(weights().iter().all(|weight| ["64", "6"].contains(&weight.as_str())) && !weights().is_empty());

    // It begins programs all the time.
    let busy = job(&["/bin/sh", "-c", "while :; do ls; done >/dev/null"]);
    let name = busy.job.clone();
    guest.exec(busy).await.unwrap();
    for _ in 0..TIMES {
        driver.freeze(&a).await.unwrap();
        let hello = tokio::spawn({
            let guest = guest.clone();
            async move { guest.hello().await }
        });
        tokio::pin!(hello);
        // Listened to once is enough: each time would take long.
        if weights().iter().any(|weight| ["64", "6"].contains(&weight.as_str())) {
            assert!(tokio::time::timeout(SILENCE, &mut hello).await.is_err(), "it answers in its sleep");
            assert_eq!(phase(&driver, &a).await, Some(Phase::Running));
            driver.freeze(&a).await.unwrap();
        }
        driver.thaw(&a).await.unwrap();
        hello.await.unwrap().unwrap();
    }
    assert!(weights().iter().all(|weight| ["1024", "100"].contains(&weight.as_str())), "{:?}", weights());
    driver.thaw(&a).await.unwrap();
    let running = guest.jobs().await.unwrap().into_iter().find(|job| job.job == name).unwrap();
    assert_eq!(running.exit, None, "a sleep is no end");
    sh(&guest, "cat /proc/self/stat").await;

    // Another process than the one that put it to sleep ends it.
    driver.freeze(&a).await.unwrap();
    drop((guest, driver));
    host.driver().destroy(&a).await.unwrap();
    assert_eq!((phase(&host.driver(), &a).await, groups(&a)), (None, vec![]));
}

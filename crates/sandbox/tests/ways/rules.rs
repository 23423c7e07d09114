//! The rules of a container's specification, each as the edit that takes it away.

use crate::edit::Edit;
use serde_json::json;
use std::path::Path;

/// Where the agent is, inside.
const AGENT: &str = "/.polydev/agent";

/// Without a namespace of its own, of this kind.
pub(crate) fn shares(kind: &str) -> Edit {
    Edit::Without("/linux/namespaces".into(), json!({ "type": kind }))
}

/// In the host's network. The agent takes any port there, as its own may be another's; and `/sys`, which shows the
/// network's devices, can be mounted by those alone whose network it is.
pub(crate) fn shares_network() -> Vec<Edit> {
    vec![
        shares("network"),
        Edit::Without("/mounts".into(), json!({ "destination": "/sys" })),
        // They would be the host's.
        Edit::Drop("/linux/sysctl".into()),
        Edit::Set("/process/args".into(), json!([AGENT, "--proxy", "127.0.0.1:0"])),
    ]
}

/// In the network of the sandbox of this first process.
pub(crate) fn joins_network(pid: i32) -> Vec<Edit> {
    let joined = json!({ "type": "network", "path": format!("/proc/{pid}/ns/net") });
    [shares_network(), vec![Edit::Push("/linux/namespaces".into(), joined)]].concat()
}

/// Without users of its own: whoever it is inside, it is on the host too.
pub(crate) fn shares_users() -> Vec<Edit> {
    vec![shares("user"), Edit::Drop("/linux/uidMappings".into()), Edit::Drop("/linux/gidMappings".into())]
}

/// As root, of whatever users there are.
pub(crate) fn is_root() -> Edit {
    Edit::Set("/process/user".into(), json!({ "uid": 0, "gid": 0 }))
}

/// With these capabilities, in every set.
pub(crate) fn has(capabilities: &[&str]) -> Vec<Edit> {
    let set = |kind| Edit::Set(format!("/process/capabilities/{kind}"), json!(capabilities));
    ["bounding", "effective", "inheritable", "permitted", "ambient"].map(set).into()
}

/// Without a filter of system calls.
pub(crate) fn no_seccomp() -> Edit {
    Edit::Drop("/linux/seccomp".into())
}

/// As root of the host, with these capabilities and every system call.
pub(crate) fn is_root_of_the_host(capabilities: &[&str]) -> Vec<Edit> {
    [shares_users(), vec![is_root(), no_seccomp()], has(capabilities)].concat()
}

/// Nothing of `/proc` and `/sys` is hidden.
pub(crate) fn unmasked() -> Edit {
    Edit::Drop("/linux/maskedPaths".into())
}

/// Nothing of `/proc` is read-only.
pub(crate) fn writable_proc() -> Edit {
    Edit::Drop("/linux/readonlyPaths".into())
}

/// Every device may be used, by the control group.
pub(crate) fn every_device() -> Edit {
    Edit::Set("/linux/resources/devices".into(), json!([{ "allow": true, "access": "rwm" }]))
}

/// With a file or folder of the host.
pub(crate) fn sees(host: &Path, inside: &str, options: &[&str]) -> Edit {
    let options = [&["bind"], options].concat();
    Edit::Push("/mounts".into(), json!({ "destination": inside, "type": "bind", "source": host, "options": options }))
}

/// What is mounted at `/dev/shm` may have devices in it.
pub(crate) fn devices_in_shm() -> Vec<Edit> {
    let options = json!(["nosuid", "noexec", "mode=1777"]);
    let shm = json!({ "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": options });
    vec![Edit::Without("/mounts".into(), json!({ "destination": "/dev/shm" })), Edit::Push("/mounts".into(), shm)]
}

/// The filter refuses `call` where its argument `index` is `value`: so a step by which the agent hardens itself does
/// not come about, and the agent goes on without it.
pub(crate) fn refuses(call: &str, index: u32, value: u32) -> Vec<Edit> {
    let argument = json!({ "index": index, "value": value, "op": "SCMP_CMP_NE" });
    let rule = json!({ "names": [call], "action": "SCMP_ACT_ALLOW", "args": [argument] });
    vec![
        Edit::Without("/linux/seccomp/syscalls/0/names".into(), json!(call)),
        Edit::Push("/linux/seccomp/syscalls".into(), rule),
    ]
}

/// The agent and its jobs can be dumped.
pub(crate) fn dumpable() -> Vec<Edit> {
    refuses("prctl", 0, libc::PR_SET_DUMPABLE.cast_unsigned())
}

/// Cores may be as large as they are.
pub(crate) fn cores() -> Vec<Edit> {
    const LARGE: u64 = 1 << 30;
    let limit = json!({ "type": "RLIMIT_CORE", "soft": LARGE, "hard": LARGE });
    let rlimits = "/process/rlimits";
    let edits =
        vec![Edit::Without(rlimits.into(), json!({ "type": "RLIMIT_CORE" })), Edit::Push(rlimits.into(), limit)];
    [edits, refuses("prlimit64", 1, libc::RLIMIT_CORE)].concat()
}

/// Programs may gain rights when they are started.
pub(crate) fn new_privileges() -> Edit {
    Edit::Set("/process/noNewPrivileges".into(), json!(false))
}

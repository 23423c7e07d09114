//! The rules of a container's specification, each with the edits that take it away.

use crate::edit::Edit;
use serde_json::{Value, json};
use std::path::Path;

/// Where the agent is, inside.
const AGENT: &str = "/.polydev/agent";

/// A rule that shuts a way.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    /// As the table names it.
    pub(crate) name: &'static str,
    pub(crate) edits: Vec<Edit>,
}

fn rule(name: &'static str, edits: impl Into<Vec<Edit>>) -> Rule {
    Rule { name, edits: edits.into() }
}

fn shares(kind: &str) -> Edit {
    Edit::Without("/linux/namespaces".into(), json!({ "type": kind }))
}

pub(crate) fn pid_namespace() -> Rule {
    rule("a pid namespace", [shares("pid")])
}

pub(crate) fn ipc_namespace() -> Rule {
    rule("an ipc namespace", [shares("ipc")])
}

pub(crate) fn cgroup_namespace() -> Rule {
    rule("a cgroup namespace", [shares("cgroup")])
}

/// Without it, it is in the host's network. The agent takes any port there, as its own may be another's; `/sys`, which
/// shows the network's devices, can be mounted by those alone whose network it is; and nothing is set that is the host's.
pub(crate) fn network_namespace() -> Rule {
    let any_port = Edit::Set("/process/args".into(), json!([AGENT, "--proxy", "127.0.0.1:0"]));
    let sys = Edit::Without("/mounts".into(), json!({ "destination": "/sys" }));
    rule("a network namespace", [shares("network"), sys, Edit::Drop("/linux/sysctl".into()), any_port])
}

/// Without it, it is in the network of the sandbox of this first process.
pub(crate) fn network_namespace_apart_from(pid: i32) -> Rule {
    let joined = json!({ "type": "network", "path": format!("/proc/{pid}/ns/net") });
    let Rule { name, mut edits } = network_namespace();
    // Whoever enters the users first has no right to enter what is others'.
    edits.push(Edit::Set("/linux/namespaces/0".into(), json!({ "type": "user" })));
    edits.push(Edit::Push("/linux/namespaces".into(), joined));
    rule(name, edits)
}

/// Without it, whoever it is inside, it is on the host too.
pub(crate) fn own_users() -> Rule {
    let unmapped = ["/linux/uidMappings", "/linux/gidMappings"].map(|place| Edit::Drop(place.into()));
    rule("users of its own", [&[shares("user")], &unmapped[..]].concat())
}

/// Without it, everything runs as root, of whatever users there are.
pub(crate) fn ordinary_user() -> Rule {
    rule("an ordinary user", [Edit::Set("/process/user".into(), json!({ "uid": 0, "gid": 0 }))])
}

/// Without it, there are these capabilities, in every set. The first is the one that matters.
pub(crate) fn no_capability(name: &'static str, capabilities: &[&str]) -> Rule {
    let set = |kind| Edit::Set(format!("/process/capabilities/{kind}"), json!(capabilities));
    rule(name, ["bounding", "effective", "inheritable", "permitted", "ambient"].map(set))
}

pub(crate) fn seccomp() -> Rule {
    rule("seccomp", [Edit::Drop("/linux/seccomp".into())])
}

pub(crate) fn masks() -> Rule {
    rule("`/proc` and `/sys` are masked", [Edit::Drop("/linux/maskedPaths".into())])
}

pub(crate) fn read_only_proc() -> Rule {
    rule("what steers the host is read-only", [Edit::Drop("/linux/readonlyPaths".into())])
}

pub(crate) fn devices_group() -> Rule {
    let every = json!([{ "allow": true, "access": "rwm" }]);
    rule("the devices control group", [Edit::Set("/linux/resources/devices".into(), every)])
}

/// Without it, there is this node.
pub(crate) fn usual_devices(node: &Value) -> Rule {
    rule("no devices but the usual", [Edit::Set("/linux/devices".into(), json!([node]))])
}

/// Without it, what is mounted at `/dev/shm` may have devices in it.
pub(crate) fn nodev() -> Rule {
    let options = json!(["nosuid", "noexec", "mode=1777"]);
    let shm = json!({ "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": options });
    let usual = Edit::Without("/mounts".into(), json!({ "destination": "/dev/shm" }));
    rule("nodev on every mount", [usual, Edit::Push("/mounts".into(), shm)])
}

/// With a file or folder of the host.
pub(crate) fn bind(host: &Path, inside: &str, options: &[&str]) -> Edit {
    let options = [&["bind"], options].concat();
    Edit::Push("/mounts".into(), json!({ "destination": inside, "type": "bind", "source": host, "options": options }))
}

/// Without it, this file of the host, which is at this place already, runs as its owner.
pub(crate) fn nosuid(host: &Path, inside: &str) -> Rule {
    let usual = Edit::Without("/mounts".into(), json!({ "destination": inside }));
    rule("nosuid on every mount", [usual, bind(host, inside, &["ro", "suid"])])
}

/// Without it, this folder of the host is there too, by its own name.
pub(crate) fn root_is_the_image(folder: &Path) -> Rule {
    rule("the root is the image", [bind(folder, folder.to_str().expect("a temporary folder's name"), &["ro"])])
}

pub(crate) fn no_new_privileges() -> Rule {
    rule("no_new_privs", [Edit::Set("/process/noNewPrivileges".into(), json!(false))])
}

/// The filter refuses `call` where its argument `index` is `value`: so a step by which the agent hardens itself does
/// not come about, and the agent goes on without it.
fn refuse(call: &str, index: u32, value: u32) -> [Edit; 2] {
    let argument = json!({ "index": index, "value": value, "op": "SCMP_CMP_NE" });
    let allowed = json!({ "names": [call], "action": "SCMP_ACT_ALLOW", "args": [argument] });
    [
        Edit::Without("/linux/seccomp/syscalls/0/names".into(), json!(call)),
        Edit::Push("/linux/seccomp/syscalls".into(), allowed),
    ]
}

pub(crate) fn agent_not_dumpable() -> Rule {
    rule("the agent cannot be dumped", refuse("prctl", 0, libc::PR_SET_DUMPABLE.cast_unsigned()))
}

/// The limit that the runtime sets.
pub(crate) fn core_limit() -> Rule {
    const LARGE: u64 = 1 << 30;
    let rlimits = "/process/rlimits";
    let limit = json!({ "type": "RLIMIT_CORE", "soft": LARGE, "hard": LARGE });
    let usual = Edit::Without(rlimits.into(), json!({ "type": "RLIMIT_CORE" }));
    rule("RLIMIT_CORE by the runtime", [usual, Edit::Push(rlimits.into(), limit)])
}

/// The limit that the agent sets.
pub(crate) fn core_limit_of_the_agent() -> Rule {
    rule("RLIMIT_CORE by the agent", refuse("prlimit64", 1, libc::RLIMIT_CORE))
}

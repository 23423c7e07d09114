//! What somebody may have a sandbox do who means ill, or errs. Each goes on until it is stopped.

use super::host;
use std::fs;

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offender {
    pub(crate) name: &'static str,
    /// What does it, for bash in a sandbox.
    pub(crate) script: &'static str,
    /// Whether it has met what bounds it, as this host sees its sandbox.
    pub(crate) is_at_work: fn(sandbox: &str) -> bool,
}

pub(crate) const OFFENDERS: [Offender; 6] = [
    Offender {
        name: "fork bomb",
        script: "perl -e 'while (1) { fork }'",
        is_at_work: |sandbox| counted(sandbox, &["pids.events"], "max ") > 0,
    },
    Offender {
        name: "memory hog",
        script: "while :; do tail /dev/zero; done",
        is_at_work: |sandbox| counted(sandbox, &["memory.oom_control", "memory.events"], "oom_kill ") > 0,
    },
    Offender {
        name: "full disk",
        script: "while :; do dd if=/dev/zero of=/workspace/full bs=1M; sleep 0.1; rm /workspace/full; done 2>/dev/null",
        is_at_work: |sandbox| room(sandbox).is_some_and(|room| room.f_bavail * room.f_frsize < 1024 * 1024),
    },
    Offender {
        name: "a million small files",
        script: r#"
            while :; do
                mkdir /workspace/many
                perl -e 'for my $n (1 .. 1_000_000) { open my $file, ">", "/workspace/many/$n" or last }'
                sleep 0.1
                rm -r /workspace/many
            done
        "#,
        is_at_work: |sandbox| room(sandbox).is_some_and(|room| room.f_favail == 0),
    },
    Offender {
        name: "flood of connections",
        script: r#"
            perl -MSocket -e '
                my ($port) = $ENV{HTTPS_PROXY} =~ /(\d+)$/;
                for (1 .. 40) {
                    next if fork;
                    while (1) {
                        socket my $stream, PF_INET, SOCK_STREAM, 0 or next;
                        connect $stream, sockaddr_in($port, INADDR_LOOPBACK) or next;
                        syswrite $stream, "CONNECT evil.example.com:443 HTTP/1.1\r\n\r\n";
                        sysread $stream, my $answer, 4096;
                    }
                }
                1 while wait > 0'
        "#,
        is_at_work: |sandbox| opened(sandbox) > 200,
    },
    Offender {
        // By what the tool itself speaks, and in its words: each line is an event.
        name: "flood of output",
        script: r#"
            word='{"type":"stream_event","event":{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"noise "}}}'
            for stat in /proc/[0-9]*/stat; do
                read -r pid name state parent rest < "$stat"
                if [ "$parent" = 1 ]; then
                    yes "$word" > "/proc/$pid/fd/1" &
                    yes noise > "/proc/$pid/fd/2" &
                fi
            done 2>/dev/null
            wait
        "#,
        is_at_work: |sandbox| written_by(sandbox, "yes") > 4 * 1024 * 1024,
    },
];

/// What the kernel has counted in a file of the sandbox's control groups.
fn counted(sandbox: &str, files: &[&str], what: &str) -> u64 {
    let text = files.iter().flat_map(|file| host::in_groups(sandbox, file)).collect::<String>();
    text.lines().filter_map(|line| line.strip_prefix(what)?.parse::<u64>().ok()).sum()
}

/// The room for files in the sandbox.
fn room(sandbox: &str) -> Option<rustix::fs::StatVfs> {
    let pid = host::processes_of(sandbox).into_iter().next()?;
    rustix::fs::statvfs(format!("/proc/{pid}/root/")).ok()
}

/// How many connections were begun in the sandbox's network.
fn opened(sandbox: &str) -> u64 {
    let Some(pid) = host::processes_of(sandbox).into_iter().next() else { return 0 };
    let text = fs::read_to_string(format!("/proc/{pid}/net/snmp")).unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let at = names.split(' ').position(|name| name == "ActiveOpens");
    at.and_then(|at| values.split(' ').nth(at)?.parse().ok()).unwrap_or(0)
}

/// How many bytes a program of this name has written in the sandbox.
fn written_by(sandbox: &str, program: &str) -> u64 {
    let of = |pid: String| {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let written = read("io").lines().find_map(|line| line.strip_prefix("wchar: ")?.parse::<u64>().ok());
        written.filter(|_| read("comm").trim() == program)
    };
    host::processes_of(sandbox).into_iter().filter_map(of).sum()
}

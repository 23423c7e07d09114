//! The command line.

use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

/// What the agent was told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Args {
    /// Where the proxy listens. Loopback; port 0 is any.
    pub(crate) proxy: SocketAddr,
    /// Where the paths of the contract begin.
    pub(crate) root: PathBuf,
}

/// Reads `--proxy ADDR` and `--root DIR`.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Args, String> {
    let mut parsed =
        Args { proxy: SocketAddr::from((Ipv4Addr::LOCALHOST, polydev_proto::PROXY_PORT)), root: PathBuf::from("/") };
    let mut args = args.into_iter();
    while let Some(flag) = args.next() {
        let name = flag.to_str().unwrap_or_default();
        let value = args.next().ok_or_else(|| format!("`{}` needs a value", flag.display()))?;
        match name {
            "--proxy" => {
                let address = value.to_str().and_then(|v| v.parse::<SocketAddr>().ok());
                parsed.proxy = address
                    .filter(|a| a.ip().is_loopback())
                    .ok_or_else(|| format!("`{}` is not a loopback address with a port", value.display()))?;
            }
            "--root" => {
                parsed.root = std::fs::canonicalize(&value).map_err(|e| format!("root `{}`: {e}", value.display()))?;
            }
            other => return Err(format!("unknown flag `{other}`; there are --proxy ADDR and --root DIR")),
        }
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Args, String> {
        parse(args.iter().map(OsString::from))
    }

    #[test]
    fn without_flags_the_contract_s_defaults_hold() {
        let args = parsed(&[]).unwrap();
        assert_eq!((args.proxy.to_string().as_str(), args.root), ("127.0.0.1:3128", PathBuf::from("/")));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(parsed(&["--proxy"]).unwrap_err().contains("needs a value"));
        assert!(parsed(&["--proxy", "0.0.0.0:1"]).unwrap_err().contains("loopback"));
        assert!(parsed(&["--root", "/nowhere/at/all"]).unwrap_err().contains("/nowhere/at/all"));
        assert!(parsed(&["--verbose", "1"]).unwrap_err().contains("--verbose"));
    }
}

//! A sandbox's only way out: what it may reach, and the bytes that went there.
//!
//! ```text
//!   tool ─► 127.0.0.1 in the sandbox ─► channel that the host dialled ─► gateway
//!            the person's share: its turn comes, a place is free           │──► 429
//!                                                                          │ CONNECT host:port
//!            policy: bad name · own host · local name · deny · port · allow│──► 403
//!            direct: resolve once, check every address, connect to those   │──► 403, 502, 504
//!            or upstream proxy: the name is handed on unresolved           │──► 502, 504
//!                                                                          ▼ 200
//!            port 443: the ClientHello's name must be the CONNECT name     │──► TLS alert
//!                                                                          ▼ bytes both ways, counted, at the
//!                                                                            pace of the person's share
//! ```
//!
//! Everything that comes from the sandbox is hostile: headers, names, the first
//! TLS message, the number and the life of connections are bounded. Paths and
//! queries are never seen (they are inside TLS) or never kept.

mod address;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod gateway;
mod ledger;
mod network;
mod own;
mod policy;
mod share;
mod sni;
mod stream;
mod upstream;
mod way_out;

pub use address::{OwnHost, Special, special};
pub use gateway::{Access, Attached, DialError, Gateway, GatewayConfig, Mask, Traffic};
pub use ledger::{Connection, HostUsage, Verdict};
pub use network::{Network, SystemNetwork};
pub use policy::{BadRule, Denial, Host, HostRule, Policy, check_addresses};
pub use share::Limits;
pub use upstream::{BadUpstream, UpstreamError, UpstreamProxy};

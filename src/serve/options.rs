//! Options of the server on the command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::Args;

use super::access::AccessArgs;
use super::limits::Limits;

/// Address, access rules and limits of the server, as command-line options.
#[derive(Clone, Debug, Args)]
pub struct ServerOptions {
    /// Address to listen on; 0.0.0.0 accepts connections from other machines
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    host: IpAddr,
    /// Port to listen on; 0 chooses a free one
    #[arg(long, value_name = "N", default_value = "8000")]
    port: u16,
    #[command(flatten)]
    pub(super) access: AccessArgs,
    #[command(flatten)]
    pub(super) limits: Limits,
}

impl ServerOptions {
    /// Address and port to listen on.
    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }
}

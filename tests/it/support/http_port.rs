//! The HTTP port of a server process.

use std::net::SocketAddr;

use crate::support::server_process::ServerProcess;

/// Reads the address of the HTTP port from the log, which may be text or JSON.
pub(crate) fn http_address(running: &ServerProcess) -> SocketAddr {
    let log = running.log();
    let (_, rest) = log
        .split_once("http.address=")
        .or_else(|| log.split_once("\"http.address\":\""))
        .unwrap();
    let address = rest.split([' ', '"', '\n']).next();
    address.unwrap().parse().unwrap()
}

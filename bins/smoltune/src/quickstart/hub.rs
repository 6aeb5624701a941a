//! Whether the hub can be reached, found out in seconds and not in minutes.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long a name look-up and a connection may take together.
const PATIENCE: Duration = Duration::from_secs(5);

/// `Err` says why the hub is not tried.
pub(super) fn reachable() -> Result<(), String> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if set("HF_HUB_OFFLINE").is_some_and(|v| !["0", "false", "no"].contains(&v.as_str())) {
        return Err("HF_HUB_OFFLINE is set".into());
    }
    if ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        .iter()
        .any(|v| set(v).is_some())
    {
        // A proxy looks names up itself; the download will find out.
        return Ok(());
    }
    let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
    let address = address(&endpoint).ok_or(format!("HF_ENDPOINT {endpoint:?} is no address"))?;
    connect(address)
}

/// `HOST:PORT` of a URL.
fn address(endpoint: &str) -> Option<String> {
    let (scheme, rest) = endpoint.split_once("://")?;
    let host = rest.split('/').next().filter(|host| !host.is_empty())?;
    let port = if scheme == "http" { 80 } else { 443 };
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Some(if has_port {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    })
}

/// A name look-up has no time limit of its own, so it happens on a thread that may be left behind.
fn connect(address: String) -> Result<(), String> {
    let (tell, told) = mpsc::channel();
    let name = address.clone();
    thread::spawn(move || {
        let attempt = || -> Result<(), String> {
            let mut last = format!("{address} has no address");
            for target in address
                .to_socket_addrs()
                .map_err(|e| format!("{address}: {e}"))?
            {
                match TcpStream::connect_timeout(&target, PATIENCE) {
                    Ok(_) => return Ok(()),
                    Err(e) => last = format!("{address}: {e}"),
                }
            }
            Err(last)
        };
        // Nobody listens any more once the time is up.
        let _ = tell.send(attempt());
    });
    told.recv_timeout(PATIENCE)
        .unwrap_or_else(|_| Err(format!("{name} did not answer in {} s", PATIENCE.as_secs())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_a_port() {
        assert_eq!(
            address("https://huggingface.co").unwrap(),
            "huggingface.co:443"
        );
        assert_eq!(
            address("http://localhost:8080/hub").unwrap(),
            "localhost:8080"
        );
        assert_eq!(address("http://mirror/").unwrap(), "mirror:80");
        assert_eq!(address("mirror"), None);
    }

    #[test]
    fn a_closed_port_is_found_out_at_once() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        assert!(connect(address.clone()).is_ok());
        drop(free);
        assert!(connect(address).unwrap_err().contains("127.0.0.1"));
    }
}

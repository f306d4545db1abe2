//! Loopback ports for servers that take a number, such as a handler, which is killed and started again on the same one. What
//! listens for itself asks the system for a free port and keeps the listener.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// Below the range that Linux gives to outgoing connections, any of which may hold a number there for a while.
/// <https://www.kernel.org/doc/html/latest/networking/ip-sysctl.html> (`ip_local_port_range`)
const NUMBERS: Range<u16> = 12_000..32_000;

/// A TCP port of 127.0.0.1 that no other lease names, on this machine, for as long as this is held.
#[derive(Clone, Debug)]
pub struct Port {
    number: u16,
    /// The lease is the UDP port of the same number: it is nobody's business otherwise, it is held while the TCP port is given back
    /// and taken again, and it ends with the process.
    _lease: Arc<UdpSocket>,
}

impl Port {
    /// Leases a port that nothing listens on.
    ///
    /// # Errors
    ///
    /// All are taken.
    pub fn lease() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let count = u32::from(NUMBERS.end - NUMBERS.start);
        // Processes begin in different places, so that they seldom ask for the same.
        let begin = std::process::id().wrapping_mul(257);
        for _ in 0..count {
            let offset = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
            let Ok(offset) = u16::try_from(offset) else { continue };
            if let Some(port) = Self::lease_number(NUMBERS.start + offset) {
                return Ok(port);
            }
        }
        bail!("no loopback port from {} to {} is free", NUMBERS.start, NUMBERS.end - 1)
    }

    fn lease_number(number: u16) -> Option<Self> {
        let lease = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        drop(TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?);
        Some(Self { number, _lease: Arc::new(lease) })
    }

    /// The number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_leases_name_one_port_and_one_that_is_given_back_is_free() -> Result<()> {
        let ports = (0..200).map(|_| Port::lease()).collect::<Result<Vec<_>>>()?;
        assert_eq!(ports.iter().map(Port::number).collect::<HashSet<_>>().len(), 200);
        assert!(ports.iter().all(|port| NUMBERS.contains(&port.number())));
        // Taken and given back by what it was leased for, it is still nobody else's.
        drop(TcpListener::bind((Ipv4Addr::LOCALHOST, ports[0].number()))?);
        assert!(Port::lease_number(ports[0].number()).is_none());
        let number = ports[0].number();
        drop(ports);
        assert!(Port::lease_number(number).is_some());
        Ok(())
    }
}

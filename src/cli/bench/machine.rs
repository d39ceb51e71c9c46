//! Whether this machine has room for the connections: open files and local ports.
//! What the server has room for, the server says.

use super::error::BenchError;
use super::plan::Plan;

/// Files that are open beside the connections.
const OTHER_FILES: u64 = 64;

/// Raises the limit of open files as far as the plan needs it, and counts the ports.
pub(super) fn make_room(plan: &Plan) -> Result<(), BenchError> {
    let connections = plan.connections();
    let needed = connections as u64 + OTHER_FILES;
    if let Ok(allowed) = rlimit::increase_nofile_limit(needed)
        && allowed < needed
    {
        let connections = allowed.saturating_sub(OTHER_FILES);
        return Err(BenchError::OpenFiles { needed, allowed, connections });
    }
    match local_ports() {
        Some(ports) if ports < connections => Err(BenchError::Ports { needed: connections, ports }),
        _ => Ok(()),
    }
}

/// How many connections to one address and port are possible, if the system says.
pub(super) fn local_ports() -> Option<usize> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ends = range.split_whitespace().map(str::parse::<usize>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    Some((last + 1).saturating_sub(first))
}

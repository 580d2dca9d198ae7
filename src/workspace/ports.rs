//! Ports: the same unit and stage get the same ones, and two attempts that live at once never share one.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

/// The ports leased in this process.
#[derive(Debug, Default)]
pub struct PortLeases {
    /// Each with its owner, for the note about a collision.
    taken: Mutex<BTreeMap<u16, String>>,
}

/// Ports leased to one attempt; released when dropped.
#[derive(Debug)]
pub struct PortLease {
    leases: Arc<PortLeases>,
    /// In the order of the names.
    ports: Vec<(String, u16)>,
    notes: Vec<String>,
}

impl PortLease {
    /// Each name with its port.
    pub fn ports(&self) -> &[(String, u16)] {
        &self.ports
    }

    /// A sentence for each port that is not the usual one.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

impl Drop for PortLease {
    fn drop(&mut self) {
        let mut taken = self.leases.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, port) in &self.ports {
            taken.remove(port);
        }
    }
}

impl PortLeases {
    /// Leases one port per name to `owner` (`<unit>/<stage>`), out of the `range` ports from `base` on. The first
    /// tried is decided by the owner's name; one that is leased, or that something listens on, is passed over.
    ///
    /// # Errors
    /// No port of the range is free; the sentence says for which name.
    pub fn lease(
        self: &Arc<Self>,
        owner: &str,
        names: &[String],
        base: u16,
        range: u16,
    ) -> Result<PortLease, String> {
        let mut lease = PortLease {
            leases: Arc::clone(self),
            ports: Vec::new(),
            notes: Vec::new(),
        };
        let hash = crc32fast::hash(owner.as_bytes());
        let candidates: Vec<u16> = (0..range).filter_map(|at| base.checked_add(at)).collect();
        for (at, name) in (0_u32..).zip(names) {
            let Ok(length) = u32::try_from(candidates.len()) else {
                return Err("a range of ports is at most 65536 long".to_owned());
            };
            let usual = hash.wrapping_add(at).checked_rem(length).unwrap_or(0) as usize;
            let Some(port) = (0..candidates.len())
                .map(|step| candidates[(usual + step) % candidates.len()])
                .find(|port| self.try_take(*port, owner))
            else {
                return Err(format!(
                    "no port is free for {name} in {base}..{}; end what listens there, or raise `workspace.port_range`",
                    u32::from(base) + u32::from(range)
                ));
            };
            lease.ports.push((name.clone(), port));
            if port != candidates[usual] {
                lease.notes.push(format!(
                    "{name} is {port}, because {} is in use{}",
                    candidates[usual],
                    self.user_of(candidates[usual])
                ));
            }
        }
        Ok(lease)
    }

    fn try_take(&self, port: u16, owner: &str) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.contains_key(&port) || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
            return false;
        }
        taken.insert(port, owner.to_owned());
        true
    }

    fn user_of(&self, port: u16) -> String {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken
            .get(&port)
            .map_or_else(String::new, |owner| format!(" by {owner}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 2] = ["PORT", "DB_PORT"];

    fn lease(leases: &Arc<PortLeases>, owner: &str) -> PortLease {
        leases
            .lease(owner, &NAMES.map(str::to_owned), 42_000, 500)
            .unwrap()
    }

    #[test]
    fn a_unit_and_stage_get_the_same_ports_again_once_they_are_free() {
        let leases = Arc::default();
        let first = lease(&leases, "api/implement");
        let second = lease(&leases, "api/implement");
        for port in first.ports() {
            assert!(!second.ports().iter().any(|other| other.1 == port.1));
        }
        assert!(
            second.notes()[0].contains("by api/implement"),
            "{:?}",
            second.notes()
        );
        let before = first.ports().to_vec();
        drop((first, second));
        assert_eq!(lease(&leases, "api/implement").ports(), before);
    }

    #[test]
    fn a_port_somebody_listens_on_is_passed_over_and_that_is_said() {
        let leases: Arc<PortLeases> = Arc::default();
        let name = ["PORT".to_owned()];
        let usual = leases.lease("a/b", &name, 43_000, 500).unwrap().ports()[0].1;
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, usual)).unwrap();
        let lease = leases.lease("a/b", &name, 43_000, 500).unwrap();
        assert_ne!(lease.ports()[0].1, usual);
        assert!(lease.notes()[0].contains(&usual.to_string()));
    }

    #[test]
    fn an_exhausted_range_is_an_error_that_names_the_remedy_and_keeps_nothing() {
        let leases: Arc<PortLeases> = Arc::default();
        let names: Vec<String> = (0..4).map(|at| format!("P{at}")).collect();
        let sentence = leases.lease("a/b", &names, 44_000, 3).unwrap_err();
        assert!(sentence.contains("workspace.port_range"), "{sentence}");
        assert!(leases.taken.lock().unwrap().is_empty());
        assert!(leases.lease("a/b", &names[..1], 44_000, 0).is_err());
    }
}

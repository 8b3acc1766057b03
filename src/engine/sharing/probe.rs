//! Whether a place does what results and leases rely on.

use super::Sharing;
use crate::remote::lease::nonce;

impl Sharing {
    /// Tries what is relied on, with an object of its own: that what is written is read and listed, that what is there is not created
    /// again, and that what has changed is not replaced. Where nothing may be written, nothing is tried.
    ///
    /// # Errors
    /// What the place does otherwise, or why it cannot be asked.
    pub fn probe(&self) -> Result<(), String> {
        if !self.writes() {
            return Ok(());
        }
        let name = format!("doctor/{}", nonce());
        let tried = self.try_out(&name);
        let removed = self.objects.remove(&name).map_err(|error| error.to_string());
        tried.and(removed)
    }

    fn try_out(&self, name: &str) -> Result<(), String> {
        let objects = &self.objects;
        let asked = |error: crate::remote::Error| error.to_string();
        let wrong = |what: &str| Err(format!("{what}, so two workers could do the same job, and a result be replaced"));
        let Some(first) = objects.create(name, b"first").map_err(asked)? else {
            return Err("says of an object that was never written that it is there".to_owned());
        };
        if objects.create(name, b"again").map_err(asked)?.is_some() {
            return wrong("creates an object that is there");
        }
        let Some(second) = objects.replace(name, b"second", &first).map_err(asked)? else {
            return Err("does not replace an object that nobody has changed".to_owned());
        };
        if objects.replace(name, b"third", &first).map_err(asked)?.is_some() {
            return wrong("replaces an object that has changed");
        }
        match objects.get(name).map_err(asked)? {
            Some(found) if found.bytes == b"second" && found.version == second => {}
            _ => return Err("does not give back what was written a moment ago".to_owned()),
        }
        let listed = objects.list("doctor").map_err(asked)?;
        match listed.iter().find(|listed| listed.name == name) {
            Some(listed) if listed.version == second => Ok(()),
            Some(_) => Err("lists an object with another version than it has".to_owned()),
            None => Err("does not list what was written a moment ago".to_owned()),
        }
    }
}

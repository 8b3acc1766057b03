//! Results that are still to be brought to a shared place: noted before their entry is written, so that no kill loses one.

use super::Sharing;
use crate::engine::store::Store;
use crate::engine::store::digest::Key;

impl Sharing {
    /// Notes that a result is to be brought there.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn owe(&self, store: &Store, key: &Key) -> std::io::Result<()> {
        store.write(&store.unpushed_path(key), self.address.to_string().as_bytes(), 0o644)
    }

    /// A result has been brought there.
    ///
    /// # Errors
    /// If the note is there and cannot be removed.
    pub fn paid(&self, store: &Store, key: &Key) -> std::io::Result<()> {
        store.drop_unpushed(key)
    }

    /// The results that are still to be brought to this place.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn owed(&self, store: &Store) -> std::io::Result<Vec<Key>> {
        let mine = |key: &Key| {
            fs_err::read_to_string(store.unpushed_path(key)).is_ok_and(|text| text == self.address.to_string())
        };
        Ok(store.unpushed_keys()?.into_iter().filter(mine).collect())
    }
}

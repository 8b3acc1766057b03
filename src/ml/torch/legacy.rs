//! Torch's files from before version 1.6: five pickles, then the storages one after the other.

use super::pickle::{Machine, Value};
use super::refuse;
use crate::ml::error::Result;
use std::collections::BTreeMap;

/// The first pickle: the number 0x1950a86a20f9469cfc6c.
const MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// The second.
const PROTOCOL: i64 = 1001;

/// Whether a file begins as these do: with the version of a pickle, perhaps the length of its frame, and the number.
pub(super) fn is(bytes: &[u8]) -> bool {
    let [0x80, _, rest @ ..] = bytes else { return false };
    let framed = rest.strip_prefix(b"\x95").and_then(|rest| rest.get(8..));
    framed.unwrap_or(rest).starts_with(MAGIC)
}

/// The numbers of storages by key.
pub(super) type Storages<'a> = BTreeMap<&'a str, &'a [u8]>;

/// What the file holds, and the storages that it refers to.
///
/// # Errors
/// If it is damaged, or holds anything but weights and plain values.
pub(super) fn read<'a>(bytes: &'a [u8], left: &mut usize) -> Result<(Machine<'a>, Value<'a>, Storages<'a>)> {
    let mut at = 0;
    let mut next = || -> Result<(Machine<'a>, Value<'a>)> {
        let (machine, value, length) = Machine::load(&bytes[at..], left)?;
        at += length;
        Ok((machine, value))
    };
    next()?;
    let (_, protocol) = next()?;
    if !matches!(protocol, Value::Int(PROTOCOL)) {
        return Err(refuse(format!("the file is of another version of torch's format, expected {PROTOCOL}")));
    }
    let (system, about) = next()?;
    if !is_little_endian(&system, about) {
        return Err(refuse(format!("the file was not written {LITTLE}")));
    }
    let (machine, value) = next()?;
    let (listed, keys) = next()?;
    let Value::List(keys) = keys else { return Err(refuse("the file has no list of its storages")) };
    let storages = storages(&bytes[at..], &machine, listed.sequence(keys))?;
    Ok((machine, value, storages))
}

/// How the numbers must lie.
pub(super) const LITTLE: &str =
    "by a machine that keeps the lowest byte of a number first; load it there and save it as safetensors";

fn is_little_endian(machine: &Machine<'_>, about: Value<'_>) -> bool {
    let Value::Dict(at) = about else { return false };
    let said = machine.dict(at).iter().find(|(key, _)| matches!(key, Value::Text("little_endian")));
    matches!(said, Some((_, Value::Bool(true))))
}

/// The storages with these keys, each its length and its numbers.
fn storages<'a>(mut bytes: &'a [u8], machine: &Machine<'a>, keys: &[Value<'a>]) -> Result<Storages<'a>> {
    let mut known = BTreeMap::new();
    for storage in machine.storages() {
        let form = (storage.dtype, storage.length);
        if *known.entry(storage.key).or_insert(form) != form {
            return Err(refuse(format!("the storage `{}` is of two types or lengths", storage.key.escape_debug())));
        }
    }
    let mut storages = Storages::new();
    for key in keys {
        let Value::Text(key) = key else { return Err(refuse("the key of a storage is not text")) };
        let shown = key.escape_debug();
        let (dtype, length) =
            known.remove(key).ok_or_else(|| refuse(format!("nothing is in the storage `{shown}`")))?;
        let cut_off = || refuse(format!("the file is cut off in the storage `{shown}`; copy or download it again"));
        let (found, rest) = bytes.split_first_chunk().ok_or_else(cut_off)?;
        let found = u64::from_le_bytes(*found);
        if found != length {
            return Err(refuse(format!("the storage `{shown}` has {found} numbers, expected {length}")));
        }
        let taken = super::bytes_of(dtype, length).and_then(|length| rest.split_at_checked(length));
        let (numbers, rest) = taken.ok_or_else(cut_off)?;
        storages.insert(key, numbers);
        bytes = rest;
    }
    if !bytes.is_empty() {
        return Err(refuse(format!("{} bytes follow the last storage, expected none", bytes.len())));
    }
    Ok(storages)
}

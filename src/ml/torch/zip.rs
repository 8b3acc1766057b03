//! Zip files as torch writes them: every member stored as it is, so that a tensor can be used where it lies in the file.
//!
//! Two descriptions of a member, in front of it and in the directory at the end, must agree, and no two members may overlap.
//! Checksums are left alone: torch writes other ones on request (`set_crc32_options`) and never compares them.

use super::refuse;
use crate::ml::error::Result;
use std::collections::BTreeMap;

/// What the header of a member begins with, and so a file.
pub(super) const MEMBER: &[u8] = b"PK\x03\x04";
/// What a record of the directory begins with.
const RECORD: &[u8] = b"PK\x01\x02";
/// What the end begins with, and with sizes of 64 bits, and what says where that is.
const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR: &[u8] = b"PK\x06\x07";
/// Their lengths, without names and extra fields.
const MEMBER_BYTES: usize = 30;
const RECORD_BYTES: usize = 46;
const END_BYTES: usize = 22;
const END_64_BYTES: usize = 56;
const LOCATOR_BYTES: usize = 20;
/// The extra field with sizes of 64 bits.
const WIDE: u16 = 1;
/// Flags of a member: encrypted, and sizes only in the directory and behind the data.
const ENCRYPTED: u16 = 1;
const SIZES_BEHIND: u16 = 8;
/// The most members that are read; T5-XXL has some 570.
const MEMBERS: u64 = 1 << 16;

/// The members of a zip file by name.
pub(super) struct Archive<'a> {
    pub(super) members: BTreeMap<&'a str, &'a [u8]>,
    /// The folder that everything is in.
    folder: &'a str,
}

impl<'a> Archive<'a> {
    /// Reads the directory of a whole file.
    ///
    /// # Errors
    /// If it is damaged, holds a program, or has members that are compressed or encrypted.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self> {
        let directory = Directory::find(bytes)?;
        let mut records = directory.records()?;
        let folder = records.first().and_then(|record| record.name.split_once('/')).map_or("", |(folder, _)| folder);
        let program = format!("{folder}/constants.pkl");
        if records.iter().any(|record| record.name == program) {
            return Err(refuse("a TorchScript program; save its weights: `torch.save(model.state_dict(), FILE)`"));
        }
        records.sort_by_key(|record| record.at);
        let mut members = BTreeMap::new();
        let mut free = 0;
        for record in &records {
            let (data, end) = record.data(&bytes[..directory.start], free)?;
            free = end;
            if members.insert(record.name, data).is_some() {
                return Err(refuse(format!("the zip has two members `{}`, expected one", record.name)));
            }
        }
        Ok(Self { members, folder })
    }

    /// A member of the folder that everything is in.
    pub(super) fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.members.get(format!("{}/{name}", self.folder).as_str()).copied()
    }
}

/// The directory at the end of a file.
struct Directory<'a> {
    bytes: &'a [u8],
    start: usize,
    members: u64,
}

impl<'a> Directory<'a> {
    fn find(bytes: &'a [u8]) -> Result<Self> {
        let at = bytes.len().checked_sub(END_BYTES).filter(|at| bytes[*at..].starts_with(END)).ok_or_else(cut_off)?;
        let narrow =
            [u64::from(u16_at(bytes, at + 10)?), u32_at(bytes, at + 12)?.into(), u32_at(bytes, at + 16)?.into()];
        let locator = at.checked_sub(LOCATOR_BYTES).filter(|at| bytes[*at..].starts_with(LOCATOR));
        let (limit, [members, length, start]) = match locator {
            None => (at, narrow),
            Some(locator) => {
                let end = place(u64_at(bytes, locator + 8)?)?;
                let whole = end.checked_add(END_64_BYTES).is_some_and(|after| after <= locator);
                if !whole || !bytes[end..].starts_with(END_64) {
                    return Err(cut_off());
                }
                let wide = [u64_at(bytes, end + 32)?, u64_at(bytes, end + 40)?, u64_at(bytes, end + 48)?];
                let largest = [u16::MAX.into(), u32::MAX.into(), u32::MAX.into()];
                if narrow.iter().zip(wide).zip(largest).any(|((narrow, wide), most)| *narrow != wide.min(most)) {
                    return Err(refuse("the two end records of the zip differ; copy or download it again"));
                }
                (end, wide)
            }
        };
        let (start, length) = (place(start)?, place(length)?);
        if start.checked_add(length).is_none_or(|end| end > limit) {
            return Err(cut_off());
        }
        if members > MEMBERS {
            return Err(refuse(format!("the zip says it has {members} members, expected at most {MEMBERS}")));
        }
        Ok(Self { bytes: &bytes[start..start + length], start, members })
    }

    fn records(&self) -> Result<Vec<Record<'a>>> {
        let mut at = 0;
        let mut records = Vec::new();
        for _ in 0..self.members {
            let (record, length) = Record::read(self.bytes.get(at..).unwrap_or_default())?;
            records.push(record);
            at += length;
        }
        Ok(records)
    }
}

/// What the directory says of a member.
struct Record<'a> {
    name: &'a str,
    flags: u16,
    method: u16,
    checksum: u32,
    packed: u64,
    length: u64,
    /// Where its own header is.
    at: u64,
}

impl<'a> Record<'a> {
    /// A record, and the bytes that it takes.
    fn read(bytes: &'a [u8]) -> Result<(Self, usize)> {
        if !bytes.starts_with(RECORD) {
            return Err(cut_off());
        }
        let [flags, method] = [u16_at(bytes, 8)?, u16_at(bytes, 10)?];
        let [name, extra, comment] = [u16_at(bytes, 28)?, u16_at(bytes, 30)?, u16_at(bytes, 32)?].map(usize::from);
        let end = RECORD_BYTES + name;
        let name = text(bytes.get(RECORD_BYTES..end).ok_or_else(cut_off)?)?;
        let extra_field = bytes.get(end..end + extra).ok_or_else(cut_off)?;
        let mut wide = wide(extra_field);
        let mut number = |at: usize| -> Result<u64> {
            match u32_at(bytes, at)? {
                u32::MAX => wide.next().ok_or_else(cut_off),
                narrow => Ok(narrow.into()),
            }
        };
        let (length, packed, at) = (number(24)?, number(20)?, number(42)?);
        Ok((Self { name, flags, method, checksum: u32_at(bytes, 16)?, packed, length, at }, end + extra + comment))
    }

    /// Refuses what is not stored as it is.
    fn check_stored(&self) -> Result<()> {
        let Self { name, flags, method, packed, length, .. } = self;
        if *flags & ENCRYPTED != 0 {
            return Err(refuse(format!("the member `{name}` of the zip is encrypted, expected plain weights")));
        }
        if *method != 0 {
            return Err(refuse(format!(
                "the member `{name}` of the zip is compressed (method {method}), expected all stored as they are, which \
                 `torch.save` does; unpack it and zip it again without compression (`zip -0`), or save the weights anew"
            )));
        }
        if packed != length {
            return Err(refuse(format!("the member `{name}` of the zip is stored, yet of {length} bytes in {packed}")));
        }
        Ok(())
    }

    /// The content, and where it ends; nothing of it may lie before `free`.
    fn data(&self, bytes: &'a [u8], free: usize) -> Result<(&'a [u8], usize)> {
        self.check_stored()?;
        let at = place(self.at)?;
        if at < free {
            return Err(refuse(format!("the member `{}` of the zip lies over the one before it", self.name)));
        }
        let header = bytes.get(at..).filter(|bytes| bytes.starts_with(MEMBER)).ok_or_else(cut_off)?;
        let [name, extra] = [u16_at(header, 26)?, u16_at(header, 28)?].map(usize::from);
        let same = u16_at(header, 6)? == self.flags
            && u16_at(header, 8)? == 0
            && header.get(MEMBER_BYTES..MEMBER_BYTES + name) == Some(self.name.as_bytes())
            && self.has_sizes(header)?;
        if !same {
            return Err(refuse(format!(
                "the header of the member `{}` and the directory of the zip differ; copy or download it again",
                self.name
            )));
        }
        let start = at + MEMBER_BYTES + name + extra;
        let end = place(self.length)?.checked_add(start).ok_or_else(cut_off)?;
        Ok((bytes.get(start..end).ok_or_else(cut_off)?, end))
    }

    /// Whether a header has the sizes and the checksum of this record, or leaves them to what stands behind the data.
    fn has_sizes(&self, header: &[u8]) -> Result<bool> {
        let found = [u32_at(header, 14)?, u32_at(header, 18)?, u32_at(header, 22)?];
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        Ok(found == [self.checksum, length, length] || self.flags & SIZES_BEHIND != 0 && found == [0; 3])
    }
}

/// The numbers of 64 bits among extra fields, in their order.
fn wide(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut found: &[u8] = &[];
    while let (Ok(kind), Ok(length)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let Some(content) = extra.get(4..4 + usize::from(length)) else { break };
        if kind == WIDE {
            found = content;
            break;
        }
        extra = &extra[4 + content.len()..];
    }
    found.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes))
}

fn cut_off() -> crate::ml::error::Error {
    refuse("the zip is cut off or damaged; copy or download it again")
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| refuse("the zip has a member whose name is not UTF-8"))
}

fn place(at: u64) -> Result<usize> {
    usize::try_from(at).map_err(|_| cut_off())
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or_else(cut_off)
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    Ok(u16::from_le_bytes(array(bytes, at)?))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    Ok(u32::from_le_bytes(array(bytes, at)?))
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64> {
    Ok(u64::from_le_bytes(array(bytes, at)?))
}

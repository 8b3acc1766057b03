//! Lengths and seals that fit, around whatever an input says: what an attacker with the source makes too.

use spot::engine::store::digest::Digest;

/// The seal of a text, as `engine/store/seal.rs` makes it.
fn seal(context: &str, text: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(text);
    Digest::from_hasher(&hasher)
}

fn find_last(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).rposition(|window| window == part)
}

/// Seals an entry.
pub(crate) fn entry(bytes: &mut Vec<u8>) {
    let end = find_last(bytes, b"\"seal\": \"").unwrap_or(bytes.len());
    bytes.truncate(end);
    let seal = seal("spot entry seal v1", bytes);
    bytes.extend_from_slice(format!("\"seal\": \"{seal}\"\n}}\n").as_bytes());
}

/// Chains the lines of a journal, and seals the last.
pub(crate) fn journal(bytes: &mut Vec<u8>) {
    let mut chained = Vec::new();
    let mut prev = "null".to_owned();
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    for (at, line) in lines.iter().enumerate() {
        let rest = line
            .strip_prefix(b"{\"prev\":")
            .and_then(|rest| Some(&rest[rest.iter().position(|byte| *byte == b',')?..]));
        let mut line = rest.map_or(line.to_vec(), |rest| [b"{\"prev\":", prev.as_bytes(), rest].concat());
        if let Some(end) = find_last(&line, b",\"seal\":\"").filter(|_| at + 1 == lines.len()) {
            line.truncate(end);
            line.push(b'}');
            let seal = seal("spot journal seal v1", &line);
            line.pop();
            line.extend_from_slice(format!(",\"seal\":\"{seal}\"}}").as_bytes());
        }
        prev = format!("\"{}\"", Digest::of(&line));
        chained.extend_from_slice(&line);
        chained.push(b'\n');
    }
    *bytes = chained;
}

/// Seals a table of files.
pub(crate) fn files(bytes: &mut Vec<u8>) {
    let start = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let json = bytes[start..].strip_suffix(b"\n").unwrap_or(&bytes[start..]).to_vec();
    let beginning = format!("spot files v1 {}\n", seal("spot files seal v1", &json));
    *bytes = [beginning.as_bytes(), &json, b"\n"].concat();
}

/// Says how long the header of safetensors is: up to the brace that closes it.
pub(crate) fn safetensors(bytes: &mut [u8]) {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let Some(header) = bytes.get(8..) else { return };
    let end = header.iter().position(|byte| {
        match (in_text, byte) {
            (true, b'\\') if !escaped => {
                escaped = true;
                return false;
            }
            (true, b'"') if !escaped => in_text = false,
            (false, b'"') => in_text = true,
            (false, b'{') => depth += 1,
            (false, b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        escaped = false;
        !in_text && depth == 0
    });
    if let Some(end) = end {
        let spaces = header[end + 1..].iter().take_while(|byte| **byte == b' ').count();
        let length = (end + 1 + spaces) as u64;
        bytes[..8].copy_from_slice(&length.to_le_bytes());
    }
}

/// A zip of members that are stored as they are.
pub(crate) fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in members {
        let at = bytes.len() as u32;
        // Version, flags, method, time, date and a checksum that nobody compares; the length, packed and not, and that of the name.
        let mut about = vec![0; 14];
        about[0] = 20;
        about.extend_from_slice(&(data.len() as u32).to_le_bytes().repeat(2));
        about.extend_from_slice(&(name.len() as u16).to_le_bytes());
        about.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(b"PK\x03\x04");
        bytes.extend_from_slice(&about);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(data);
        directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        directory.extend_from_slice(&about);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&at.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let (start, length, count) = (bytes.len() as u32, directory.len() as u32, members.len() as u16);
    bytes.extend_from_slice(&directory);
    bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    bytes.extend_from_slice(&count.to_le_bytes().repeat(2));
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&start.to_le_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes
}

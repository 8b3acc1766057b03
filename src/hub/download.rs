//! One file on its way: begun, gone on with, checked, put in its place.

use super::cache::Cache;
use super::checksum::{Checksum, Hasher};
use super::client::{Client, Failed, Trouble, again, header};
use super::listing::Listing;
use super::patience::{Hitch, Patience};
use super::{Error, Watch, space};
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

/// A file that is to come.
pub(super) struct Download<'a> {
    pub(super) client: &'a Client<'a>,
    pub(super) cache: &'a Cache<'a>,
    pub(super) listing: &'a Listing,
    pub(super) name: &'a str,
}

/// What is known of it.
struct Expected<'a> {
    url: String,
    checksum: &'a Checksum,
    size: u64,
}

/// What has come of it, as a file that grows.
struct Partial {
    file: fs_err::File,
    hasher: Hasher,
    length: u64,
}

const BUFFER: usize = 1 << 16;
/// Times that content may come with a wrong checksum.
const MOST_DAMAGED: u32 = 2;

impl Download<'_> {
    /// Brings it, unless it is there.
    ///
    /// # Errors
    /// If the hub cannot be reached, refuses, or names no checksum and size; if the bytes do not match them; if the cache
    /// cannot be written.
    pub(super) fn bring(&self, meter: &mut Meter<'_>, watch: &dyn Watch) -> Result<(), Failed> {
        let commit = &self.listing.sha;
        let head = self.client.head(commit, self.name, watch)?;
        let lacks = |what: &str| {
            let (name, repo) = (self.name, self.client.repo);
            Error::Refused(format!(
                "`{name}` of {repo}: the hub does not say its {what}, so it cannot be checked; take another HF_ENDPOINT"
            ))
        };
        let checksum = head.checksum.or_else(|| self.listing.checksum(self.name)).ok_or_else(|| lacks("checksum"))?;
        let size = head.size.or_else(|| self.listing.size(self.name)).ok_or_else(|| lacks("size"))?;
        let expected = Expected { url: self.client.file_url(commit, self.name), checksum: &checksum, size };
        let _lock = self.cache.lock(&checksum, watch)?;
        let blob = self.cache.blob(&checksum);
        if !fs_err::metadata(&blob).is_ok_and(|meta| meta.is_file() && meta.len() == size) {
            self.download(&expected, meter, watch)?;
            fs_err::rename(self.cache.incomplete(&checksum), blob)?;
        }
        meter.file(size);
        Ok(self.cache.link(commit, self.name, &checksum)?)
    }

    /// Brings all of it into the file for what is incomplete.
    fn download(&self, expected: &Expected<'_>, meter: &mut Meter<'_>, watch: &dyn Watch) -> Result<(), Failed> {
        let mut partial = self.begun(expected, watch)?;
        space::check(self.client.settings.cache(), expected.size - partial.length)?;
        let (mut patience, mut damaged) = (Patience::new(self.client.settings.pause()), 0);
        loop {
            let before = partial.length;
            let attempt = self.attempt(expected, &mut partial, meter, watch);
            if partial.length > before {
                patience.renew();
            }
            if let Err(trouble) = attempt {
                partial.file.sync_data()?;
                self.client.endure(trouble, &mut patience, watch)?;
                continue;
            }
            let found = std::mem::replace(&mut partial.hasher, expected.checksum.start(expected.size)).finish();
            if found == expected.checksum.as_str() {
                return Ok(partial.file.sync_all()?);
            }
            partial.begin(expected)?;
            damaged += 1;
            let (name, repo, algorithm) = (self.name, self.client.repo, expected.checksum.algorithm());
            let why = format!(
                "`{name}` of {repo} came with the {algorithm} {found}, expected {}",
                expected.checksum.as_str()
            );
            if damaged == MOST_DAMAGED {
                let told = format!(
                    "{why}, {damaged} times; something on the way changes it: try another network, or HF_ENDPOINT"
                );
                return Err(Error::Refused(told).into());
            }
            watch.warn(&format!("{why}; beginning anew"));
        }
    }

    /// What an earlier download left, hashed.
    fn begun(&self, expected: &Expected<'_>, watch: &dyn Watch) -> Result<Partial, Error> {
        let path = self.cache.incomplete(expected.checksum);
        let mut file = fs_err::OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let (mut hasher, mut length, mut buffer) = (expected.checksum.start(expected.size), 0, vec![0; BUFFER]);
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            if watch.stopped() {
                return Err(Error::Stopped);
            }
            hasher.update(&buffer[..read]);
            length += read as u64;
        }
        let mut partial = Partial { file, hasher, length };
        if length > expected.size {
            partial.begin(expected)?;
        }
        Ok(partial)
    }

    /// Asks for the rest and writes what comes.
    fn attempt(
        &self,
        expected: &Expected<'_>,
        partial: &mut Partial,
        meter: &mut Meter<'_>,
        watch: &dyn Watch,
    ) -> Result<(), Trouble> {
        if partial.length == expected.size {
            return Ok(());
        }
        let response = self.client.open(&expected.url, partial.length)?;
        let begins = match response.status().as_u16() {
            206 => header(&response, "content-range").and_then(first_byte),
            200 => Some(0),
            _ => None,
        };
        if begins != Some(partial.length) {
            partial.begin(expected)?;
            // A server that knows no ranges sends all of it.
            if begins != Some(0) {
                return Err(Trouble::Again(Hitch::new("the hub sends another part of the file than was asked for")));
            }
        }
        self.receive(&mut response.into_body().into_reader(), expected, partial, meter, watch)
    }

    /// Writes what comes, up to the size of the file.
    fn receive(
        &self,
        body: &mut dyn Read,
        expected: &Expected<'_>,
        partial: &mut Partial,
        meter: &mut Meter<'_>,
        watch: &dyn Watch,
    ) -> Result<(), Trouble> {
        let mut buffer = vec![0; BUFFER];
        while partial.length < expected.size {
            if watch.stopped() {
                partial.file.sync_data()?;
                return Err(Error::Stopped.into());
            }
            let read = body.read(&mut buffer).map_err(|error| again(&expected.url, &error))?;
            if read == 0 {
                return Err(Trouble::Again(Hitch::new(format!("`{}` ended early", self.name))));
            }
            let wanted = usize::try_from(expected.size - partial.length).map_or(read, |left| left.min(read));
            partial.write(&buffer[..wanted])?;
            meter.bytes(partial.length, self.name);
        }
        Ok(())
    }
}

impl Partial {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Drops what has come.
    fn begin(&mut self, expected: &Expected<'_>) -> Result<(), Error> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hasher = expected.checksum.start(expected.size);
        self.length = 0;
        Ok(())
    }
}

/// Where a part begins: `bytes 100-199/200`.
fn first_byte(range: &str) -> Option<u64> {
    range.trim().strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

/// How much has come of all files, and how fast.
pub(super) struct Meter<'a> {
    watch: &'a dyn Watch,
    total: u64,
    /// Of the files before this one.
    done: u64,
    /// When this session began to receive, and how much was there of the file then.
    speed: Option<(Instant, u64)>,
    shown: Option<Instant>,
}

const BETWEEN: Duration = Duration::from_millis(200);

impl<'a> Meter<'a> {
    pub(super) fn new(watch: &'a dyn Watch, total: u64) -> Self {
        Self { watch, total, done: 0, speed: None, shown: None }
    }

    /// A file is here in whole.
    fn file(&mut self, size: u64) {
        self.done += size;
        self.speed = None;
    }

    /// So much of a file has come.
    fn bytes(&mut self, come: u64, name: &str) {
        let now = Instant::now();
        if self.shown.is_some_and(|shown| now - shown < BETWEEN) {
            return;
        }
        self.shown = Some(now);
        let (started, before) = *self.speed.get_or_insert((now, come));
        let (seconds, done) = ((now - started).as_secs_f64(), self.done + come);
        let speed = if seconds > 0.0 { come.saturating_sub(before) as f64 / seconds } else { 0.0 };
        let note = note(name, speed, self.total.saturating_sub(done));
        let (unit, of) = if self.total < 10_000_000 { ("kB", 1000) } else { ("MB", 1_000_000) };
        self.watch.step(done / of, self.total.max(done) / of, &format!("{unit}{note}"));
    }
}

/// ` of model.safetensors · 12.3 MB/s · 1 min 05 s left`
fn note(name: &str, speed: f64, left: u64) -> String {
    if speed < 1.0 {
        return format!(" · {name}");
    }
    let seconds = left as f64 / speed;
    let time = match seconds {
        _ if seconds < 100.0 => format!("{seconds:.0} s"),
        _ if seconds < 6000.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    };
    format!(" · {name} · {}/s · {time} left", super::repo::size(speed as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_how_fast_and_how_long() {
        assert_eq!(note("a.bin", 12_340_000.0, 680_000_000), " · a.bin · 12.3 MB/s · 55 s left");
        assert_eq!(note("a.bin", 1_000_000.0, 44_500_000_000), " · a.bin · 1.0 MB/s · 12.4 h left");
        assert_eq!(note("a.bin", 0.0, 1), " · a.bin");
    }

    #[test]
    fn the_first_byte_of_a_part_is_read() {
        assert_eq!(first_byte("bytes 100-199/200"), Some(100));
        assert_eq!(first_byte("bytes */200"), None);
        assert_eq!(first_byte("100-199/200"), None);
    }
}

//! A hub on loopback, with the answers of the real one: listings, redirects to another host, checksums, ranges; and faults.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// A hub that stops when it is dropped. Large files are on another host: `localhost` with another port.
pub(crate) struct MockHub {
    state: Arc<State>,
    port: u16,
    listeners: Vec<JoinHandle<()>>,
}

struct State {
    /// By the path of the listing: `models/org/name/revision/main`.
    revisions: Mutex<BTreeMap<String, Revision>>,
    requests: Mutex<Vec<Request>>,
    faults: Mutex<Vec<Fault>>,
    stopped: AtomicBool,
    cdn: u16,
}

#[derive(Clone)]
struct Revision {
    commit: String,
    files: Vec<File>,
}

#[derive(Clone)]
struct File {
    name: String,
    content: Vec<u8>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Whether it came to the host of large files.
    pub(crate) cdn: bool,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) range: Option<String>,
}

/// Something that goes wrong, with requests whose method and path contain a text.
#[derive(Clone)]
struct Fault {
    on: String,
    times: usize,
    wrong: Wrong,
}

/// What goes wrong.
#[derive(Clone)]
pub(crate) enum Wrong {
    /// Another status, with these headers.
    Status(u16, Vec<(&'static str, String)>),
    /// The connection ends after so many bytes of the body.
    Ends(usize),
    /// A bit of the body is another.
    Flipped,
    /// After so many bytes nothing comes for long.
    Stalls(usize),
    /// The body comes in pieces of so many bytes, 20 ms apart.
    Slow(usize),
    /// Ranges are not known.
    NoRanges,
    /// So many bytes more than announced, and no length.
    Longer(usize),
    /// Another body.
    Says(String),
    /// No checksum in the answer.
    NoChecksum,
}

/// Files of at most so many bytes are git's own.
const SMALL: usize = 1000;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What git calls a file with this content.
pub(crate) fn git_hash(content: &[u8]) -> String {
    hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[format!("blob {}\0", content.len()).as_bytes(), content].concat()).as_ref())
}

pub(crate) fn sha256(content: &[u8]) -> String {
    hex(digest(&SHA256, content).as_ref())
}

impl File {
    fn is_large(&self) -> bool {
        self.content.len() > SMALL
    }

    fn checksum(&self) -> String {
        if self.is_large() { sha256(&self.content) } else { git_hash(&self.content) }
    }
}

impl MockHub {
    pub(crate) fn new() -> Self {
        let [hub, cdn] = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [port, cdn_port] = [&hub, &cdn].map(|listener| listener.local_addr().unwrap().port());
        let state = Arc::new(State {
            revisions: Mutex::default(),
            requests: Mutex::default(),
            faults: Mutex::default(),
            stopped: AtomicBool::new(false),
            cdn: cdn_port,
        });
        let listen = |listener: TcpListener, cdn: bool| {
            let state = state.clone();
            std::thread::spawn(move || state.listen(&listener, cdn))
        };
        let listeners = vec![listen(hub, false), listen(cdn, true)];
        Self { state, port, listeners }
    }

    /// For `HF_ENDPOINT`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Files of a revision of a model; gives the commit.
    pub(crate) fn put(&self, id: &str, revision: &str, files: &[(&str, &[u8])]) -> String {
        self.put_kind("models", id, revision, files)
    }

    pub(crate) fn put_kind(&self, kind: &str, id: &str, revision: &str, files: &[(&str, &[u8])]) -> String {
        let files: Vec<File> =
            files.iter().map(|(name, content)| File { name: (*name).to_owned(), content: content.to_vec() }).collect();
        let all: String = files.iter().map(|file| format!("{} {}\n", file.name, file.checksum())).collect();
        let commit = git_hash(all.as_bytes());
        let mut revisions = lock(&self.state.revisions);
        for name in [revision, &commit] {
            let path = format!("{kind}/{id}/revision/{}", name.replace('/', "%2F"));
            revisions.insert(path, Revision { commit: commit.clone(), files: files.clone() });
        }
        commit
    }

    /// The next `times` requests whose method and path, or path alone, contain a text go wrong.
    pub(crate) fn fault(&self, on: &str, times: usize, wrong: Wrong) {
        lock(&self.state.faults).push(Fault { on: on.to_owned(), times, wrong });
    }

    /// What came since this was asked last.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut lock(&self.state.requests))
    }
}

impl Drop for MockHub {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        for listener in self.listeners.drain(..) {
            let _ = listener.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

/// An answer that is being put together.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, body: &[u8]) -> Self {
        Self { status, headers: Vec::new(), body: body.to_vec() }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

impl State {
    fn listen(self: Arc<Self>, listener: &TcpListener, cdn: bool) {
        listener.set_nonblocking(true).unwrap();
        while !self.stopped.load(Ordering::Relaxed) {
            let Ok((stream, _)) = listener.accept() else {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            };
            let state = self.clone();
            // Whoever asked may have gone.
            std::thread::spawn(move || drop(state.serve(stream, cdn)));
        }
    }

    fn serve(&self, mut stream: TcpStream, cdn: bool) -> std::io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            // The beginning of TLS, which is not spoken here.
            if head.is_empty() && byte[0] == 0x16 {
                return stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let mut words = lines.next().unwrap().split(' ');
        let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let request = Request {
            cdn,
            method,
            path,
            authorization: headers.get("authorization").cloned(),
            range: headers.get("range").cloned(),
        };
        lock(&self.requests).push(request.clone());
        let wrong = self.wrong(&request);
        let answer = self.answer(&request, wrong.as_ref());
        self.send(&mut stream, &request, answer, wrong.as_ref())
    }

    fn wrong(&self, request: &Request) -> Option<Wrong> {
        let line = format!("{} {}", request.method, request.path);
        let mut faults = lock(&self.faults);
        let fault = faults.iter_mut().find(|fault| fault.times > 0 && line.contains(&fault.on))?;
        fault.times -= 1;
        Some(fault.wrong.clone())
    }

    fn answer(&self, request: &Request, wrong: Option<&Wrong>) -> Answer {
        match wrong {
            Some(Wrong::Status(status, headers)) => {
                let answer = Answer::new(*status, b"{\"error\": \"so it is\"}");
                return headers.iter().fold(answer, |answer, (name, value)| answer.with(name, value.clone()));
            }
            Some(Wrong::Says(body)) => return Answer::new(200, body.as_bytes()),
            _ => {}
        }
        let path = request.path.split('?').next().unwrap();
        if request.cdn {
            let sha = path.trim_start_matches("/blob/");
            let files = lock(&self.revisions).values().flat_map(|revision| revision.files.clone()).collect::<Vec<_>>();
            let file = files.iter().find(|file| file.checksum() == sha);
            return file.map_or(Answer::new(404, b""), |file| ranged(file, request, wrong));
        }
        if let Some(listing) = path.strip_prefix("/api/") {
            if let Some((repo, rest)) = listing.split_once("/tree/") {
                let commit = rest.split('/').next().unwrap();
                let found = lock(&self.revisions).get(&format!("{repo}/revision/{commit}")).map(tree);
                return found.unwrap_or_else(|| self.unknown(listing));
            }
            let found = lock(&self.revisions).get(listing).map(listed);
            return found.unwrap_or_else(|| self.unknown(listing));
        }
        self.resolve(path, request, wrong)
            .unwrap_or_else(|| Answer::new(404, b"").with("X-Error-Code", "EntryNotFound"))
    }

    fn unknown(&self, listing: &str) -> Answer {
        let repo = listing.split("/revision/").next().unwrap();
        let known = lock(&self.revisions).keys().any(|path| path.starts_with(&format!("{repo}/revision/")));
        if known {
            return Answer::new(404, b"").with("X-Error-Code", "RevisionNotFound");
        }
        // The real one does not say whether it is there.
        Answer::new(401, b"").with("X-Error-Code", "RepoNotFound")
    }

    fn resolve(&self, path: &str, request: &Request, wrong: Option<&Wrong>) -> Option<Answer> {
        let (id, rest) = path.strip_prefix('/')?.split_once("/resolve/")?;
        let (revision, name) = rest.split_once('/')?;
        let (kind, id) = id.strip_prefix("datasets/").map_or(("models", id), |id| ("datasets", id));
        let revisions = lock(&self.revisions);
        let found = revisions.get(&format!("{kind}/{id}/revision/{revision}"))?;
        let name = name.replace("%20", " ");
        let file = found.files.iter().find(|file| file.name == name)?;
        let etag = format!("\"{}\"", file.checksum());
        if !file.is_large() {
            let answer = ranged(file, request, wrong).with("X-Repo-Commit", found.commit.clone());
            return Some(if matches!(wrong, Some(Wrong::NoChecksum)) {
                answer.with("ETag", "\"5f-62\"")
            } else {
                answer.with("ETag", etag)
            });
        }
        let place = format!("http://localhost:{}/blob/{}?signature=s3cret", self.cdn, file.checksum());
        let answer = Answer::new(302, b"").with("Location", place).with("X-Repo-Commit", found.commit.clone());
        Some(answer.with("X-Linked-Etag", etag).with("X-Linked-Size", file.content.len().to_string()))
    }

    fn send(
        &self,
        stream: &mut TcpStream,
        request: &Request,
        answer: Answer,
        wrong: Option<&Wrong>,
    ) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", answer.status);
        for (name, value) in &answer.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !matches!(wrong, Some(Wrong::Longer(_))) {
            head += &format!("Content-Length: {}\r\n", answer.body.len());
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        if request.method == "HEAD" {
            return Ok(());
        }
        let mut body = answer.body;
        match wrong {
            Some(Wrong::Ends(at)) => body.truncate(*at),
            Some(Wrong::Flipped) => *body.last_mut().unwrap() ^= 1,
            Some(Wrong::Longer(more)) => body.extend(vec![7; *more]),
            Some(Wrong::Stalls(at)) => {
                stream.write_all(&body[..*at])?;
                self.wait(Duration::from_secs(60));
                return Ok(());
            }
            Some(Wrong::Slow(piece)) => {
                for piece in body.chunks(*piece) {
                    stream.write_all(piece)?;
                    self.wait(Duration::from_millis(20));
                }
                return Ok(());
            }
            _ => {}
        }
        stream.write_all(&body)
    }

    fn wait(&self, time: Duration) {
        let started = std::time::Instant::now();
        while started.elapsed() < time && !self.stopped.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn listed(revision: &Revision) -> Answer {
    let file = |file: &File| {
        let mut value = json!({"rfilename": file.name, "size": file.content.len(), "blobId": git_hash(&file.content)});
        if file.is_large() {
            value["lfs"] = json!({"sha256": file.checksum(), "size": file.content.len(), "pointerSize": 130});
        }
        value
    };
    let files: Vec<_> = revision.files.iter().map(file).collect();
    let model = json!({"id": "org/name", "private": false, "tags": [], "downloads": 3, "sha": revision.commit, "siblings": files});
    Answer::new(200, model.to_string().as_bytes()).with("Content-Type", "application/json")
}

/// What the Python tools ask for in place of a listing.
fn tree(revision: &Revision) -> Answer {
    let file = |file: &File| {
        let mut value =
            json!({"type": "file", "oid": git_hash(&file.content), "size": file.content.len(), "path": file.name});
        if file.is_large() {
            value["lfs"] = json!({"oid": file.checksum(), "size": file.content.len(), "pointerSize": 130});
        }
        value
    };
    let files: Vec<_> = revision.files.iter().map(file).collect();
    Answer::new(200, json!(files).to_string().as_bytes()).with("Content-Type", "application/json")
}

fn ranged(file: &File, request: &Request, wrong: Option<&Wrong>) -> Answer {
    let content = &file.content;
    let from = request.range.as_ref().filter(|_| !matches!(wrong, Some(Wrong::NoRanges)));
    let from = from.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    match from {
        None => Answer::new(200, content),
        Some(from) if from >= content.len() => Answer::new(416, b""),
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", content.len() - 1, content.len());
            Answer::new(206, &content[from..]).with("Content-Range", range)
        }
    }
}

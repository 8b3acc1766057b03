//! Downloads from a hub: by the client itself, and by the real `spot`.

use super::mock_hub::{MockHub, Request, Wrong, git_hash, sha256};
use super::shell::{PROJECT, Shell, Spot};
use super::torch_files::move_to_torch;
use spot::hub::{self, Error, Kind, Presence, Repo, Settings, Snapshot, Watch};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ID: &str = "org/name";
const CONFIG: &[u8] = b"{\"model\": \"small\"}\n";

fn weights() -> Vec<u8> {
    (0..300_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// Needs a configuration and weights.
fn pair(names: &[String]) -> Result<Vec<String>, String> {
    let needed = ["config.json", "model.safetensors"].map(str::to_owned);
    match needed.iter().find(|name| !names.contains(name)) {
        Some(name) => Err(format!("it has no `{name}`")),
        None => Ok(needed.to_vec()),
    }
}

/// A hub with one model, and an empty cache.
struct Place {
    hub: MockHub,
    folder: TempDir,
    commit: String,
    /// After which a silent transfer is given up.
    timeout: Duration,
}

/// What somebody heard who may ask to stop once something has come.
#[derive(Default)]
struct Heard {
    said: Mutex<Vec<String>>,
    warned: Mutex<Vec<String>>,
    stops: bool,
    stopped: AtomicBool,
}

impl Watch for Heard {
    fn step(&self, done: u64, total: u64, note: &str) {
        assert!(done <= total, "{done} of {total} {note}");
        self.stopped.store(self.stops, Ordering::Relaxed);
    }

    fn say(&self, message: &str) {
        self.said.lock().unwrap().push(message.to_owned());
    }

    fn warn(&self, message: &str) {
        self.warned.lock().unwrap().push(message.to_owned());
    }

    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

fn repo(revision: &str) -> Repo {
    Repo::new(Kind::Model, ID, revision).unwrap()
}

impl Place {
    fn new() -> Self {
        let hub = MockHub::new();
        let files: [(&str, &[u8]); 3] =
            [("README.md", b"read me"), ("config.json", CONFIG), ("model.safetensors", &weights())];
        let commit = hub.put(ID, "main", &files);
        Self { hub, folder: TempDir::new().unwrap(), commit, timeout: Duration::from_secs(30) }
    }

    fn settings(&self, more: &[(&str, &str)]) -> Settings {
        let own = [("HF_ENDPOINT", self.hub.endpoint()), ("HF_HOME", self.folder.path().display().to_string())];
        let find = |name: &str| {
            let more = more.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            more.or_else(|| own.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone()))
        };
        Settings::of(&find).unwrap().with_patience(Duration::from_millis(5), self.timeout)
    }

    fn fetch(&self) -> Result<Snapshot, Error> {
        hub::fetch(&self.settings(&[]), &repo("main"), &pair, &Heard::default())
    }

    /// Fetches, and checks that all is as it should be.
    #[track_caller]
    fn fetches(&self) -> Vec<String> {
        let heard = Heard::default();
        let snapshot = hub::fetch(&self.settings(&[]), &repo("main"), &pair, &heard).unwrap();
        self.check(&snapshot);
        heard.warned.into_inner().unwrap()
    }

    #[track_caller]
    fn check(&self, snapshot: &Snapshot) {
        assert_eq!(snapshot.commit, self.commit);
        let names: Vec<&str> = snapshot.files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["config.json", "model.safetensors"]);
        assert_eq!(std::fs::read(&snapshot.files[0].1).unwrap(), CONFIG);
        assert_eq!(std::fs::read(&snapshot.files[1].1).unwrap(), weights());
        let left =
            std::fs::read_dir(self.path("blobs")).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap());
        assert!(left.into_iter().all(|name| !name.contains('.')));
    }

    #[track_caller]
    fn fails(&self) -> String {
        match self.fetch().unwrap_err() {
            Error::Refused(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn is_unavailable(&self) -> String {
        match self.fetch().unwrap_err() {
            Error::Unavailable(why) => why,
            other => panic!("{other:?}"),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("hub/models--org--name").join(path)
    }

    fn incomplete(&self) -> PathBuf {
        self.path(&format!("blobs/{}.incomplete", sha256(&weights())))
    }
}

fn lines(requests: &[Request]) -> Vec<String> {
    let line = |request: &Request| {
        let path = request.path.split('?').next().unwrap().replace(&sha256(&weights()), "WEIGHTS");
        let range = request.range.as_ref().map_or(String::new(), |range| format!(" {range}"));
        format!("{} {path}{range}", request.method)
    };
    requests.iter().map(line).collect()
}

/// Ranges that were asked for of the weights.
fn ranges(requests: &[Request]) -> Vec<Option<String>> {
    requests.iter().filter(|request| request.cdn).map(|request| request.range.clone()).collect()
}

// ---- what is brought, and from where ------------------------------------------------------------------------------------

#[test]
fn what_is_needed_comes_once_into_the_cache_of_the_python_tools() {
    let place = Place::new();
    assert_eq!(place.fetches(), [""; 0]);
    let commit = &place.commit;
    let expected = [
        "GET /api/models/org/name/revision/main".to_owned(),
        format!("HEAD /org/name/resolve/{commit}/config.json"),
        format!("GET /org/name/resolve/{commit}/config.json"),
        format!("HEAD /org/name/resolve/{commit}/model.safetensors"),
        format!("GET /org/name/resolve/{commit}/model.safetensors"),
        "GET /blob/WEIGHTS".to_owned(),
    ];
    assert_eq!(lines(&place.hub.requests()), expected);
    assert_eq!(std::fs::read_to_string(place.path("refs/main")).unwrap(), *commit);
    let link = std::fs::read_link(place.path(&format!("snapshots/{commit}/config.json"))).unwrap();
    assert_eq!(link, Path::new("../../blobs").join(git_hash(CONFIG)));
    assert!(place.folder.path().join(format!("hub/.locks/models--org--name/{}.lock", git_hash(CONFIG))).exists());
    place.fetches();
    assert_eq!(lines(&place.hub.requests()), [""; 0], "nothing is asked twice");
}

#[test]
fn what_python_brought_is_used_as_it_lies() {
    let place = Place::new();
    let commit = &place.commit;
    // As on a disk without links, with a line end after the reference.
    for (path, content) in [
        ("refs/main".to_owned(), format!("{commit}\n").into_bytes()),
        (format!("snapshots/{commit}/config.json"), CONFIG.to_vec()),
        (format!("snapshots/{commit}/model.safetensors"), weights()),
    ] {
        std::fs::create_dir_all(place.path(&path).parent().unwrap()).unwrap();
        std::fs::write(place.path(&path), content).unwrap();
    }
    let offline = place.settings(&[("HF_HUB_OFFLINE", "1")]);
    let Presence::Here(snapshot) = hub::look(&offline, &repo("main"), &pair).unwrap() else { panic!() };
    assert_eq!(snapshot.commit, *commit);
    hub::fetch(&offline, &repo(commit), &pair, &Heard::default()).unwrap();
    assert!(matches!(hub::look(&offline, &repo("v2"), &pair).unwrap(), Presence::Away(_)));
    // Half of it is completed by the rest alone.
    std::fs::remove_file(place.path(&format!("snapshots/{commit}/config.json"))).unwrap();
    place.fetch().unwrap();
    assert!(place.hub.requests().iter().all(|request| !request.path.contains("model.safetensors")));
}

#[test]
fn a_revision_is_a_branch_a_pull_request_or_a_commit() {
    let place = Place::new();
    let other: [(&str, &[u8]); 2] = [("config.json", b"{}"), ("model.safetensors", &weights())];
    let proposed = place.hub.put(ID, "refs/pr/2", &other);
    let fetch = |revision: &str| hub::fetch(&place.settings(&[]), &repo(revision), &pair, &Heard::default()).unwrap();
    assert_eq!(fetch("refs/pr/2").commit, proposed);
    assert_eq!(std::fs::read_to_string(place.path("refs/refs/pr/2")).unwrap(), proposed);
    assert_eq!(fetch(&place.commit).commit, place.commit);
    assert!(!place.path("refs/main").exists(), "a commit needs no reference");
    let weights_came = place.hub.requests().iter().filter(|request| request.cdn).count();
    assert_eq!(weights_came, 1, "a blob that is here is not fetched for another commit");
    let unknown = hub::fetch(&place.settings(&[]), &repo("v9"), &pair, &Heard::default()).unwrap_err().to_string();
    assert!(unknown.contains("`org/name` at `v9`: there is no such revision"), "{unknown}");
}

#[test]
fn a_branch_that_has_moved_is_not_followed_unasked() {
    let place = Place::new();
    place.fetches();
    let other: [(&str, &[u8]); 2] = [("config.json", b"{}"), ("model.safetensors", &weights())];
    let moved = place.hub.put(ID, "main", &other);
    place.hub.requests();
    place.fetches();
    assert_eq!(lines(&place.hub.requests()), [""; 0]);
    std::fs::remove_file(place.path("refs/main")).unwrap();
    assert_eq!(place.fetch().unwrap().commit, moved);
}

#[test]
fn a_repository_that_was_renamed_is_found() {
    let place = Place::new();
    let there = |path: &str| vec![("Location", path.to_owned())];
    let listing = "/api/models/org/name/revision/main?blobs=true";
    place.hub.fault("/old-name/", 1, Wrong::Status(307, there(listing)));
    for file in ["config.json", "model.safetensors"] {
        let path = format!("/org/name/resolve/{}/{file}", place.commit);
        place.hub.fault("/old-name/", 2, Wrong::Status(307, there(&path)));
    }
    let settings = place.settings(&[("HF_TOKEN", "hf_mine")]);
    let old = Repo::new(Kind::Model, "old-name", "main").unwrap();
    assert_eq!(hub::fetch(&settings, &old, &pair, &Heard::default()).unwrap().commit, place.commit);
    for request in place.hub.requests() {
        assert_eq!(request.authorization.is_some(), !request.cdn, "{request:?}");
    }
}

#[test]
fn data_sets_are_repositories_of_another_kind() {
    let place = Place::new();
    let files: [(&str, &[u8]); 2] = [("data/train 0.parquet", &weights()), ("config.json", CONFIG)];
    place.hub.put_kind("datasets", "org/rows", "main", &files);
    let all = |names: &[String]| if names.len() == 2 { Ok(names.to_vec()) } else { Err("not all".to_owned()) };
    let rows = Repo::new(Kind::Dataset, "org/rows", "main").unwrap();
    let snapshot = hub::fetch(&place.settings(&[]), &rows, &all, &Heard::default()).unwrap();
    assert_eq!(snapshot.files[1].0, "data/train 0.parquet");
    assert_eq!(std::fs::read(&snapshot.files[1].1).unwrap(), weights());
    assert!(snapshot.files[1].1.starts_with(place.folder.path().join("hub/datasets--org--rows/snapshots")));
}

// ---- who learns the token -----------------------------------------------------------------------------------------------

#[test]
fn a_token_goes_to_the_hub_and_to_nobody_else() {
    let place = Place::new();
    hub::fetch(&place.settings(&[("HF_TOKEN", "hf_mine")]), &repo("main"), &pair, &Heard::default()).unwrap();
    let requests = place.hub.requests();
    assert!(requests.iter().any(|request| request.cdn));
    for request in requests {
        let expected = (!request.cdn).then(|| "Bearer hf_mine".to_owned());
        assert_eq!(request.authorization, expected, "{request:?}");
    }
}

#[test]
fn nothing_that_is_said_holds_a_secret() {
    let place = Place::new();
    place.hub.fault("GET /blob/", 100, Wrong::Status(500, vec![]));
    let heard = Heard::default();
    let error = hub::fetch(&place.settings(&[("HF_TOKEN", "hf_mine")]), &repo("main"), &pair, &heard).unwrap_err();
    let said = format!("{error} {error:?} {:?} {:?}", heard.said.lock().unwrap(), heard.warned.lock().unwrap());
    assert!(said.contains("500") && !said.contains("hf_mine") && !said.contains("s3cret"), "{said}");
}

// ---- transfers that go wrong --------------------------------------------------------------------------------------------

#[test]
fn a_transfer_that_breaks_off_goes_on_where_it_was() {
    let place = Place::new();
    place.hub.fault("GET /blob/", 1, Wrong::Ends(500_000));
    let warned = place.fetches();
    assert!(warned[0].contains("broke off") || warned[0].contains("ended early"), "{warned:?}");
    assert_eq!(ranges(&place.hub.requests()), [None, Some("bytes=500000-".to_owned())]);
}

#[test]
fn a_transfer_that_stalls_goes_on_where_it_was() {
    let place = Place { timeout: Duration::from_secs(1), ..Place::new() };
    place.hub.fault("GET /blob/", 1, Wrong::Stalls(700_000));
    let started = Instant::now();
    place.fetches();
    assert!(started.elapsed() < Duration::from_secs(50));
    assert_eq!(ranges(&place.hub.requests())[..2], [None, Some("bytes=700000-".to_owned())]);
}

#[test]
fn a_server_that_knows_no_ranges_sends_all_of_it_again() {
    let place = Place::new();
    place.hub.fault("GET /blob/", 1, Wrong::Ends(500_000));
    place.hub.fault("GET /blob/", 1, Wrong::NoRanges);
    place.fetches();
    assert_eq!(ranges(&place.hub.requests()).len(), 2);
}

#[test]
fn a_range_that_is_refused_begins_anew() {
    let place = Place::new();
    place.hub.fault("GET /blob/", 1, Wrong::Ends(500_000));
    place.hub.fault("GET /blob/", 1, Wrong::Status(416, vec![]));
    place.fetches();
    assert_eq!(ranges(&place.hub.requests()), [None, Some("bytes=500000-".to_owned()), None]);
}

#[test]
fn what_lies_there_incomplete_is_gone_on_with_or_thrown_away() {
    let all = weights();
    let cut = |length: usize| all[..length].to_vec();
    let cases = [
        (cut(1_000_000), vec![Some("bytes=1000000-".to_owned())]),
        (all.clone(), vec![]),
        ([all.clone(), vec![1]].concat(), vec![None]),
        // Of another download: all of it is asked for again once the sum is wrong.
        (vec![1; 1_000_000], vec![Some("bytes=1000000-".to_owned()), None]),
    ];
    for (begun, expected) in cases {
        let place = Place::new();
        std::fs::create_dir_all(place.path("blobs")).unwrap();
        std::fs::write(place.incomplete(), begun).unwrap();
        place.fetches();
        assert_eq!(ranges(&place.hub.requests()), expected);
    }
}

#[test]
fn a_bit_that_flips_on_the_way_is_seen() {
    let place = Place::new();
    place.hub.fault("GET /blob/", 1, Wrong::Flipped);
    let warned = place.fetches();
    assert!(warned[0].contains("`model.safetensors`") && warned[0].contains("SHA-256"), "{warned:?}");

    let place = Place::new();
    place.hub.fault("GET /org/name/resolve", 9, Wrong::Flipped);
    let why = place.fails();
    assert!(why.contains("`config.json` of `org/name` at `main` came with the git hash"), "{why}");
    assert!(why.contains(&git_hash(CONFIG)) && why.contains("2 times"), "{why}");
    assert!(!place.path(&format!("blobs/{}", git_hash(CONFIG))).exists());
    place.hub.requests();
    let place = Place::new();
    place.hub.fault("HEAD", 2, Wrong::NoChecksum);
    place.fetches();
}

#[test]
fn no_more_is_written_than_was_announced() {
    let place = Place::new();
    place.hub.fault("GET /blob/", 1, Wrong::Longer(5_000_000));
    place.fetches();
    let place = Place::new();
    place.hub.fault("/api/", 1, Wrong::Says(" ".repeat(33 << 20)));
    assert!(place.fails().contains("longer than 32 MB"));
}

#[test]
fn a_hub_that_is_in_trouble_is_asked_again() {
    let place = Place::new();
    place.hub.fault("/api/", 2, Wrong::Status(503, vec![]));
    place.hub.fault("HEAD", 1, Wrong::Status(500, vec![]));
    place.hub.fault("GET /blob/", 2, Wrong::Status(502, vec![]));
    assert_eq!(place.fetches().len(), 5);
    let place = Place::new();
    place.hub.fault("/api/", 99, Wrong::Status(503, vec![]));
    let why = place.is_unavailable();
    assert!(why.contains("503") && why.contains("5 attempts") && why.contains("hf download org/name"), "{why}");
    assert_eq!(place.hub.requests().len(), 5);
}

#[test]
fn a_file_whose_address_is_no_longer_good_is_asked_for_again() {
    let place = Place::new();
    place.hub.fault("GET /blob/", 2, Wrong::Status(403, vec![]));
    let warned = place.fetches();
    assert!(warned[0].contains("http://localhost:") && warned[0].contains("(403)"), "{warned:?}");
    assert_eq!(place.hub.requests().iter().filter(|request| request.method == "GET" && !request.cdn).count(), 5);
}

#[test]
fn a_hub_that_has_had_enough_is_given_the_time_it_asks_for() {
    let place = Place::new();
    place.hub.fault("/api/", 1, Wrong::Status(429, vec![("Retry-After", "1".to_owned())]));
    let started = Instant::now();
    let warned = place.fetches();
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert!(warned[0].contains("429") && warned[0].contains("1.0 s"), "{warned:?}");
    place.hub.fault("/api/", 9, Wrong::Status(429, vec![("Retry-After", "0".to_owned())]));
    let other = hub::fetch(&place.settings(&[]), &repo("v2"), &pair, &Heard::default()).unwrap_err();
    assert!(matches!(&other, Error::Unavailable(why) if why.contains("HF_TOKEN")), "{other}");
}

// ---- what a hub refuses -------------------------------------------------------------------------------------------------

#[test]
fn every_refusal_says_what_to_do() {
    let cases: [(u16, &str, Option<&str>, &[&str]); 9] = [
        (401, "RepoNotFound", None, &["check the name", "set HF_TOKEN", "/settings/tokens"]),
        (401, "", Some("hf_old"), &["does not accept the token of HF_TOKEN", "make a new token"]),
        (401, "GatedRepo", None, &["accept them at", "/org/name", "set HF_TOKEN"]),
        (403, "GatedRepo", Some("hf_mine"), &["the user of the token of HF_TOKEN has not", "accept them at"]),
        (403, "", Some("hf_mine"), &["may not read it (403)", "give it that right"]),
        (403, "", None, &["shows it only to some users (403)", "set HF_TOKEN"]),
        (404, "RevisionNotFound", None, &["no such revision (404)", "/org/name/tree/main"]),
        (404, "", None, &["no such repository or revision (404)", "check the name"]),
        (418, "", None, &["answers 418", "HF_ENDPOINT"]),
    ];
    for (status, code, token, expected) in cases {
        let place = Place::new();
        place.hub.fault("/api/", 1, Wrong::Status(status, vec![("X-Error-Code", code.to_owned())]));
        let token: Vec<_> = token.map(|token| ("HF_TOKEN", token)).into_iter().collect();
        let error = hub::fetch(&place.settings(&token), &repo("main"), &pair, &Heard::default()).unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{error:?}");
        let why = error.to_string();
        assert!(why.contains("`org/name` at `main`") || status == 418, "{why}");
        assert!(expected.iter().all(|text| why.contains(text)), "{status} {code}: {why}");
        assert!(!why.contains("hf_"), "{why}");
        assert_eq!(place.hub.requests().len(), 1, "what is refused is not asked again");
    }
    let place = Place::new();
    place.hub.fault("HEAD", 1, Wrong::Status(404, vec![("X-Error-Code", "EntryNotFound".to_owned())]));
    let why = place.fails();
    assert!(why.contains("config.json is not there (404)"), "{why}");
}

#[test]
fn a_repository_without_what_is_needed_is_told_apart() {
    let place = Place::new();
    let files: [(&str, &[u8]); 1] = [("config.json", CONFIG)];
    place.hub.put(ID, "main", &files);
    assert_eq!(place.fails(), "`org/name` at `main` cannot be used: it has no `model.safetensors`");
    assert!(!place.path("refs").exists());
}

#[test]
fn a_hub_cannot_lead_elsewhere() {
    let listing =
        |commit: &str, name: &str| format!("{{\"sha\": \"{commit}\", \"siblings\": [{{\"rfilename\": \"{name}\"}}]}}");
    let commit = "a".repeat(40);
    for (body, expected) in [
        (listing(&commit, "../../../x"), "`../../../x` is not the name of a file"),
        (listing(&commit, "/etc/passwd"), "`/etc/passwd` is not the name"),
        (listing("../../x", "config.json"), "not a commit"),
        ("<html>".to_owned(), "makes no sense"),
    ] {
        let place = Place::new();
        place.hub.fault("/api/", 1, Wrong::Says(body));
        let why = place.fails();
        assert!(why.contains(expected), "{why}");
        assert!(!place.folder.path().join("hub").exists());
    }
    for there in ["file:///etc/passwd", "relative", "ftp://a/b"] {
        let place = Place::new();
        place.hub.fault("GET /org", 1, Wrong::Status(302, vec![("Location", there.to_owned())]));
        assert!(place.fails().contains("cannot be followed"));
    }
    let place = Place::new();
    place.hub.fault("/api/", 99, Wrong::Status(302, vec![("Location", "/api/again".to_owned())]));
    assert!(place.fails().contains("without end"));
    let place = Place::new();
    place.hub.fault("HEAD", 1, Wrong::Status(200, vec![("X-Repo-Commit", "b".repeat(40))]));
    assert!(place.fails().contains("answers for the commit bbbb"));
}

// ---- no network ---------------------------------------------------------------------------------------------------------

#[test]
fn without_a_network_one_message_says_how_to_bring_it() {
    let place = Place::new();
    let offline = place.settings(&[("HF_HUB_OFFLINE", "1")]);
    let why = hub::fetch(&offline, &repo("main"), &pair, &Heard::default()).unwrap_err().to_string();
    for text in [
        "`org/name` at `main` is not on this machine",
        "HF_HUB_OFFLINE is set",
        "`hf download org/name --revision main`",
    ] {
        assert!(why.contains(text), "{why}");
    }
    assert!(why.contains("`models--org--name`") && why.contains(&offline.cache().display().to_string()), "{why}");
    assert_eq!(lines(&place.hub.requests()), [""; 0]);
    // Once the hub was asked, it is known what is missing.
    place.hub.fault("GET /blob/", 99, Wrong::Ends(0));
    place.is_unavailable();
    let why = hub::fetch(&offline, &repo("main"), &pair, &Heard::default()).unwrap_err().to_string();
    assert!(why.contains("(config.json, model.safetensors; 1.2 MB)"), "{why}");
    assert!(why.contains("`hf download org/name config.json model.safetensors --revision main`"), "{why}");
    let nobody = place.settings(&[("HF_ENDPOINT", "http://127.0.0.1:9")]);
    let error = hub::fetch(&nobody, &repo("main"), &pair, &Heard::default()).unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)));
    let why = error.to_string();
    assert!(why.contains("http://127.0.0.1:9 cannot be reached") && why.contains("hf download"), "{why}");
}

#[test]
fn a_connection_that_is_not_safe_is_not_tried_again() {
    let place = Place::new();
    let safe = place.settings(&[("HF_ENDPOINT", &place.hub.endpoint().replace("http:", "https:"))]);
    let heard = Heard::default();
    let error = hub::fetch(&safe, &repo("main"), &pair, &heard).unwrap_err();
    assert!(matches!(&error, Error::Refused(why) if why.contains("no secure connection")), "{error:?}");
    assert!(error.to_string().contains("SSL_CERT_FILE") && heard.warned.into_inner().unwrap().is_empty());
    for (content, expected) in [(None, "certificates.pem"), (Some("no PEM"), "holds no certificate")] {
        let file = place.folder.path().join("certificates.pem");
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let settings = place.settings(&[("SSL_CERT_FILE", file.to_str().unwrap())]);
        let error = hub::fetch(&settings, &repo("main"), &pair, &Heard::default()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn what_is_missing_is_known_without_asking() {
    let place = Place::new();
    let words = || match hub::look(&place.settings(&[]), &repo("main"), &pair).unwrap() {
        Presence::Away(missing) => missing.in_words(),
        Presence::Here(_) => "here".to_owned(),
    };
    assert_eq!(words(), "not downloaded");
    place.hub.fault("GET /blob/", 1, Wrong::Ends(200_000));
    place.hub.fault("GET /blob/", 99, Wrong::Status(500, vec![]));
    place.is_unavailable();
    assert_eq!(words(), "not downloaded (1.0 MB of 1.2 MB left)");
    std::fs::remove_file(place.incomplete()).unwrap();
    std::fs::remove_dir_all(place.path("snapshots")).unwrap();
    assert_eq!(words(), "not downloaded (1.2 MB)");
}

// ---- stopped, and two at once -------------------------------------------------------------------------------------------

#[test]
fn what_is_stopped_goes_on_later() {
    let place = Place::new();
    place.hub.fault("GET /blob/", 1, Wrong::Slow(100_000));
    let stops = Heard { stops: true, ..Heard::default() };
    let stopped = hub::fetch(&place.settings(&[]), &repo("main"), &pair, &stops);
    assert!(matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
    // The first file stops it, or the second.
    place.hub.requests();
    let before = std::fs::metadata(place.incomplete()).map_or(0, |meta| meta.len());
    assert!(before < weights().len() as u64);
    place.fetches();
    let expected = (before > 0).then(|| format!("bytes={before}-"));
    assert_eq!(ranges(&place.hub.requests()), [expected]);
}

#[test]
fn two_that_want_the_same_fetch_it_once() {
    let place = Place::new();
    place.hub.fault("GET /blob/", 1, Wrong::Slow(100_000));
    let heard = Heard::default();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| place.check(&hub::fetch(&place.settings(&[]), &repo("main"), &pair, &heard).unwrap()));
        }
    });
    assert_eq!(ranges(&place.hub.requests()), [None]);
    let said = heard.said.into_inner().unwrap();
    assert!(said.iter().any(|text| text.contains("somebody else is downloading")), "{said:?}");
}

// ---- the Python tools ---------------------------------------------------------------------------------------------------

/// A Python that has `huggingface_hub`: `$SPOT_HF_PYTHON`, or `python3` if it has it.
fn python() -> Option<std::ffi::OsString> {
    if let Some(named) = std::env::var_os("SPOT_HF_PYTHON") {
        return Some(named);
    }
    let tried = Command::new("python3").args(["-c", "import huggingface_hub"]).output();
    tried.is_ok_and(|tried| tried.status.success()).then(|| "python3".into())
}

impl Place {
    /// What tests/golden/hub.py says.
    #[track_caller]
    fn python(&self, python: &std::ffi::OsStr, words: &[&str]) -> serde_json::Value {
        let mut command = Command::new(python);
        command
            .arg(Path::new(PROJECT).join("tests/golden/hub.py"))
            .args(words)
            .args(["config.json", "model.safetensors"]);
        for name in super::shell::OF_THE_HUB {
            command.env_remove(name);
        }
        command
            .env("HF_ENDPOINT", self.hub.endpoint())
            .env("HF_HOME", self.folder.path())
            .env("HF_HUB_DISABLE_TELEMETRY", "1");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

#[test]
fn python_and_spot_share_the_cache() {
    let Some(python) = python() else {
        eprintln!("skipped: no Python with huggingface_hub; name one by SPOT_HF_PYTHON");
        return;
    };
    // What is fetched here, Python finds, and does not fetch again.
    let place = Place::new();
    place.fetches();
    place.hub.requests();
    let found = place.python(&python, &["find", ID, "main"]);
    assert_eq!(lines(&place.hub.requests()), [""; 0]);
    assert_eq!(found["warnings"], serde_json::json!([]));
    let revision =
        serde_json::json!({"commit": place.commit, "refs": ["main"], "files": ["config.json", "model.safetensors"]});
    assert_eq!(found["revisions"], serde_json::json!([revision]));
    assert_eq!(std::fs::read(found["paths"]["model.safetensors"].as_str().unwrap()).unwrap(), weights());
    place.python(&python, &["download", ID, "main"]);
    let asked = place.hub.requests();
    assert!(
        !asked.is_empty() && asked.iter().all(|request| request.method == "HEAD" || request.path.starts_with("/api/")),
        "{asked:?}"
    );
    place.fetches();
    assert_eq!(lines(&place.hub.requests()), [""; 0]);

    // Whoever writes a blob holds its lock, for both.
    let place = Place::new();
    let lock = place.folder.path().join(format!("hub/.locks/models--org--name/{}.lock", git_hash(CONFIG)));
    std::fs::create_dir_all(lock.parent().unwrap()).unwrap();
    let mut holder = Command::new(&python)
        .arg(Path::new(PROJECT).join("tests/golden/hub.py"))
        .arg("hold")
        .arg(lock)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    holder.stdout.as_mut().unwrap().read_exact(&mut [0; 4]).unwrap();
    let heard = Heard::default();
    std::thread::scope(|scope| {
        let fetching = scope.spawn(|| hub::fetch(&place.settings(&[]), &repo("main"), &pair, &heard).unwrap());
        let waits = || heard.said.lock().unwrap().iter().any(|text| text.contains("somebody else is downloading"));
        while !waits() {
            assert!(!fetching.is_finished(), "did not wait");
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(holder.stdin.take());
        place.check(&fetching.join().unwrap());
    });
    assert!(holder.wait().unwrap().success());

    // What Python fetches is here.
    for revision in ["main", "refs/pr/2"] {
        let place = Place::new();
        let files: [(&str, &[u8]); 2] = [("config.json", CONFIG), ("model.safetensors", &weights())];
        place.hub.put(ID, "refs/pr/2", &files);
        let folder = place.python(&python, &["download", ID, revision])["folder"].as_str().unwrap().to_owned();
        place.hub.requests();
        let snapshot = hub::fetch(&place.settings(&[]), &repo(revision), &pair, &Heard::default()).unwrap();
        assert_eq!(snapshot.files[0].1, Path::new(&folder).join("config.json"));
        assert_eq!(std::fs::read(&snapshot.files[1].1).unwrap(), weights());
        assert_eq!(lines(&place.hub.requests()), [""; 0]);
    }
}

// ---- in pipelines -------------------------------------------------------------------------------------------------------

fn pipeline(from: &str) -> String {
    format!(
        "version: 1\nname: one\nstages:\n  backbone: {{kind: backbone, from: {from}}}\n  data:\n    kind: ingest\n    backbone: \
         backbone\n    from: {{builtin: w_sum}}\n    rows: {{train: 8, validation: 4, test: 4}}\n"
    )
}

/// A pipeline on a tiny model that a hub has.
struct Pipeline {
    hub: MockHub,
    shell: Shell,
    commit: String,
}

impl Pipeline {
    fn new() -> Self {
        let (hub, shell) = (MockHub::new(), Shell::new());
        shell.put("pipelines/one.yaml", pipeline("{hub: org/name}"));
        shell.put_backbone("made", 8);
        let read = |name: &str| std::fs::read(shell.path("made").join(name)).unwrap();
        let (config, tokens, weights) = (read("config.json"), read("tokenizer.json"), read("model.safetensors"));
        let files: [(&str, &[u8]); 6] = [
            ("README.md", b"x"),
            ("config.json", &config),
            ("model.safetensors", &weights),
            ("pytorch_model.bin", b"no pickle is needed"),
            ("tf_model.h5", b"nor this"),
            ("tokenizer.json", &tokens),
        ];
        let commit = hub.put(ID, "main", &files);
        Self { hub, shell, commit }
    }

    fn spot(&self, line: &str) -> Spot {
        let home = self.shell.path("hf");
        self.shell
            .spot(line)
            .env("HF_HOME", home)
            .env("HF_ENDPOINT", self.hub.endpoint())
            .env("HF_HUB_DOWNLOAD_TIMEOUT", "30")
    }

    fn job(&self) -> serde_json::Value {
        let status = self.spot("status one --format json").ok().json();
        status["jobs"].as_array().unwrap().iter().find(|job| job["job"] == "backbone").unwrap().clone()
    }
}

#[test]
fn a_run_downloads_and_nothing_else_asks_the_hub() {
    let one = Pipeline::new();
    let reading = ["status one", "explain one backbone", "run one --dry-run", "graph one", "doctor"];
    for line in reading {
        let _ = one.spot(line).start().wait_with_output().unwrap();
    }
    assert_eq!(lines(&one.hub.requests()), [""; 0]);
    one.spot("status one")
        .ok()
        .prints("backbone: blocked: input `from.hub`: not downloaded\n")
        .prints("depends on `backbone`, which is blocked");
    one.spot("run one --dry-run").ok().prints("backbone: blocked: input `from.hub`: not downloaded\n");
    one.spot("explain one backbone").ok().prints("not downloaded");
    assert_eq!(one.job()["key"], serde_json::Value::Null);

    let done = one.spot("run one").ok();
    done.complains("downloading `org/name` at `main`").complains("in 3 files");
    let asked = lines(&one.hub.requests());
    assert!(asked.iter().all(|line| ["README", "h5", ".bin"].iter().all(|name| !line.contains(name))), "{asked:?}");
    assert_eq!(one.job()["state"], "cached");

    one.spot("run one").ok().complains("0 executed, 2 cached");
    one.spot("run one --force backbone").env("HF_HUB_OFFLINE", "1").ok().complains("1 executed, 1 cached");
    one.spot("audit one --rerun 1").ok();
    assert_eq!(lines(&one.hub.requests()), [""; 0], "what is here is not asked for");
    let entry = std::fs::read_to_string(one.shell.behind("one", "backbone", "entry.json")).unwrap();
    let entry: serde_json::Value = serde_json::from_str(&entry).unwrap();
    let version = format!("`org/name` at `main`, commit {}", one.commit);
    assert_eq!(entry["provenance"]["notes"]["from.hub"], version.as_str());

    // The content counts: neither the revision that is written nor another repository with the same files.
    one.shell.put("pipelines/one.yaml", pipeline(&format!("{{hub: org/name, revision: {}}}", one.commit)));
    one.spot("run one").ok().complains("0 executed, 2 cached");
    assert_eq!(lines(&one.hub.requests()), [""; 0]);
}

/// As `google/byt5-small` has it: torch's weights only, and no file of a tokenizer.
#[test]
fn a_repository_of_torch_files_for_byt5_is_a_backbone() {
    let one = Pipeline::new();
    for name in ["config.json", "model.safetensors"] {
        let golden = Path::new(PROJECT).join("tests/golden/byt5").join(name);
        one.shell.put(&format!("model/{name}"), std::fs::read(golden).unwrap());
    }
    move_to_torch(&one.shell, &["pytorch_model.bin"], |name| Some(name));
    let read = |name: &str| std::fs::read(one.shell.path("model").join(name)).unwrap();
    let (config, weights) = (read("config.json"), read("pytorch_model.bin"));
    let files: [(&str, &[u8]); 5] = [
        ("config.json", &config),
        ("flax_model.msgpack", b"not needed"),
        ("pytorch_model.bin", &weights),
        ("special_tokens_map.json", b"nor this"),
        ("tokenizer_config.json", b"{}"),
    ];
    let commit = one.hub.put("org/bytes", "main", &files);
    one.shell.put("pipelines/one.yaml", pipeline("{hub: org/bytes}"));
    one.spot("run one --only backbone").ok().complains("in 3 files");
    let snapshot = one.shell.path("hf/hub/models--org--bytes/snapshots").join(commit);
    let mut names: Vec<_> =
        std::fs::read_dir(snapshot).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["config.json", "pytorch_model.bin", "tokenizer_config.json"]);
}

#[test]
fn a_download_that_a_signal_ends_goes_on_in_the_next_run() {
    let one = Pipeline::new();
    one.hub.fault("GET /blob/", 1, Wrong::Slow(2000));
    let child = one.spot("run one").start();
    let blobs = one.shell.path("hf/hub/models--org--name/blobs");
    let begun = || {
        let items = std::fs::read_dir(&blobs).into_iter().flatten().map(|item| item.unwrap());
        items.into_iter().find(|item| {
            item.file_name().to_str().unwrap().ends_with(".incomplete") && item.metadata().unwrap().len() > 4000
        })
    };
    let started = Instant::now();
    while begun().is_none() {
        assert!(started.elapsed() < Duration::from_secs(20), "nothing came");
        std::thread::sleep(Duration::from_millis(5));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("the same command goes on from here"), "{said}");
    let before = begun().unwrap().metadata().unwrap().len();
    let reason = one.job()["reasons"][0].as_str().unwrap().to_owned();
    assert!(reason.starts_with("input `from.hub`: not downloaded (") && reason.ends_with(" left)"), "{reason}");
    one.hub.requests();
    one.spot("run one").ok();
    assert!(ranges(&one.hub.requests()).contains(&Some(format!("bytes={before}-"))));
}

#[test]
fn two_runs_download_once() {
    let one = Pipeline::new();
    one.hub.fault("GET /blob/", 1, Wrong::Slow(20_000));
    let both = [(); 2].map(|()| one.spot("run one").start());
    for child in both {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let fetched: Vec<String> =
        one.hub.requests().iter().filter(|request| request.cdn).map(|request| request.path.clone()).collect();
    let mut once = fetched.clone();
    once.sort();
    once.dedup();
    assert_eq!(fetched.len(), once.len(), "{fetched:?}");
}

#[test]
fn what_cannot_be_downloaded_decides_the_exit_code() {
    let one = Pipeline::new();
    let offline = one.spot("run one").env("HF_HUB_OFFLINE", "1").exits_with(5);
    offline
        .complains("job `backbone` failed")
        .complains("HF_HUB_OFFLINE is set")
        .complains("`hf download org/name --revision main`");
    one.spot("status one")
        .env("HF_HUB_OFFLINE", "yes")
        .ok()
        .prints("blocked: input `from.hub`: not downloaded, and HF_HUB_OFFLINE is set");
    one.spot("run one").env("HF_ENDPOINT", "http://127.0.0.1:9").exits_with(5).complains("cannot be reached");
    one.spot("run one").env("HF_ENDPOINT", "nowhere").exits_with(5).complains("HF_ENDPOINT is not an address");
    one.shell.put("pipelines/one.yaml", pipeline("{hub: org/other}"));
    one.spot("run one").exits_with(1).complains("check the name");
}

#[test]
fn a_manifest_with_a_wrong_name_is_refused_where_it_stands() {
    for (from, expected) in [
        ("{hub: ../name}", "`../name` is not the name of a repository"),
        ("{hub: \"https://huggingface.co/org/name\"}", "is not the name of a repository"),
        ("{hub: org/name, revision: ../main}", "`../main` is not a revision"),
        ("{path: models/m, revision: main}", "`revision` belongs to `hub`"),
        ("{hub: org/name, path: models/m}", "expected one of `builtin`, `path` and `hub`"),
        ("{}", "expected one of `builtin`, `path` and `hub`"),
        ("{hubs: org/name}", "unknown key `hubs` in `from`; did you mean `hub`?"),
    ] {
        let shell = Shell::new().write("pipelines/one.yaml", pipeline(from));
        shell.spot("status one").exits_with(2).complains("one.yaml:4:").complains(expected);
    }
}

//! Signatures: what a signed run leaves, what an audit requires, what an adversary without a key can do, and what programs of others say.

use super::shell::{PROJECT, Shell};
use serde_json::{Value, json};
use spot::engine::check::audit::audit;
use spot::engine::check::require::Requirements;
use spot::engine::signing::Named;
use spot::engine::store::Store;
use spot::engine::store::digest::{Digest, Key};
use spot::engine::store::entry::Entry;
use spot::engine::store::recipe::Recipe;
use spot::ml::random::Stream;
use spot::trust::{Envelope, KeyKind, PublicKey, SecretKey, Sha256, Statement};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Three programs, of which each reads what the one before made.
const CHAIN: &str = "\
version: 1
name: chain
stages:
  first: {kind: command, run: [sh, '{script}', one], inputs: {script: s.sh}, outputs: [x]}
  second: {kind: command, run: [sh, '{script}', two, '{up}'], inputs: {script: s.sh, up: {output: first.x}}, outputs: [x]}
  third: {kind: command, run: [sh, '{script}', three, '{up}'], inputs: {script: s.sh, up: {output: second.x}}, outputs: [x]}
";
const SCRIPT: &str = "shift; cat \"$@\" > \"$SPOT_OUT/x\"; date +%N >> \"$SPOT_OUT/x\"\n";

/// A project with keys `ana` and `ci`, whose secret halves are `ana.pem` and `ci.pem`.
fn project() -> Shell {
    let shell = Shell::new().write("pipelines/chain.yaml", CHAIN).write("s.sh", SCRIPT);
    shell.spot("keygen ana --output ana.pem").ok().prints("secret key: `ana.pem`; whoever has it signs in your name");
    shell.spot("keygen ci --type ed25519 --output ci.pem").ok().prints("Ed25519");
    shell
}

fn signed() -> Shell {
    let shell = project();
    shell.spot("run chain --sign ana.pem").ok();
    shell
}

#[test]
fn keys_are_made_once_and_read_by_nobody_else() {
    let shell = project();
    let mode = std::fs::metadata(shell.path("ana.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(shell.read("keys/ana.pub").starts_with("-----BEGIN PUBLIC KEY-----\n"));
    shell
        .spot("keygen ana --output other.pem")
        .exits_with(2)
        .complains("`keys/ana.pub` is there already; a key is never replaced");
    assert!(!shell.path("other.pem").exists());
    shell.spot("keygen ../x --output x.pem").exits_with(2).complains("expected letters, digits");
    let settings = shell.path("settings");
    shell.spot("keygen eve").env("XDG_CONFIG_HOME", &settings).ok();
    assert!(settings.join("spot/eve.pem").is_file());
    shell.spot("run chain --sign eve").env("XDG_CONFIG_HOME", &settings).ok();
    shell
        .spot("run chain --sign eva")
        .env("XDG_CONFIG_HOME", &settings)
        .exits_with(2)
        .complains("`spot keygen eva` makes a key");
    let wrong = shell.spot("run chain --sign keys/ana.pub").exits_with(2);
    wrong.complains(
        "`keys/ana.pub` has a `PUBLIC KEY`; expected a `PRIVATE KEY`; whoever signs needs the other half of it",
    );
    // A file that is called as a key.
    for name in ["eve", "ana"] {
        shell.put(name, shell.read("ana.pem"));
    }
    let two = shell.spot("run chain --sign eve").env("XDG_CONFIG_HOME", &settings).exits_with(2);
    two.complains("`eve` may be the file `./eve` or the key `").complains("write the path of the one that is meant");
    shell.spot("run chain --sign ./eve").env("XDG_CONFIG_HOME", &settings).ok();
    shell.spot("audit chain --require ana").exits_with(2).complains("or the key `keys/ana.pub`");
    std::fs::set_permissions(shell.path("ana.pem"), std::fs::Permissions::from_mode(0o644)).unwrap();
    shell.spot("run chain --sign ana.pem").ok().complains("can be read by others of this machine (mode 644)");
}

#[test]
fn an_audit_believes_the_keys_that_are_required_and_no_other() {
    let shell = project();
    shell.spot("run chain").ok();
    let audit = shell.spot("audit chain --require ana").exits_with(3);
    audit.prints("of `third` is signed by nobody; required: `ana`").prints("not as required: 4");
    audit.prints("nothing was ever signed in this store, or it has lost its name");
    // What was made without a signature stays without one.
    shell.spot("run chain --sign ana.pem").ok();
    shell.spot("audit chain --require ana").exits_with(3).prints("is signed by nobody");
    shell.spot("run chain --sign ana.pem --force first --force second --force third").ok();
    let good = shell.spot("audit chain --require ana").ok();
    good.prints("signed, of 3 results: 3 by `ana`; signed runs: 2\neverything is as it was made\n");
    shell.spot("audit chain --require keys/ana.pub --require ci").ok();
    shell
        .spot("audit chain --require ci")
        .exits_with(3)
        .prints("is signed by none of the keys that are required: `ci`");
    shell.spot("audit chain --require bob").exits_with(2).complains("the project's ring, `keys/`: it has `ana`, `ci`");
    let json = shell.spot("audit chain --require ana --format json").ok().json();
    assert_eq!(json["trusted"], json!({"results": 3, "made_by": {"ana": 3}, "rerun_by": {}, "runs": 2}));
    // Another key makes one of them anew.
    shell.spot("run chain --sign ci.pem --force third").ok();
    shell
        .spot("audit chain --require ana")
        .exits_with(3)
        .prints("of `third` is not the one that `ana` signed")
        .prints("not as required: 1");
    shell.spot("audit chain --require ana --require ci").ok().prints("1 by `ci`").prints("2 by `ana`");
    // And then nobody does.
    shell.spot("run chain --force third").ok();
    shell
        .spot("audit chain --require ana --require ci")
        .exits_with(3)
        .prints("of `third`")
        .prints("not as required: 1");
}

#[test]
fn what_a_run_journaled_is_compared_with_what_entries_say() {
    let shell = project();
    shell.spot("run chain").ok();
    let (store, entries) = (Store::new(&shell.path("cache")), entries(&shell));
    let entry = entries.values().find(|entry| entry.provenance.job == "third").unwrap();
    let mut forged = entry.clone();
    let blob = store.put(b"another result").unwrap();
    (forged.artifacts[0].digest, forged.artifacts[0].size) = (blob, 14);
    forged.artifacts[0].sha256 = Some(Sha256::of(b"another result"));
    store.save(&[&forged], Vec::new()).unwrap();
    shell.spot("audit chain").exits_with(3).prints("`x` of `third` is not what any run journaled that it made");
    shell.spot("attest third --sign ana.pem").exits_with(2).complains("is not what any run journaled that it made");
    shell.spot("audit chain --repair").ok();
    assert_eq!(shell.executed_by("run chain"), ["third"]);
    shell.spot("audit chain").ok();
}

#[test]
fn a_policy_of_five_lines_decides_without_being_asked() {
    let shell = signed();
    let policy = |text: &str| shell.put("trust.yaml", text);
    policy("version: 1\nmade_by: [ana]\nprogram: 0.1.0\nrerun_by: [ci]\n");
    let audit = shell.spot("audit chain").exits_with(3);
    audit.prints("no job of the kind `command` was executed again by `ci`");
    // The programs write the time, so they come out otherwise.
    shell.spot("audit chain --rerun 1 --commands --sign ci.pem").exits_with(3);
    shell.spot("audit chain").exits_with(3).prints("`ci` executed `").prints("` again, and `x` came out otherwise");
    shell.edit("s.sh", "; date +%N >> \"$SPOT_OUT/x\"", "");
    shell.spot("run chain --sign ana.pem").ok();
    // Whoever made it is nobody else.
    policy("version: 1\nmade_by: [ana]\nrerun_by: [ana]\n");
    shell.spot("audit chain --rerun 1 --commands --sign ana.pem").exits_with(3);
    shell.spot("audit chain").exits_with(3).prints("by `ana` and by whoever made it not");
    policy("version: 1\nmade_by: [ana]\nprogram: 0.1.0\nrerun_by: [ci]\n");
    shell.spot("audit chain --rerun 1 --commands --sign ci.pem").exits_with(3).prints("the same bytes again");
    shell.spot("audit chain").ok().prints("executed again: 1 by `ci`");
    policy("version: 1\nprogram: 99.0.0\n");
    shell.spot("audit chain").exits_with(3).prints("was made by spot 0.1.0; required: 99.0.0 or newer");
    for (text, message) in [
        ("version: 1\n", "`trust.yaml`: requires nothing; expected `made_by`, `program`, `backbone` or `rerun_by`"),
        ("version: 2\nmade_by: [ana]\n", "`trust.yaml`: has `version: 2`, and this program reads 1"),
        ("version: 1\nmadeby: [ana]\n", "trust.yaml:2:1: "),
        ("version: 1\nmade_by: ana\n", "trust.yaml:2:10: "),
        (
            "version: 1\nmade_by: []\nprogram: 0.1.0\n",
            "trust.yaml:2:1: `made_by` is empty, which may mean nobody or anybody",
        ),
        ("version: 1\nmade_by: [ana]\nrerun_by: []\n", "trust.yaml:3:1: `rerun_by` is empty"),
        ("version: 1\nmade_by: [ana]\nprogram:\n", "trust.yaml:3:1: `program` is empty"),
        ("version: 1\nmade_by: [ana]\nbackbone: null\n", "trust.yaml:3:1: `backbone` is empty"),
        ("version: 1\nmade_by: null\nprogram: 0.1.0\n", "trust.yaml:2:1: `made_by` is empty"),
        ("version: 1\nmade_by: [ana]\nmade_by: [ci]\n", "trust.yaml:3:1: "),
        ("version: 1\nmade_by: [true]\n", "trust.yaml:2:11: "),
        ("version: 1\nmade_by: [bob]\n", "there is no key `bob` in the project's ring"),
        ("version: 1\nprogram: newest\n", "`program: newest` is not a version, such as `0.1.0`"),
        ("version: 1\nprogram: 0.1\n", "trust.yaml:2:10: "),
        ("version: 1\nbackbone: nano\n", "`backbone: nano` is not 12 or more hexadecimal digits"),
    ] {
        policy(text);
        shell.spot("audit chain").exits_with(2).complains(message);
    }
}

#[test]
fn results_of_another_backbone_are_told_apart() {
    let shell = Shell::finished();
    let digest = Digest::of(&std::fs::read(shell.behind("smoke", "backbone", "backbone")).unwrap()).to_string();
    shell.put("trust.yaml", format!("version: 1\nbackbone: {}\n", &digest[..12]));
    shell.spot("audit smoke").ok();
    let other = Digest::of(b"other").to_string();
    shell.put("trust.yaml", format!("version: 1\nbackbone: \"{}\"\n", &other[..16]));
    shell.spot("audit smoke").exits_with(3).prints("`backbone.backbone` is the backbone `");
}

#[test]
fn removed_runs_are_missed_from_the_middle_and_from_the_end() {
    let shell = signed();
    shell.spot("run chain --sign ana.pem").ok();
    shell.spot("run chain --sign ana.pem").ok();
    shell.spot("audit chain --require ana").ok().prints("signed runs: 3");
    let folder = shell.path("cache/v1/signed/runs/chain");
    let mut runs: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|item| item.unwrap().path()).collect();
    runs.sort();
    for (gone, message) in runs.iter().zip([
        "signed run 1 of `chain` by `ana` was removed or replaced",
        "signed run 2 of `chain` by `ana` was removed or replaced",
        "signed run 3 of `chain` by `ana`, which the project notes, was removed or replaced",
    ]) {
        let text = std::fs::read(gone).unwrap();
        std::fs::remove_file(gone).unwrap();
        shell.spot("audit chain --require ana").exits_with(3).prints(message);
        shell.put(gone.to_str().unwrap(), text);
    }
    let journals = shell.path("cache/v1/runs/chain");
    let journal =
        std::fs::read_dir(&journals).unwrap().map(|item| item.unwrap().path()).find(|path| path.is_file()).unwrap();
    let text = std::fs::read(&journal).unwrap();
    std::fs::remove_file(&journal).unwrap();
    shell.spot("audit chain --require ana").exits_with(3).prints("was removed after `ana` had signed it");
    std::fs::write(&journal, text).unwrap();
    // Folding is no removal.
    shell.spot("gc --apply --keep-runs 1").ok();
    shell.spot("audit chain --require ana").ok().prints("signed runs: 3");
    std::fs::remove_dir_all(&folder).unwrap();
    shell
        .spot("audit chain --require ana")
        .exits_with(3)
        .prints("3 signed runs of `chain` by `ana`, which the project notes, were removed");
    // Nor does another name help, or none.
    let name = shell.path("cache/v1/signed/store");
    let own = std::fs::read(&name).unwrap();
    for other in [Some("0".repeat(32)), None] {
        std::fs::remove_file(&name).unwrap();
        if let Some(other) = &other {
            std::fs::write(&name, other).unwrap();
        }
        shell.spot("audit chain --require ana").exits_with(3).prints("not as required: 1");
        replace(&name, &own);
    }
}

#[test]
fn several_stores_work_for_one_project() {
    let shell = signed();
    for cache in ["cache", "other"] {
        shell.spot(&format!("run chain --sign ana.pem --cache {cache}")).ok();
        shell.spot(&format!("audit chain --require ana --cache {cache}")).ok();
    }
    assert_eq!(std::fs::read_dir(shell.path("keys/runs")).unwrap().count(), 2);
    shell.spot("audit chain --require ana").ok().prints("signed runs: 2");
    shell.spot("audit chain --require ana --cache other").ok().prints("signed runs: 1");
}

/// All entries of a store.
fn entries(shell: &Shell) -> BTreeMap<Key, Entry> {
    let store = Store::new(&shell.path("cache"));
    store.keys().unwrap().into_iter().map(|key| (key, store.entry(&key).unwrap().unwrap().unwrap())).collect()
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for item in std::fs::read_dir(folder).into_iter().flatten() {
        let path = item.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// Whoever can write all of the store, knows the program, and has a key of their own, but none that is trusted.
struct Adversary<'a> {
    store: &'a Store,
    entries: Vec<Entry>,
    /// An entry of before, and its signature.
    older: (Entry, PathBuf, Vec<u8>),
    key: SecretKey,
    random: Stream,
}

impl Adversary<'_> {
    fn below(&mut self, end: usize) -> usize {
        self.random.below(end)
    }

    fn entry(&mut self) -> Entry {
        let at = self.below(self.entries.len());
        self.entries[at].clone()
    }

    fn file(&mut self, folder: &str) -> PathBuf {
        let files: Vec<PathBuf> =
            files(&self.store.root().join(folder)).into_iter().filter(|path| !path.is_symlink()).collect();
        files[self.below(files.len())].clone()
    }

    /// Some bytes of a file become others, in one to eight places.
    fn scribble(&mut self, path: &Path) {
        let before = std::fs::read(path).unwrap();
        let mut bytes = before.clone();
        while bytes == before {
            for _ in 0..=self.below(8) {
                let (at, byte) = (self.below(bytes.len()), self.below(256));
                bytes[at] = byte as u8;
            }
        }
        replace(path, &bytes);
    }

    /// Puts a signature of one's own in the place of those of an entry, under the name and id of whoever made it.
    fn sign(&mut self, entry: &Entry, is_disguised: bool) {
        let text = entry.to_text();
        let digest = Digest::of(text.as_bytes());
        let statement = spot::engine::signing::made::statement(entry, &digest);
        let mut envelope = Envelope::sign(statement.to_json().as_bytes(), &self.key).unwrap().to_json();
        let path = files(&self.store.signed_folder(&entry.key)).remove(0);
        if is_disguised {
            let own: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let id = own["signatures"][0]["keyid"].as_str().unwrap();
            envelope = envelope.replace(&self.key.public().id(), id);
        }
        replace(&path, (envelope + "\n").as_bytes());
    }

    /// Does one of many things. What it was, for messages.
    fn act(&mut self) -> String {
        let what = self.below(17);
        let mut entry = self.entry();
        match what {
            // Another result, which the store has.
            0 => {
                let other = self.entry();
                let own = entry.artifacts[0].clone();
                let (digest, size) = (other.artifacts[0].digest, other.artifacts[0].size);
                entry.artifacts[0].digest = if digest == own.digest { Digest::of(SCRIPT.as_bytes()) } else { digest };
                entry.artifacts[0].size = size;
                self.store.put(SCRIPT.as_bytes()).unwrap();
            }
            // A result of one's own.
            1 | 2 => {
                let bytes = format!("99.9 {}", self.below(1000)).into_bytes();
                let record = &mut entry.artifacts[0];
                record.digest = self.store.put(&bytes).unwrap();
                (record.size, record.sha256) = (bytes.len() as u64, Some(Sha256::of(&bytes)));
                if what == 2 {
                    self.sign(&entry, true);
                }
            }
            // Another story of how it was made.
            3 => entry.provenance.device = "cuda:0".to_owned(),
            4 => entry.provenance.program = "99.0.0".to_owned(),
            5 => entry.provenance.end = "2020-01-01T00:00:00.000Z".to_owned(),
            6 => entry.artifacts[0].size += 1,
            7 => entry.artifacts[0].r#type = "scores".to_owned(),
            8 => entry.artifacts[0].sha256 = Some(Sha256::of(b"other")),
            // Another recipe, and so another key.
            9 => {
                let params = json!({"run": ["sh", "-c", format!("echo {}", self.below(1000))], "outputs": ["x"]});
                entry.recipe = Recipe::new("command", entry.recipe.version, params, entry.recipe.inputs.clone());
                entry.key = entry.recipe.key();
            }
            10 => {
                self.sign(&entry, false);
                return "a signature of one's own".to_owned();
            }
            11 => {
                let (path, signer) = (files(&self.store.signed_folder(&entry.key)).remove(0), self.entry());
                let other = files(&self.store.signed_folder(&signer.key)).remove(0);
                if path == other {
                    std::fs::remove_file(path).unwrap();
                } else {
                    replace(&path, &std::fs::read(other).unwrap());
                }
                return "another's signature, or none".to_owned();
            }
            12 => {
                let path = self.file("signed");
                self.scribble(&path);
                return format!("scribbled on {}", path.display());
            }
            13 => {
                let folder = ["blobs", "entries"][self.below(2)];
                let path = self.file(folder);
                self.scribble(&path);
                return format!("scribbled on {}", path.display());
            }
            14 => {
                let path = self.file("signed/runs");
                std::fs::remove_file(&path).unwrap();
                return format!("removed {}", path.display());
            }
            15 => {
                let (entry, path, signature) = &self.older;
                replace(path, signature);
                replace(&self.store.entry_path(&entry.key), entry.to_text().as_bytes());
                return "an older result, signed".to_owned();
            }
            // A journal that tells another story, chained and sealed anew.
            _ => {
                let path = files(&self.store.root().join("runs")).remove(self.below(2));
                rewrite(&path, self.below(100));
                return format!("rewrote {}", path.display());
            }
        }
        let path = self.store.entry_path(&entry.key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        replace(&path, entry.to_text().as_bytes());
        format!("forgery {what} of an entry")
    }
}

/// Replaces a file that is read-only.
fn replace(path: &Path, bytes: &[u8]) {
    let _ = std::fs::remove_file(path);
    std::fs::write(path, bytes).unwrap();
}

/// Changes what a journal says, and chains and seals it as the program does.
fn rewrite(path: &Path, number: usize) {
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (mut written, mut prev) = (String::new(), Value::Null);
    for mut line in lines {
        line["prev"] = prev;
        let had_seal = line.as_object_mut().unwrap().remove("seal").is_some();
        if line["event"]["event"] == "start" {
            line["event"]["time"] = json!(format!("2020-01-01T00:00:00.{number:03}Z"));
        }
        let mut text = line.to_string();
        if had_seal {
            let seal = blake3::derive_key("spot journal seal v1", text.as_bytes());
            text.pop();
            text += &format!(",\"seal\":\"{}\"}}", blake3::Hash::from_bytes(seal).to_hex());
        }
        prev = json!(Digest::of(text.as_bytes()));
        written += &(text + "\n");
    }
    replace(path, written.as_bytes());
}

/// `SPOT_ROUNDS` asks for more of them.
#[test]
fn an_adversary_without_a_key_is_always_found() {
    let shell = project();
    shell.spot("run chain --sign ci.pem").ok();
    let before = self::entries(&shell).into_values().find(|entry| entry.provenance.job == "third").unwrap();
    let signature = files(&Store::new(&shell.path("cache")).signed_folder(&before.key)).remove(0);
    let older = (before, signature.clone(), std::fs::read(&signature).unwrap());
    shell.spot("run chain --sign ci.pem --force third").ok();
    // What nothing needs any more may be changed by anybody.
    std::fs::remove_file(signature).unwrap();
    let key = PublicKey::from_pem(&shell.read("keys/ci.pub")).unwrap();
    let ci = Named { name: "ci".to_owned(), key };
    let required = Requirements { made_by: vec![ci], ends: shell.path("keys/runs"), ..Requirements::default() };
    let cache = shell.path("cache");
    let kept: BTreeMap<PathBuf, Vec<u8>> = files(&cache)
        .into_iter()
        .filter(|path| !path.is_symlink())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    let found = |store: &std::sync::Arc<Store>| audit(store, None, Some(&required)).unwrap().problems;
    let store = Store::new(&cache);
    assert!(found(&store).is_empty(), "{:?}", found(&store));
    let rounds = std::env::var("SPOT_ROUNDS").map_or(2000, |rounds| rounds.parse().unwrap());
    let entries: Vec<Entry> = self::entries(&shell).into_values().collect();
    let key = SecretKey::generate(KeyKind::Ed25519).unwrap();
    let mut adversary = Adversary { store: &store, entries, older, key, random: Stream::new(0, "adversary") };
    for round in 0..rounds {
        let act = adversary.act();
        assert!(!found(&Store::new(&cache)).is_empty(), "round {round}: {act}");
        for path in files(&cache).into_iter().filter(|path| !path.is_symlink()) {
            match kept.get(&path) {
                None => std::fs::remove_file(path).unwrap(),
                Some(bytes) if std::fs::read(&path).unwrap() != *bytes => replace(&path, bytes),
                Some(_) => {}
            }
        }
        for (path, bytes) in kept.iter().filter(|(path, _)| !path.exists()) {
            std::fs::write(path, bytes).unwrap();
        }
    }
    assert!(found(&Store::new(&cache)).is_empty());
}

#[test]
fn attestations_say_what_the_entry_says() {
    let shell = project();
    shell.spot("run chain").ok();
    let key = PublicKey::from_pem(&shell.read("keys/ana.pub")).unwrap();
    let out = shell.spot("attest second --sign ana.pem").ok().out;
    let statement = Envelope::from_json(out.trim_end().as_bytes()).unwrap().statement_by(&key).unwrap();
    let Statement { subject, predicate, .. } =
        Statement::from_json(&statement, "https://slsa.dev/provenance/v1").unwrap();
    let bytes = std::fs::read(shell.behind("chain", "second", "x")).unwrap();
    assert_eq!(subject[0].name, "second.x");
    assert_eq!(subject[0].digest["sha256"], Sha256::of(&bytes).to_string());
    assert_eq!(subject[0].digest["blake3"], Digest::of(&bytes).to_string());
    let build = &predicate["buildDefinition"];
    assert_eq!(build["externalParameters"]["kind"], "command");
    assert_eq!(build["resolvedDependencies"][1]["annotations"], json!({"artifact": "first.x"}));
    assert_eq!(predicate["runDetails"]["metadata"]["invocationId"], "chain/second");
    // A run is a line for each of its results.
    let run = shell.spot("log chain --format json").ok().json()["runs"][0]["run"].as_str().unwrap().to_owned();
    for what in [run.as_str(), "chain:last"] {
        assert_eq!(shell.spot(&format!("attest {what} --sign ana.pem")).ok().out.lines().count(), 3);
    }
    shell.spot("attest second").exits_with(2).complains("say who signs, with `--sign KEY`");
    shell.spot("attest nothing --sign ana.pem").exits_with(2).complains("nothing in the cache is called `nothing`");
    shell.spot("audit chain --require ana").exits_with(3);
    shell.spot("attest chain:last --sign ana.pem --keep --output kept.jsonl").ok().complains("kept: 3 signatures");
    shell.spot("audit chain --require ana").ok();
}

/// What programs of others say: in-toto, securesystemslib and model_signing from PyPI, and sha256sum.
#[test]
fn programs_of_others_verify_what_is_signed() {
    let shell = Shell::finished();
    shell.spot("keygen ana --output ana.pem").ok();
    shell.spot("keygen ci --type ed25519 --output ci.pem").ok();
    for key in ["ana", "ci"] {
        shell.spot(&format!("attest smoke:last --sign {key}.pem --output {key}.jsonl")).ok();
    }
    shell.spot("prompt export source[w_sum,0] --to prompt --sign ana.pem").ok();
    let refused = shell.spot("prompt export source[w_sum,0] --to other --sign ci.pem").exits_with(2);
    refused.complains("the key is Ed25519, and OpenSSF Model Signing verifies P-256 only");
    shell.spot("prompt export source[w_sum,0] --to x.npy --sign ana.pem").exits_with(2).complains("give `--to FOLDER`");
    let sums = Command::new("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(shell.path("prompt")).output().unwrap();
    assert!(sums.status.success(), "{}", String::from_utf8_lossy(&sums.stderr));
    let python = std::env::var("SPOT_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = Path::new(PROJECT).join("tests/golden/verify.py");
    let Ok(done) = Command::new(python).arg(script).current_dir(shell.path(".")).output() else {
        return eprintln!("skipped: no Python");
    };
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    match done.status.code() {
        Some(77) => eprintln!("skipped: {out}"),
        code => assert_eq!(code, Some(0), "{out}\n{err}"),
    }
}

/// A tuning of a second or two, which saves its state every ten steps.
const TUNING: &str = r#"
version: 1
name: tuning
stages:
  backbone: {kind: backbone, from: {builtin: nano}}
  data: {kind: ingest, backbone: backbone, from: {builtin: w_mood}, rows: {train: 40, validation: 8}}
  tuned:
    kind: tune
    backbone: backbone
    data: data
    length: 8
    training: {steps: 200, batch_size: 6, evaluate_every: 10}
"#;

#[test]
fn a_signed_run_goes_on_from_nothing_that_somebody_else_left() {
    let shell = project().write("pipelines/tuning.yaml", TUNING);
    shell.spot("run tuning --cache whole").ok();
    let expected = std::fs::read(shell.behind_in("whole", "tuning", "tuned", "prompt")).unwrap();
    let partial = shell.path("cache/v1/partial");
    let state = |shell: &Shell| {
        let folder = std::fs::read_dir(shell.path("cache/v1/partial")).ok()?.flatten().next()?.path();
        folder.join("state").is_file().then(|| folder.join("state"))
    };
    let interrupted = |how: &str| {
        let mut child = shell.spot(&format!("run tuning {how}")).start();
        while state(&shell).is_none() {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it saved a state");
            std::thread::yield_now();
        }
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(130));
    };
    let goes_on = |how: &str| {
        let done = shell.spot(&format!("run tuning {how}")).ok();
        assert_eq!(std::fs::read(shell.behind("tuning", "tuned", "prompt")).unwrap(), expected);
        let entry = std::fs::read_to_string(shell.behind("tuning", "tuned", "entry.json")).unwrap();
        assert!(!partial.exists() || std::fs::read_dir(&partial).unwrap().count() == 0);
        let _ = std::fs::remove_dir_all(shell.path("cache"));
        (done.err.contains("was not written by a run with this key"), entry.contains("\"resumed_at\":null"))
    };
    // By the same key, by none, and by nobody's in a signed run.
    interrupted("--sign ana.pem");
    assert_eq!(goes_on("--sign ana.pem"), (false, false));
    interrupted("--sign ana.pem");
    assert_eq!(goes_on(""), (false, false));
    interrupted("");
    assert_eq!(goes_on("--sign ana.pem"), (true, true));
    interrupted("--sign ana.pem");
    assert_eq!(goes_on("--sign ci.pem"), (true, true));
    // A state that was changed, with its own hash made anew.
    interrupted("--sign ana.pem");
    let path = state(&shell).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let hash = blake3::hash(&bytes[32..]);
    bytes[..32].copy_from_slice(hash.as_bytes());
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(goes_on("--sign ana.pem"), (true, true));
}

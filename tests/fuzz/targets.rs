//! The readers: each takes bytes of anybody, through the function that the product calls, and must come back with a value or an
//! error. What it says of an error is made too.

use super::scratch::Scratch;
use super::{corpus, mending};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use spot::data::{
    Card, DataError, DatasetFile, Inputs, Layout, Lines, Predictions, Ranking, ScoresFile, Table, Trials, read_dataset,
    read_task, values,
};
use spot::engine::manifest::{Options, load, outline};
use spot::engine::sharing::{Access, Failures, Sharing};
use spot::engine::signing::again::Again;
use spot::engine::signing::made::{about, is_about};
use spot::engine::store::digest::{Digest, Key};
use spot::engine::store::entry::Entry;
use spot::engine::store::files::hash;
use spot::engine::store::{Store, journal};
use spot::ml::model::{Bytes, Dims, Precision, Shard, Weights};
use spot::ml::prompt::file::{Matrices, PromptFile};
use spot::ml::prompt::{form, npy, peft};
use spot::ml::tasks::{Answer, Dialect, Labels, Metric, Own, Quotes, Reading, Sheet, Split, Template, read_file};
use spot::ml::text::{sentencepiece, tokens::Tokens};
use spot::ml::torch;
use spot::remote::Address;
use spot::remote::lease::{Leases, Worker, workers};
use spot::trust::envelope::Envelope;
use spot::trust::key::{PublicKey, SecretKey};
use spot::trust::statement::Statement;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// A reader.
pub(crate) struct Target {
    /// Its name, and that of its folder of the corpus.
    pub(crate) name: &'static str,
    /// MiB that reading an input of at most 64 KiB may take.
    pub(crate) memory: usize,
    /// Inputs of a bounded run.
    pub(crate) runs: u64,
    /// Files and folders of the project that inputs are made of, beside those in the corpus.
    pub(crate) seeds: &'static [&'static str],
    /// What means something to it.
    pub(crate) dictionary: &'static [&'static str],
    /// Makes lengths and seals fit the rest again, so that a reader goes past them.
    pub(crate) mend: fn(&mut Vec<u8>),
    /// Reads an input.
    pub(crate) read: fn(&Scratch, &[u8]),
}

fn as_it_is(_: &mut Vec<u8>) {}

/// All readers.
pub(crate) const ALL: &[Target] = &[
    Target {
        name: "manifest",
        memory: 128,
        runs: 8_000,
        seeds: &["tests/manifests", "pipelines/nano.yaml", "pipelines/smoke.yaml"],
        dictionary: &[
            "extends: base.yaml\n",
            "profiles:",
            "vars:",
            "stages:",
            "kind: ",
            "matrix: {",
            "${",
            "${a}",
            "[*]",
            "like: ",
            "&a ",
            "*a",
            "<<: ",
            "!!str ",
            "? ",
            "|\n",
            ">-\n",
            "\t",
            "\u{feff}",
            "environment:",
            "version: 1\n",
            "[[",
            "{{",
            "'",
            "~",
            "null",
            "transfer",
            "tune",
            "command",
            "inputs: {",
            "outputs: [",
            "# ",
            "---\n",
            "...\n",
            "%YAML 1.2\n",
            "\u{2028}",
            "\u{85}",
        ],
        mend: as_it_is,
        read: manifest,
    },
    Target {
        name: "entry",
        memory: 32,
        runs: 300_000,
        seeds: &[],
        dictionary: &[
            "\"recipe\": ",
            "\"artifacts\": ",
            "\"parts\":[",
            "\"external\":\"",
            "\"digest\":\"",
            "\"size\":",
            "\"version\": 2,",
            "\"provenance\": ",
            "\"seal\": ",
            "\n",
            "\",\"",
            "{\"",
            "null",
            "\\u0000",
            "\\ud800",
            "1e309",
            "[]",
        ],
        mend: mending::entry,
        read: entry,
    },
    Target {
        name: "journal",
        memory: 32,
        runs: 20_000,
        seeds: &[],
        dictionary: &[
            "{\"prev\":",
            "null",
            "\"after\":{\"run\":\"",
            "\"event\":",
            "{\"event\":\"folded\",\"line\":null,\"uses\":[",
            "\"aside\"",
            "\"found\"",
            "\"list\":\"",
            "\"jobs\":",
            "\"seal\":\"",
            "}\n",
            "\"key\":\"",
            "\"time\":\"",
            "\"job\":\"",
            "\n",
            "../",
        ],
        mend: mending::journal,
        read: journals,
    },
    Target {
        name: "files",
        memory: 32,
        runs: 50_000,
        seeds: &[],
        dictionary: &[
            "spot files v1 ",
            "\"stat\":",
            "\"size\":",
            "\"mtime_ns\":",
            "\"inode\":",
            "\"digest\":\"",
            "/dev/zero",
            "../",
            "\\u0000",
        ],
        mend: mending::files,
        read: files,
    },
    Target {
        name: "parquet",
        memory: 256,
        runs: 20_000,
        seeds: &["tests/golden/tables"],
        dictionary: &["PAR1", "ARROW:schema", "huggingface", "list", "element", "item", "\u{0}", "\u{15}", "\u{1c}"],
        mend: as_it_is,
        read: parquet,
    },
    Target {
        name: "arrow",
        memory: 64,
        runs: 50_000,
        seeds: &[
            "tests/golden/tables/nested.arrow",
            "tests/golden/tables/stream.arrow",
            "tests/golden/tables/packed.arrow",
        ],
        dictionary: &["ARROW1", "\u{0}\u{0}\u{0}\u{0}", "huggingface", "text"],
        mend: as_it_is,
        read: arrow,
    },
    Target {
        name: "safetensors",
        memory: 32,
        runs: 60_000,
        seeds: &["tests/golden/adapter", "tests/golden/torch/model.safetensors"],
        dictionary: &[
            "\"__metadata__\":{",
            "\"dtype\":\"F32\"",
            "\"BF16\"",
            "\"F16\"",
            "\"F64\"",
            "\"F8_E4M3\"",
            "\"F4\"",
            "\"shape\":[",
            "\"data_offsets\":[",
            "\"prompt\":",
            "\"origin\":",
            "\"prompt_embeddings\":",
            "\"step\":\"",
            "\"score\":\"",
            "shared.weight",
            "lm_head.weight",
            "[0,0]",
            "  ",
        ],
        mend: |bytes| mending::safetensors(bytes),
        read: safetensors,
    },
    Target {
        name: "tokenizer",
        memory: 256,
        runs: 30_000,
        seeds: &["tests/golden/forms/tokenizer.json"],
        dictionary: &[
            "\"added_tokens\":[",
            "\"normalizer\":",
            "\"pre_tokenizer\":",
            "\"post_processor\":",
            "\"decoder\":",
            "\"model\":",
            "\"vocab\":",
            "\"unk_id\":",
            "\"type\":\"Unigram\"",
            "\"type\":\"BPE\"",
            "\"type\":\"WordPiece\"",
            "\"type\":\"WordLevel\"",
            "\"type\":\"Precompiled\"",
            "\"precompiled_charsmap\":\"",
            "\"type\":\"Sequence\"",
            "\"type\":\"Replace\"",
            "\"Regex\":\"",
            "\"String\":\"",
            "\"content\":\"",
            "\"type\":\"Metaspace\"",
            "\"type\":\"Split\"",
            "\"type\":\"ByteLevel\"",
            "\"type\":\"TemplateProcessing\"",
            "\"special\":true",
            "\"normalized\":true",
            "\"type\":\"Prepend\",\"prepend\":\"",
            "\"type\":\"NFKD\"",
            "\"type\":\"Fuse\"",
            "\"type\":\"Strip\"",
            "\"prepend_scheme\":\"first\"",
            "(a+)+$",
        ],
        mend: as_it_is,
        read: tokenizer,
    },
    Target {
        name: "spiece",
        memory: 64,
        runs: 10_000,
        seeds: &[
            "tests/golden/forms/spiece.model",
            "tests/golden/spiece/across.model",
            "tests/golden/spiece/identity.model",
            "tests/golden/spiece/rules.model",
        ],
        dictionary: &["\n", "\u{8}", "\u{10}\u{1}", "\u{12}", "\u{1a}", "<unk>", "</s>", "\u{2581}", "nmt_nfkc"],
        mend: as_it_is,
        read: spiece,
    },
    Target {
        name: "torch",
        memory: 96,
        runs: 60_000,
        seeds: &["tests/golden/torch"],
        dictionary: &[
            "PK\u{3}\u{4}",
            "PK\u{1}\u{2}",
            "PK\u{5}\u{6}",
            "PK\u{6}\u{6}",
            "PK\u{6}\u{7}",
            "data.pkl",
            "byteorder",
            "constants.pkl",
            "little",
            "big",
        ],
        mend: as_it_is,
        read: torch_file,
    },
    Target {
        name: "pickle",
        memory: 96,
        runs: 100_000,
        seeds: &[],
        dictionary: &[
            "ctorch._utils\n_rebuild_tensor_v2\n",
            "ctorch._utils\n_rebuild_parameter\n",
            "ctorch\nFloatStorage\n",
            "ctorch\nBFloat16Storage\n",
            "ccollections\nOrderedDict\n",
            "cposix\nsystem\n",
            "X\u{7}\u{0}\u{0}\u{0}storage",
            "X\u{1}\u{0}\u{0}\u{0}0",
            "(",
            ")",
            "t",
            "R",
            "Q",
            "q\u{0}",
            "r",
            "h\u{0}",
            "j",
            "}",
            "]",
            "s",
            "u",
            "e",
            "a",
            "K\u{3}",
            "M\u{0}\u{1}",
            "J",
            "N",
            "b",
            "0",
            "1",
            "2",
            ".",
            "\u{4}",
        ],
        mend: as_it_is,
        read: pickle,
    },
    Target {
        name: "prompt",
        memory: 32,
        runs: 200_000,
        seeds: &[
            "tests/golden/forms/prompt.npy",
            "tests/golden/adapter/adapter_config.json",
            "tests/golden/torch/config.json",
        ],
        dictionary: &[
            "\u{1}NUMPY",
            "'descr': '<f4'",
            "'<f2'",
            "'>f8'",
            "'fortran_order': True",
            "'shape': (",
            ")",
            ",",
            "\"peft_type\":\"PROMPT_TUNING\"",
            "\"num_virtual_tokens\":",
            "\"num_transformer_submodules\":",
            "\"token_dim\":",
            "\"num_layers\":",
            "\"d_model\":",
            "\"d_kv\":",
            "\"vocab_size\":",
        ],
        mend: as_it_is,
        read: prompt,
    },
    Target {
        name: "csv",
        memory: 64,
        runs: 40_000,
        seeds: &["tests/golden/tables/pandas.csv"],
        dictionary: &[
            "text,label,id\n",
            "\"",
            "\"\"",
            ",",
            "\r\n",
            "\n",
            "\u{feff}",
            "good",
            "bad",
            "\u{2028}",
            "\u{0}",
            "nan",
            "1.0",
            "\\",
        ],
        mend: as_it_is,
        read: csv,
    },
    Target {
        name: "tsv",
        memory: 64,
        runs: 30_000,
        seeds: &["tests/golden/tables/pandas.tsv", "tests/golden/tables/quoted.tsv"],
        dictionary: &[
            "text\tlabel\tid\n",
            "\"",
            "\"\"",
            "\t",
            "\r\n",
            "\n",
            "\u{feff}",
            "good",
            "bad",
            "\u{2028}",
            "\u{0}",
            "\t\"",
        ],
        mend: as_it_is,
        read: tsv,
    },
    Target {
        name: "jsonl",
        memory: 64,
        runs: 40_000,
        seeds: &[
            "tests/golden/tables/lines.jsonl",
            "tests/golden/tables/array.json",
            "tests/golden/tables/indented.json",
            "tests/golden/tables/numbers.jsonl",
            "tests/golden/tables/objects.json",
        ],
        dictionary: &[
            "{\"text\": \"",
            "\"label\": ",
            "\"options\": [",
            "\"good\"",
            "\\ud83d",
            "\\u0000",
            "null",
            "true",
            "1e400",
            "NaN",
            "},\n{",
            "[",
            "]",
            "{\"text\":{\"text\":",
            "\r\n",
            "\u{feff}",
            "\u{2028}",
        ],
        mend: as_it_is,
        read: jsonl,
    },
    Target {
        name: "published",
        memory: 64,
        runs: 15_000,
        seeds: &[],
        dictionary: &[
            "{\"passage\": ",
            "\"questions\": [",
            "\"answers\": [",
            "\"start\": ",
            "\"end\": ",
            "\"span1_index\": ",
            "\"target\": {",
            "\"idx\": ",
            "\"label\": ",
            "\"qas\": [",
            "\"paragraphs\": [",
            "\"context\": \"",
            "\"entities\": [",
            "@highlight",
            "\t",
            "\n",
            "\"data\": [",
            "\"premise\": ",
            "entailment",
            "-",
            "\"word\": ",
            "é",
        ],
        mend: as_it_is,
        read: published,
    },
    Target {
        name: "packed",
        memory: 256,
        runs: 3_000,
        seeds: &[
            "tests/golden/tables/pandas.csv.gz",
            "tests/golden/tables/lines.json.gz",
            "tests/golden/tables/nested.jsonl.bz2",
            "tests/golden/tables/nested.jsonl.xz",
        ],
        dictionary: &["\u{1f}", "BZh9", "1AY&SY", "7zXZ", "YZ", "\u{0}\u{0}\u{0}\u{0}", "(\u{0}", "\n"],
        mend: as_it_is,
        read: packed,
    },
    Target {
        name: "key",
        memory: 32,
        runs: 50_000,
        seeds: &[],
        dictionary: &[
            "-----BEGIN PUBLIC KEY-----\n",
            "-----END PUBLIC KEY-----\n",
            "-----BEGIN PRIVATE KEY-----\n",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN EC PRIVATE KEY-----\n",
            "=",
            "==",
            "\r\n",
            "0*0\u{5}\u{6}\u{3}+ep",
            "MCowBQYDK2VwAyEA",
        ],
        mend: as_it_is,
        read: key,
    },
    Target {
        name: "envelope",
        memory: 32,
        runs: 100_000,
        seeds: &[],
        dictionary: &[
            "\"payload\":\"",
            "\"payloadType\":\"application/vnd.in-toto+json\"",
            "\"signatures\":[",
            "\"keyid\":\"",
            "\"sig\":\"",
            "\"_type\":\"https://in-toto.io/Statement/v1\"",
            "\"predicateType\":\"",
            "https://slsa.dev/provenance/v1",
            "urn:spot:again:v1",
            "\"subject\":[",
            "\"differs\":[",
            "null",
            "==",
        ],
        mend: as_it_is,
        read: envelope,
    },
    Target {
        name: "shared",
        memory: 32,
        runs: 4_000,
        seeds: &["tests/fuzz/corpus/entry"],
        dictionary: &[
            "{\"worker\":\"",
            "\"nonce\":\"",
            "\"jobs\":{",
            "\"beat\":",
            "\"format\":1",
            "\"keys\":[\"",
            "\"files\":[{\"name\":\"",
            "\"digest\":\"",
            "\"size\":18446744073709551615",
            "../",
            "/",
            "\\u0000",
            "null",
            "]",
            "}",
        ],
        mend: as_it_is,
        read: shared,
    },
];

/// Makes the text of an error, which quotes parts of the input, and passes on what there is if there is none.
fn said<T, E: Display>(result: Result<T, E>) -> Option<T> {
    result.map_err(|error| error.to_string()).ok()
}

fn manifest(scratch: &Scratch, bytes: &[u8]) {
    let path = scratch.put("pipelines/fuzz.yaml", bytes);
    let profiles = said(outline(&path)).map_or(Vec::new(), |outline| outline.profiles);
    let environment = |_: &str| None;
    for profile in std::iter::once(None).chain(profiles.iter().take(2).map(|name| Some(name.as_str()))) {
        let options = Options { profile, set: &[], environment: &environment };
        said(load(&path, spot::stages::ALL, &options));
    }
}

fn entry(_: &Scratch, bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let recipe = text.split("\n\"recipe\": ").nth(1).and_then(|rest| rest.split(",\n").next()).unwrap_or_default();
    let Some(entry) = said(Entry::from_text(text, Key::of(recipe.as_bytes()))) else { return };
    let needed = entry.blobs().count() + entry.external().count();
    let again = entry.to_text();
    assert!(again.len() > needed, "an entry names what it needs");
}

/// The newest journal but one, and one that follows it.
fn journals(scratch: &Scratch, bytes: &[u8]) {
    let cache = scratch.empty("journals");
    let (first, second) = ("20260101T000000Z-001.jsonl", "20260101T000001Z-001.jsonl");
    scratch.put(&format!("journals/v1/runs/fuzz/{first}"), bytes);
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let last = Digest::of(lines.iter().rev().nth(1).unwrap_or(&&b""[..]));
    let after = format!(
        "{{\"prev\":null,\"after\":{{\"run\":\"{first}\",\"line\":\"{last}\"}},\"event\":{{\"event\":\"start\"}}}}\n"
    );
    scratch.put(&format!("journals/v1/runs/fuzz/{second}"), after.as_bytes());
    let store = Store::new(&cache);
    journal::runs(&store).expect("what cannot be read is left out");
    journal::folded(&store).expect("what cannot be read is left out");
    journal::fold::foldable(&store, 1).expect("what is damaged is kept");
    let (_, broken) = journal::chain::check(&store).expect("damage is no error");
    for broken in &broken {
        journal::chain::set_aside(&store, broken).expect("a damaged journal can be set aside");
    }
    let (_, left) = journal::chain::check(&store).expect("damage is no error");
    assert_eq!(left, [], "what is set aside leaves a chain that is whole");
}

fn files(scratch: &Scratch, bytes: &[u8]) {
    scratch.put("files/v1/files.json", bytes);
    let file = scratch.put("file", b"content");
    let store = Store::new(&scratch.path("files"));
    let found = store.files().digest(&file).expect("it is there");
    assert_eq!(
        found,
        hash(&file).expect("it is there"),
        "a table of others' files says nothing of one that was just written"
    );
    store.files().mistaken(&BTreeMap::new());
    store.files().save().expect("a table that is no good is made anew");
}

fn parquet(scratch: &Scratch, bytes: &[u8]) {
    said(Table::names_from_parquet(bytes));
    said(Table::from_parquet(bytes));
    said(values(bytes));
    said(ScoresFile::from_parquet(bytes));
    said(Predictions::from_parquet(bytes));
    said(Ranking::from_parquet(bytes));
    said(Trials::from_parquet(bytes));
    said(Inputs::from_parquet(bytes));
    said(read_task(bytes));
    let whole = said(read_dataset(bytes));
    let opened = said(DatasetFile::open(scratch.file(bytes)));
    let parts = opened.as_ref().and_then(|file| said(file.read(&Split::ALL)));
    assert!(whole.is_none() || parts == whole, "a data set in parts is the whole");
    for split in Split::ALL {
        opened.as_ref().and_then(|file| said(file.ids(split, scratch.folder())));
    }
    table(Layout::Parquet, "x.parquet", scratch, bytes);
}

fn arrow(scratch: &Scratch, bytes: &[u8]) {
    table(Layout::Arrow, "x.arrow", scratch, bytes);
}

fn csv(scratch: &Scratch, bytes: &[u8]) {
    table(Layout::Csv, "x.csv", scratch, bytes);
}

fn tsv(scratch: &Scratch, bytes: &[u8]) {
    table(Layout::Tsv, "x.tsv", scratch, bytes);
}

fn jsonl(scratch: &Scratch, bytes: &[u8]) {
    table(Layout::JsonLines, "x.jsonl", scratch, bytes);
    said(Card::from_bytes(bytes));
}

/// A table, read at once and piece by piece, which must come to the same.
fn table(layout: Layout, name: &str, scratch: &Scratch, bytes: &[u8]) {
    let own = own();
    let wanted = own.wanted(Split::Train);
    let columns = ["text", "label", "id"].map(str::to_owned);
    let quotes: &[Option<Quotes>] = match layout {
        Layout::Tsv => &[None, Some(Quotes::Text), Some(Quotes::Fields)],
        _ => &[None],
    };
    let dialects = quotes.iter().map(|quotes| Dialect { quotes: *quotes, columns: None });
    let delimited = matches!(layout, Layout::Csv | Layout::Tsv);
    let named = delimited.then_some(Dialect { quotes: Some(Quotes::Text), columns: Some(&columns) });
    for dialect in dialects.chain(named) {
        let whole = said(layout.read(name, bytes, dialect, &wanted));
        let mut pieces = Vec::new();
        let take = &mut |sheet| {
            pieces.push(sheet);
            Ok::<_, DataError>(())
        };
        let read = said(layout.each(name, &scratch.file(bytes), (dialect, &wanted), take));
        assert_eq!(read.map(|()| Sheet::joined(pieces)), whole, "pieces are the whole");
        whole.and_then(|sheet| said(own.examples(sheet, Split::Train, true)));
        said(layout.read_whole(name, bytes, dialect));
    }
}

/// A task of somebody's own, with labels, a part of a column and rows that are left out.
fn own() -> Own {
    Own {
        name: "fuzz".to_owned(),
        word: None,
        template: Template::parse("{text} {options[0]}").expect("a template"),
        label: "label".to_owned(),
        labels: Some(Labels::Words(["bad", "good"].map(str::to_owned).to_vec())),
        several: false,
        answer: Answer::Label,
        choices: None,
        metrics: vec![Metric::ExactMatch],
        group: None,
        id: Some("id".to_owned()),
        drop: Vec::new(),
        round: None,
    }
}

fn published(_: &Scratch, bytes: &[u8]) {
    for format in spot::ml::tasks::formats() {
        for split in [Split::Train, Split::Test] {
            said(read_file(format, bytes, split, &Reading::default()));
        }
    }
}

fn packed(scratch: &Scratch, bytes: &[u8]) {
    /// Bytes beyond which nothing new comes of a file of at most 64 KiB.
    const ENOUGH: usize = 4 << 20;
    let file = scratch.file(bytes);
    for name in ["x.txt", "x.txt.gz", "x.txt.zst", "x.txt.bz2", "x.txt.xz"] {
        let Some(mut lines) = said(Lines::open(name, &file)) else { continue };
        let mut unpacked = 0;
        while let Some(Some((_, lines, _))) = said(lines.read()) {
            unpacked += lines.len();
            if unpacked > ENOUGH {
                break;
            }
        }
    }
}

/// The sizes of the models in `tests/golden/torch`.
fn dims() -> Dims {
    Dims::from_json(include_bytes!("../golden/torch/config.json")).expect("a configuration")
}

fn weights(name: &str, bytes: &[u8]) {
    for precision in [Precision::F32, Precision::Bf16] {
        said(Weights::read(dims(), &[Shard { name, bytes }], precision));
    }
}

fn safetensors(_: &Scratch, bytes: &[u8]) {
    said(form::read(bytes));
    said(Matrices::from_bytes(bytes));
    said(PromptFile::about_in(bytes));
    weights("model.safetensors", bytes);
    let file: Bytes = Arc::new(bytes.to_vec());
    said(Weights::packed(&dims(), &file));
    let config = include_bytes!("../golden/adapter/adapter_config.json");
    said(peft::read("adapter_model.safetensors", bytes, config));
}

fn torch_file(_: &Scratch, bytes: &[u8]) {
    torch::is(bytes);
    if let Some(torch::Contents::Named(tensors)) = said(torch::read(bytes)) {
        assert!(tensors.iter().all(|(_, view)| view.data().len() <= bytes.len()), "tensors lie in the file");
    }
    said(form::read(bytes));
    weights("pytorch_model.bin", bytes);
}

/// The pickle of a file, whose other members are as they should be.
fn pickle(scratch: &Scratch, bytes: &[u8]) {
    let zeros = [0; 96];
    torch_file(scratch, &mending::zip(&[("x/data.pkl", bytes), ("x/byteorder", b"little"), ("x/data/0", &zeros)]));
}

fn prompt(_: &Scratch, bytes: &[u8]) {
    said(npy::read(bytes));
    said(form::read(bytes));
    said(Dims::from_json(bytes));
    let weights = include_bytes!("../golden/adapter/adapter_model.safetensors");
    said(peft::read("adapter_model.safetensors", weights, bytes));
}

const TEXTS: [&str; 5] = [
    "",
    "a",
    "The cat sat </s> on <extra_id_0>  the mat.\n",
    "e\u{301}\u{1100}\u{1161}\u{fdfa}\u{200d}\u{1f469}",
    "\u{0}\u{fffd}▁▁x",
];

fn tokenizer(_: &Scratch, bytes: &[u8]) {
    let Some(tokens) = said(Tokens::from_json(bytes, 1)) else { return };
    for text in TEXTS {
        let ids = said(tokens.encode(text, 64)).unwrap_or_default();
        said(tokens.decode(&ids));
    }
    tokens.sentinels();
    said(tokens.decode(&[0, 1, u32::MAX, tokens.size() as u32]));
    tokens.piece(tokens.size() as u32);
}

/// A key as it stands, and one of which only the inside is somebody's.
fn key(_: &Scratch, bytes: &[u8]) {
    let inside = STANDARD.encode(bytes);
    let pem = |label: &str| format!("-----BEGIN {label}-----\n{inside}\n-----END {label}-----\n");
    let as_text = std::str::from_utf8(bytes).unwrap_or_default().to_owned();
    for text in [as_text, pem("PUBLIC KEY"), pem("PRIVATE KEY")] {
        if let Some(public) = said(PublicKey::from_pem(&text)) {
            let again = PublicKey::from_pem(&public.to_pem()).map(|key| key.id());
            assert_eq!(again.ok(), Some(public.id()), "a key is what it says of itself");
            assert!(!public.verifies(b"message", bytes), "nobody can forge a signature by chance");
        }
        if let Some(secret) = said(SecretKey::from_pem(&text)) {
            let signature = secret.sign(b"message").expect("there is randomness");
            assert!(secret.public().verifies(b"message", &signature), "a key that is taken can sign");
            assert!(!format!("{secret:?}").contains(inside.trim_end_matches('=')), "a secret is not shown");
        }
    }
}

fn envelope(_: &Scratch, bytes: &[u8]) {
    if let Some(envelope) = said(Envelope::from_json(bytes)) {
        let again = Envelope::from_json(envelope.to_json().as_bytes());
        assert_eq!(again.as_ref(), Ok(&envelope), "an envelope is written as it was read");
        if let Some(statement) = envelope.statement_by(&fixed_key().public()) {
            assert_eq!(statement, corpus::STATEMENT.as_bytes(), "this key has signed one statement");
            said(Again::read(&statement));
        }
    }
    said(Again::read(bytes));
    for of in ["https://slsa.dev/provenance/v1", "urn:spot:again:v1"] {
        said(Statement::from_json(bytes, of)).and_then(|statement| about(&statement));
    }
    is_about(bytes, &Key::of(b""), b"");
}

/// A key that everybody knows.
pub(crate) fn fixed_key() -> SecretKey {
    // PKCS #8 of an Ed25519 key: RFC 8410, section 7.
    let der = [b"0.\x02\x01\x000\x05\x06\x03+ep\x04\"\x04 ".as_slice(), &[7; 32]].concat();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der));
    SecretKey::from_pem(&pem).expect("a key")
}

/// Everything that somebody else may have put into a place that machines share.
fn shared(scratch: &Scratch, bytes: &[u8]) {
    let address: Address = format!("file://{}", scratch.path("shared").display()).parse().expect("an address");
    let key = Key::of(b"fuzz");
    let hex = key.to_string();
    let name = URL_SAFE_NO_PAD.encode(&bytes[..bytes.len().min(180)]);
    let start = &hex[..2];
    let names = [
        format!("claims/{hex}"),
        "workers/somebody".to_owned(),
        format!("failures/run/{hex}"),
        format!("partial/{hex}.json"),
        format!("entries/{start}/{hex}.json"),
        format!("roots/{hex}.json"),
    ];
    Sharing::open(&address, Access::Make, false).expect("the folder can be written");
    scratch.empty("shared/told");
    names.iter().for_each(|name| drop(scratch.put(&format!("shared/{name}"), bytes)));
    scratch.put(&format!("shared/told/{start}/{name}x"), b"");

    let place = Sharing::open(&address, Access::Read, false).expect("it is a place");
    said(workers(&**place.objects()));
    let failures = Failures::new(place.objects().clone(), "run");
    said(failures.look());
    assert!(failures.has(&key), "its name says that it failed, whatever else it says");
    said(failures.of(&key));
    said(place.look(Duration::ZERO, None));
    place.told(&key);
    said(place.peek(&key));
    said(place.sweep(Duration::ZERO));
    let local = Store::new(&scratch.empty("local"));
    if said(place.pull_scratch(&local, &key)) == Some(true) {
        let folder = local.scratch_path(&key);
        let found = local.scratch_files(&key).expect("it was just made");
        assert!(found.iter().all(|(_, path)| path.parent() == Some(&*folder)), "names lead nowhere else");
    }
    let leave = Arc::new(AtomicBool::new(false));
    let me = Worker { worker: "me".to_owned(), host: "here".to_owned(), ..Worker::default() };
    let leases = Leases::start(place.objects().clone(), me, Duration::from_secs(60), leave).expect("it can be written");
    said(leases.look(Duration::ZERO));
    leases.is_held(&hex);
    // Of a holder that never beats the lease may be taken.
    let taken = leases.take(&hex).expect("it can be asked");
    drop(taken);
    drop(leases);

    scratch.put("other/store.json", bytes);
    let address: Address = format!("file://{}", scratch.path("other").display()).parse().expect("an address");
    said(Sharing::open(&address, Access::Read, false));
}

fn spiece(scratch: &Scratch, bytes: &[u8]) {
    for rows in [0, 200] {
        if let Some(json) = said(sentencepiece::to_tokenizer_json(bytes, rows)) {
            tokenizer(scratch, &json);
        }
    }
}

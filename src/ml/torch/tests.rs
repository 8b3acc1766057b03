//! Files that torch itself wrote (`tests/golden/torch_files.py`), and damaged and hostile ones.

use super::pickle::{Machine, OPERATIONS};
use super::{Archive, Contents, read};
use crate::ml::model::{Dims, Precision, Shard, Weights};
use crate::ml::prompt::Prompt;
use crate::ml::prompt::form;
use rayon::prelude::*;
use std::ops::Range;

macro_rules! golden {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../../../tests/golden/torch/", $name)).as_slice())
    };
}

type File = (&'static str, &'static [u8]);

const CONFIG: &[u8] = golden!("config.json").1;
const TWIN: &[u8] = golden!("model.safetensors").1;

/// One model each.
const MODELS: [File; 11] = [
    golden!("f32.bin"),
    golden!("f16.bin"),
    golden!("bf16.bin"),
    golden!("legacy_f32.bin"),
    golden!("legacy_bf16.bin"),
    golden!("protocol_4.bin"),
    golden!("legacy_protocol_4.bin"),
    golden!("parameters.bin"),
    golden!("nested.bin"),
    golden!("views.bin"),
    golden!("legacy_views.bin"),
];

const SHARDS: [File; 2] =
    [golden!("sharded/pytorch_model-00001-of-00002.bin"), golden!("sharded/pytorch_model-00002-of-00002.bin")];

/// One prompt each.
const PROMPTS: [File; 14] = [
    golden!("bare.pt"),
    golden!("bare_f16.pt"),
    golden!("bare_bf16.pt"),
    golden!("bare_f64.pt"),
    golden!("parameter.pt"),
    golden!("view.pt"),
    golden!("dict.pt"),
    golden!("legacy_bare.pt"),
    golden!("legacy_bare_f16.pt"),
    golden!("legacy_bare_bf16.pt"),
    golden!("legacy_bare_f64.pt"),
    golden!("legacy_parameter.pt"),
    golden!("legacy_view.pt"),
    golden!("legacy_dict.pt"),
];

/// What is refused, and in which words.
const REFUSED: [(File, &str); 13] = [
    (
        golden!("system.pt"),
        "torch file: the pickle names `posix.system`, which weights are not made of; nothing was executed. Save the tensors alone, \
         `torch.save(model.state_dict(), FILE)`, or as safetensors",
    ),
    (
        golden!("legacy_system.pt"),
        "torch file: the pickle names `posix.system`, which weights are not made of; nothing was executed. Save the tensors alone, \
         `torch.save(model.state_dict(), FILE)`, or as safetensors",
    ),
    (
        golden!("module.pt"),
        "torch file: the pickle names `torch.nn.modules.linear.Linear`, which weights are not made of; nothing was executed. Save the \
         tensors alone, `torch.save(model.state_dict(), FILE)`, or as safetensors",
    ),
    (
        golden!("quantised.pt"),
        "torch file: the pickle names `torch._utils._rebuild_qtensor`, which weights are not made of; nothing was executed. Save the \
         tensors alone, `torch.save(model.state_dict(), FILE)`, or as safetensors",
    ),
    (
        golden!("sparse.pt"),
        "torch file: the pickle names `torch._utils._rebuild_sparse_tensor`, which weights are not made of; nothing was executed. \
         Save the tensors alone, `torch.save(model.state_dict(), FILE)`, or as safetensors",
    ),
    (
        golden!("transposed.pt"),
        "torch file: the tensor has shape [8, 3] and strides [1, 8], which do not lie row by row without gaps; save \
         `tensor.contiguous()`",
    ),
    (
        golden!("strided.pt"),
        "torch file: tensor `prompt` has shape [3, 4] and strides [8, 2], which do not lie row by row without gaps; save \
         `tensor.contiguous()`",
    ),
    (
        golden!("int.pt"),
        "prompt: tensor `prompt` is I32 [3, 8], expected F32, BF16, F16 or F64 [length, width], neither being 0",
    ),
    (golden!("nothing.pt"), "torch file: there is no tensor in the file"),
    (
        golden!("deflated.pt"),
        "torch file: the member `archive/data.pkl` of the zip is compressed (method 8), expected all stored as they are, which \
         `torch.save` does; unpack it and zip it again without compression (`zip -0`), or save the weights anew",
    ),
    (golden!("no_torch.zip"), "torch file: a zip that `torch.save` did not write: it has no `data.pkl`"),
    (
        golden!("big_endian.pt"),
        "torch file: the file was not written by a machine that keeps the lowest byte of a number first; load it there and save it as \
         safetensors",
    ),
    (
        golden!("script.pt"),
        "torch file: a TorchScript program; save its weights: `torch.save(model.state_dict(), FILE)`",
    ),
];

fn twin() -> Weights {
    Weights::from_safetensors(dims(), &[TWIN], Precision::F32).unwrap()
}

fn dims() -> Dims {
    Dims::from_json(CONFIG).unwrap()
}

fn weights(files: &[File]) -> Result<Weights, String> {
    let shards: Vec<Shard<'_>> = files.iter().map(|(name, bytes)| Shard { name, bytes }).collect();
    Weights::read(dims(), &shards, Precision::F32).map_err(|error| error.to_string())
}

#[test]
fn every_form_of_a_model_is_its_safetensors_twin() {
    let twin = twin();
    for file in MODELS {
        let found = weights(&[file]).unwrap();
        assert!(found.dims == twin.dims && found.data() == twin.data(), "{}", file.0);
    }
    assert_eq!(weights(&SHARDS).unwrap().data(), twin.data());
    let half = weights(&SHARDS[1..]).unwrap_err();
    assert!(
        half.contains("`sharded/pytorch_model-00002-of-00002.bin`: weights: tensor `") && half.contains("is missing"),
        "{half}"
    );
    let twice = weights(&[MODELS[0], MODELS[1]]).unwrap_err();
    assert!(twice.contains("is in `f32.bin` too, expected once in all files"), "{twice}");
    let bare = weights(&[PROMPTS[0]]).unwrap_err();
    let expected =
        "`bare.pt`: torch file: a single tensor without a name, of shape [3, 8]; expected those of a model by name";
    assert_eq!(bare, expected);
}

#[test]
fn every_form_of_a_prompt_has_the_same_numbers() {
    let rows: Vec<Vec<f32>> = serde_json::from_slice(golden!("expected.json").1).unwrap();
    let expected = Prompt { width: rows[0].len(), values: rows.concat() };
    for (name, bytes) in PROMPTS {
        let file = form::read(bytes).unwrap();
        assert_eq!(file.prompts.values().collect::<Vec<_>>(), [&expected], "{name}");
        assert_eq!(file.prompts.keys().collect::<Vec<_>>(), ["prompt"], "{name}");
    }
    for (name, bytes) in [golden!("two.pt"), golden!("legacy_two.pt")] {
        let file = form::read(bytes).unwrap();
        assert_eq!(file.prompts.keys().collect::<Vec<_>>(), ["moments", "prompt"], "{name}");
        assert_eq!(file.prompts["prompt"], expected, "{name}");
        assert_ne!(file.prompts["moments"], expected, "{name}");
    }
}

#[test]
fn what_is_no_plain_tensor_is_refused_word_for_word() {
    for ((name, bytes), expected) in REFUSED {
        assert_eq!(form::read(bytes).unwrap_err().to_string(), expected, "{name}");
    }
    // Nothing refused was executed, here or where the files were made.
    assert!(!std::path::Path::new("executed").exists());
}

/// Checks that tensors lie in the file.
fn check_places(contents: &Contents<'_>, bytes: &[u8]) {
    let tensors: Vec<_> = match contents {
        Contents::Bare(tensor) => vec![tensor],
        Contents::Named(tensors) => tensors.iter().map(|(_, tensor)| tensor).collect(),
    };
    let Range { start, end } = bytes.as_ptr_range();
    for tensor in tensors {
        let data = tensor.data().as_ptr_range();
        assert!(data.start >= start && data.end <= end, "a tensor outside of the file");
        assert_eq!(tensor.shape().iter().product::<usize>() * tensor.dtype().bitsize(), tensor.data().len() * 8);
    }
}

#[test]
fn tensors_are_used_where_they_lie() {
    for (name, bytes) in MODELS.into_iter().chain(PROMPTS) {
        check_places(&read(bytes).unwrap(), bytes);
        if !["f32.bin", "legacy_f32.bin"].contains(&name) {
            continue;
        }
        let Ok(Contents::Named(tensors)) = read(bytes) else { panic!("{name} has names") };
        let at = |name: &str| tensors.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor.data().as_ptr());
        let shared = at("shared.weight").unwrap();
        for name in ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"] {
            assert_eq!(at(name), Some(shared), "one storage under three names");
        }
    }
}

/// A zip with a pickle and a storage of 16 f32.
fn zipped(pickle: &[u8]) -> Vec<u8> {
    zip(&[("archive/data.pkl", pickle), ("archive/data/0", &[0; 64])])
}

/// A zip of stored members.
fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let at = bytes.len() as u32;
        let mut fields = [0; 26];
        fields[14..18].copy_from_slice(&(content.len() as u32).to_le_bytes());
        fields[18..22].copy_from_slice(&(content.len() as u32).to_le_bytes());
        fields[22..24].copy_from_slice(&(name.len() as u16).to_le_bytes());
        bytes.extend([b"PK\x03\x04", &fields[..], name.as_bytes(), content].concat());
        directory.extend([b"PK\x01\x02\0\0", &fields[..], &[0; 10], &at.to_le_bytes(), name.as_bytes()].concat());
    }
    let (start, count) = (bytes.len() as u32, (members.len() as u16).to_le_bytes());
    let length = directory.len() as u32;
    bytes.extend(directory);
    bytes.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count].concat());
    bytes.extend([&length.to_le_bytes()[..], &start.to_le_bytes(), &[0; 2]].concat());
    bytes
}

/// The pickle of a tensor of 16 f32 with this key, offset, shape and strides; `length` numbers are said to be in the storage.
fn tensor(key: &str, length: u8, offset: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let mut pickle = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX".to_vec();
    pickle.extend((key.len() as u32).to_le_bytes());
    pickle.extend([key.as_bytes(), b"X\x03\0\0\0cpuK", &[length], b"tQ"].concat());
    pickle.extend([offset, b"(", shape, b"t(", strides, b"t\x89ccollections\nOrderedDict\n)RtR."].concat());
    pickle
}

#[test]
fn tensors_and_their_storages_must_agree() {
    let read_one = |pickle: &[u8]| read(&zipped(pickle)).map(drop).map_err(|error| error.to_string());
    assert_eq!(read_one(&tensor("0", 16, b"K\x00", b"K\x02K\x08", b"K\x08K\x01")), Ok(()));
    assert_eq!(read_one(&tensor("0", 16, b"K\x08", b"K\x02K\x04", b"K\x04K\x01")), Ok(()));
    let huge = [b"\x8a\x08".as_slice(), &(1i64 << 62).to_le_bytes()].concat();
    let huge = huge.as_slice();
    for (pickle, problem) in [
        (tensor("1", 16, b"K\0", b"K\x10", b"K\x01"), "the tensor is in the storage `1`, which is not there"),
        (tensor("0", 15, b"K\0", b"K\x10", b"K\x01"), "the tensor is in the storage `0` of 15 F32, which has 64 bytes"),
        (tensor("0", 17, b"K\0", b"K\x10", b"K\x01"), "the tensor is in the storage `0` of 17 F32, which has 64 bytes"),
        (tensor("../0", 16, b"K\0", b"K\x10", b"K\x01"), "the tensor is in the storage `../0`, which is not there"),
        (tensor("0", 16, b"K\x01", b"K\x10", b"K\x01"), "the tensor has 16 numbers from 1 in a storage of 16"),
        (tensor("0", 16, b"K\0", b"K\x11", b"K\x01"), "the tensor has 17 numbers from 0 in a storage of 16"),
        (
            tensor("0", 16, huge, b"K\x10", b"K\x01"),
            "the tensor has 16 numbers from 4611686018427387904 in a storage of 16",
        ),
        (
            tensor("0", 16, b"K\0", &[huge, huge].concat(), b"K\x01K\x01"),
            "the tensor has countless numbers from 0 in a storage of 16",
        ),
        (
            tensor("0", 16, b"K\0", b"K\x04K\x04", b"K\0K\x01"),
            "the tensor has shape [4, 4] and strides [0, 1], which do not lie row by row without gaps; save `tensor.contiguous()`",
        ),
        (
            tensor("0", 16, b"J\xff\xff\xff\xff", b"K\x04", b"K\x01"),
            "the pickle has the size -1, expected none below 0, before its byte 130",
        ),
        (
            tensor("0", 16, b"K\0", b"K\x04K\x04", b"K\x01"),
            "the pickle has a tensor of 2 dimensions with 1 strides, before its byte 129",
        ),
        (
            tensor("0", 16, b"K\0", &b"K\x01".repeat(9), b"K\x01"),
            "the pickle has a tensor of 9 dimensions, expected at most 8, before its byte 143",
        ),
    ] {
        assert_eq!(read_one(&pickle), Err(format!("torch file: {problem}")));
    }
}

#[test]
fn a_zip_must_agree_with_itself() {
    let whole = zipped(&tensor("0", 16, b"K\0", b"K\x10", b"K\x01"));
    let refused = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    let damaged = "torch file: the zip is cut off or damaged; copy or download it again";
    for length in [4, 30, whole.len() / 2, whole.len() - 1] {
        assert_eq!(refused(&whole[..length]), damaged, "{length}");
    }
    assert_eq!(refused(&[&whole[..], b"x"].concat()), damaged);
    let with = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    let differ = "torch file: the header of the member `archive/data.pkl` and the directory of the zip differ; copy or download it again";
    // Its name, its length, its method.
    for at in [31, 22, 8] {
        assert_eq!(refused(&with(at, whole[at] ^ 1)), differ, "{at}");
    }
    let end = whole.len() - 22;
    let directory = u32::from_le_bytes(*whole[end + 16..].first_chunk().unwrap()) as usize;
    let second = directory + 46 + "archive/data.pkl".len();
    // The second member where the first is.
    assert_eq!(
        refused(&with(second + 42, 0)),
        "torch file: the member `archive/data/0` of the zip lies over the one before it"
    );
    assert_eq!(
        refused(&with(directory + 8, 1)),
        "torch file: the member `archive/data.pkl` of the zip is encrypted, expected plain weights"
    );
    let twice = zip(&[("a/data.pkl", b"N."), ("a/data.pkl", b"N.")]);
    assert_eq!(refused(&twice), "torch file: the zip has two members `a/data.pkl`, expected one");
}

/// Whatever a pickle says, and whether it is long or short.
#[test]
fn a_pickle_holds_less_than_64_mib() {
    let storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x10tq\0".as_slice();
    let arguments = [
        storage,
        b"Q(K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01tq\x01K\x000h\x01h\x01\x890ctorch._utils\n_rebuild_tensor_v2\nq\x02",
    ]
    .concat();
    let called = [&arguments[..], b"h\0QK\0h\x01h\x01(h\0QK\0h\x01h\x01tq\x03"].concat();
    let mut most = 0;
    for (start, again) in [
        (b"".as_slice(), b"N".as_slice()),
        (b"", b"("),
        (b"", b")"),
        (b"", b"]"),
        (b"", b"}"),
        (b"", b"\x94"),
        (b"N", b"\x94"),
        (b"N", b"2"),
        (b"N", b"\x85"),
        (b"Nq\0", b"h\0\x85q\0"),
        (b"Nq\0", b"h\0h\0\x86q\0"),
        (b"Nq\0", b"h\0h\0h\0\x87q\0"),
        (b"Nq\0", b"h\0\x85"),
        (b"Nq\0", b"]h\0a"),
        (b"Nq\0", b"}h\0h\0s"),
        (b"Nq\0", b"(h\0t"),
        (b"Nq\0", b"(h\0l"),
        (b"Nq\x000]", b"h\0a"),
        (b"Nq\x000}", b"h\0h\0s"),
        (storage, b"h\0Q"),
        (storage, b"h\0Q0"),
        (&called, b"h\x02h\x03R"),
        (&called, b"h\x02h\x03R0"),
        (b"ccollections\nOrderedDict\nq\0)q\x01", b"h\0h\x01R"),
    ] {
        let long = [b"\x80\x02", start, &again.repeat(OPERATIONS / again.len().max(1) + OPERATIONS)].concat();
        let (held, end) = Machine::held_by(&long);
        let again = again.escape_ascii();
        let refused = end.unwrap_err().to_string();
        assert!(held < 64 << 20, "{again}: {held} bytes");
        most = most.max(held);
        assert!(
            refused.ends_with("operations; these are not weights")
                || (start.is_empty() && again.to_string() == "\\x94"),
            "{again}: {refused}"
        );
    }
    // A stack that was large once is not handed over with every tuple.
    let long = [b"(".as_slice(), &b"N".repeat(1 << 17), b"1", &b"(Nt0".repeat(1 << 15)].concat();
    most = most.max(Machine::held_by(&long).0);
    assert!((8 << 20..64 << 20).contains(&most), "{most}");
    println!("{} MiB at most", most >> 20);

    // Each of a kilobyte at most.
    let wide = b"(".iter().chain(&b"h\0".repeat(8)).chain(b"tq\0").copied().collect::<Vec<u8>>();
    for (pickle, held) in [
        (b"\x8b\xff\xff\xff\x7f".to_vec(), 1 << 10),
        (b"X\xff\xff\xff\xff".to_vec(), 1 << 10),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(), 1 << 10),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec(), 1 << 10),
        (b"Nr\xff\xff\xff\xff".to_vec(), 1 << 10),
        ([b"Nq\0", &wide.repeat(45)[..]].concat(), 1 << 15),
        ([b"Nq\0", &b"h\0h\0\x86q\0".repeat(140)[..]].concat(), 1 << 15),
        (b"(".repeat(1024), 1 << 14),
        (b"]".repeat(1024), 1 << 17),
    ] {
        assert!(pickle.len() <= 1024);
        let (found, end) = Machine::held_by(&pickle);
        assert!(found <= held && end.is_err(), "{found} bytes, {end:?}");
    }
}

/// A list that holds one twice, that holds one twice, and so on: few bytes, and 2^8 or endlessly many places.
#[test]
fn containers_in_containers_are_counted_as_often_as_they_are_there() {
    let whole = tensor("0", 16, b"K\0", b"K\x10", b"K\x01");
    let tensor = &whole[..whole.len() - 1];
    let doubled = |times: usize| [tensor, b"q\0", &b"h\0h\0\x86q\0".repeat(times), b"."].concat();
    let eight = zipped(&doubled(8));
    let Contents::Named(found) = read(&eight).unwrap() else { panic!("tuples have names") };
    assert_eq!((found.len(), found[1].0.as_str()), (256, "0.0.0.0.0.0.0.1"));
    let refused = |pickle: &[u8]| read(&zipped(pickle)).unwrap_err().to_string();
    assert_eq!(refused(&doubled(9)), "torch file: containers are nested more than 8 deep, at `0.0.0.0.0.0.0.0.0`");
    assert!(refused(b"\x80\x02]q\0h\0a.").contains("more than 8 deep"));
    let wide = [tensor, b"q\0(", &b"h\0".repeat(200), b"tq\x01(", &b"h\x01".repeat(200), b"t."].concat();
    assert_eq!(refused(&wide), "torch file: more than 16384 tensors");
    let empty = [b"\x80\x02)q\0(", &b"h\0".repeat(600)[..], b"tq\x01(", &b"h\x01".repeat(600), b"t."].concat();
    assert_eq!(
        refused(&empty),
        "torch file: more than 262144 values, counted as often as they are in a container; these are not weights"
    );
}

/// A generator of few operations (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Damages a file in one way.
fn damage(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(bytes.len());
    let interesting = [0u64, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX, 1 << 62, bytes.len() as u64];
    match random.below(8) {
        0 | 1 => bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << random.below(8)),
        2 => bytes.get_mut(at).into_iter().for_each(|byte| *byte = random.next() as u8),
        3 => bytes.truncate(at),
        4 => {
            let number = interesting[random.below(interesting.len())].to_le_bytes();
            let width = [1, 2, 4, 8][random.below(4)];
            bytes.iter_mut().skip(at).zip(&number[..width]).for_each(|(byte, new)| *byte = *new);
        }
        5 => {
            let from = random.below(other.len());
            let length = random.below(64).min(other.len() - from);
            bytes.splice(at..at, other[from..from + length].iter().copied());
        }
        6 => {
            let from = random.below(other.len());
            let length = random.below(256).min(other.len() - from).min(bytes.len() - at);
            bytes[at..at + length].copy_from_slice(&other[from..from + length]);
        }
        _ => drop(bytes.drain(at..(at + random.below(32)).min(bytes.len()))),
    }
}

/// The damaged file of a number. Of a zip it may be the pickle that is damaged, in a zip that is whole.
fn damaged(number: u64, files: &[&[u8]]) -> Vec<u8> {
    let mut random = Random(number);
    let bytes = files[random.below(files.len())];
    let other = files[random.below(files.len())];
    let mut damaged = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        (0..=random.below(3)).for_each(|_| damage(&mut bytes, other, &mut random));
        bytes
    };
    let Ok(archive) = Archive::read(bytes) else { return damaged(bytes) };
    let (Some(pickle), 1) = (archive.get("data.pkl"), number % 2) else { return damaged(bytes) };
    let pickle = damaged(pickle);
    let content = |name: &str, whole| if name.ends_with("/data.pkl") { pickle.as_slice() } else { whole };
    let members = archive.members.iter().map(|(name, whole)| (*name, content(name, whole)));
    zip(&members.collect::<Vec<_>>())
}

/// Reads a damaged file, and says whether there is still something in it.
fn read_damaged(number: u64, files: &[&[u8]]) -> bool {
    let bytes = damaged(number, files);
    read(&bytes).inspect(|contents| check_places(contents, &bytes)).is_ok()
}

/// `SPOT_FUZZ` says how many; each is read or refused, without a panic and without a tensor outside of its file.
#[test]
fn damaged_files_are_read_or_refused() {
    let count = std::env::var("SPOT_FUZZ").map_or(20_000, |count| count.parse().unwrap());
    let golden = MODELS.into_iter().chain(SHARDS).chain(PROMPTS).chain(REFUSED.map(|(file, _)| file));
    let files: Vec<&[u8]> = golden.map(|(_, bytes)| bytes).collect();
    let read = (0..count).into_par_iter().filter(|number| {
        let done = std::panic::catch_unwind(|| read_damaged(*number, &files));
        done.unwrap_or_else(|_| panic!("the damaged file {number}"))
    });
    let read = read.count() as u64;
    println!("{count} damaged files, of which {read} could be read");
    assert!(read > count / 100 && read < count * 9 / 10, "{read} of {count}");
}

//! Models and prompts in torch's own files: as torch wrote them (`tests/golden/torch_files.py`), and as it would write larger ones.

use super::checkpoints::shell;
use super::shell::{PROJECT, Shell};
use serde_json::json;
use spot::ml::model::{Dims, Layout};
use spot::ml::torch::{self, Contents};
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tensor to write: name, shape, and bytes, or none for a hole of zeros.
pub(crate) type Tensor<'a> = (String, Vec<usize>, Option<&'a [u8]>);

/// How a file has its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    F32,
    Bf16,
}

impl Numbers {
    /// Torch's name for a storage of such numbers.
    fn storage(self) -> &'static [u8] {
        match self {
            Self::F32 => b"ctorch\nFloatStorage\n",
            Self::Bf16 => b"ctorch\nBFloat16Storage\n",
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// Writes a zip as torch does: data aligned to 64 bytes, sizes behind the data, and sizes of 64 bits where they are needed.
struct Zip {
    out: BufWriter<File>,
    at: u64,
    directory: Vec<u8>,
    members: u64,
}

impl Zip {
    fn new(path: &Path) -> Self {
        Self { out: BufWriter::new(File::create(path).unwrap()), at: 0, directory: Vec::new(), members: 0 }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.out.write_all(bytes).unwrap();
        self.at += bytes.len() as u64;
    }

    fn member(&mut self, name: &str, length: u64, bytes: Option<&[u8]>) {
        let (name, offset) = (format!("archive/{name}"), self.at);
        let padding = (64 - (offset + 30 + name.len() as u64 + 4) % 64) as u16;
        let extra = [b"FB", &padding.to_le_bytes()[..], &vec![b'Z'; padding.into()]].concat();
        let lengths = [(name.len() as u16).to_le_bytes(), (extra.len() as u16).to_le_bytes()].concat();
        self.put(&[b"PK\x03\x04\0\0\x08\x08", &[0; 18][..], &lengths, name.as_bytes(), &extra].concat());
        match bytes {
            Some(bytes) => self.put(bytes),
            None => {
                self.at += length;
                self.out.seek(SeekFrom::Start(self.at)).unwrap();
            }
        }
        // No checksum: nobody compares it.
        self.put(&[b"PK\x07\x08\0\0\0\0", &length.to_le_bytes()[..], &length.to_le_bytes()].concat());
        let far = offset >= u32::MAX.into();
        let wide = if far { [b"\x01\0\x08\0".as_slice(), &offset.to_le_bytes()].concat() } else { Vec::new() };
        let narrow = if far { u32::MAX } else { offset as u32 };
        let lengths = [name.len() as u16, wide.len() as u16, 0, 0, 0, 0, 0].map(u16::to_le_bytes).concat();
        let sizes = [length as u32; 2].map(u32::to_le_bytes).concat();
        let record = [b"PK\x01\x02\0\0\0\0\x08\x08", &[0; 10][..], &sizes, &lengths, &narrow.to_le_bytes()].concat();
        self.directory.extend([&record[..], name.as_bytes(), &wide].concat());
        self.members += 1;
    }

    fn finish(mut self) {
        let (start, directory) = (self.at, std::mem::take(&mut self.directory));
        self.put(&directory);
        let (end, length, members) = (self.at, directory.len() as u64, self.members);
        let sizes = [members, members, length, start].map(u64::to_le_bytes).concat();
        self.put(&[b"PK\x06\x06", &44u64.to_le_bytes()[..], &[0; 12], &sizes].concat());
        self.put(&[b"PK\x06\x07\0\0\0\0", &end.to_le_bytes()[..], &1u32.to_le_bytes()].concat());
        let members = (members.min(0xffff) as u16).to_le_bytes();
        let sizes = [length, start].map(|size| (size.min(u32::MAX.into()) as u32).to_le_bytes()).concat();
        self.put(&[b"PK\x05\x06\0\0\0\0", &members[..], &members, &sizes, &[0; 2]].concat());
        self.out.flush().unwrap();
    }
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// The pickle of a state dict. Storages have the places of their tensors as keys; `end` closes what is said of each.
fn state_dict(numbers: Numbers, tensors: &[Tensor<'_>], end: &[u8]) -> Vec<u8> {
    let int = |number: usize| [b"J", &i32::try_from(number).unwrap().to_le_bytes()[..]].concat();
    let mut pickle = b"\x80\x02ccollections\nOrderedDict\nq\0)Rq\x01(".to_vec();
    for (at, (name, shape, _)) in tensors.iter().enumerate() {
        let strides = (0..shape.len()).map(|at| shape[at + 1..].iter().product());
        let storage = [text("storage"), numbers.storage().to_vec(), text(&at.to_string()), text("cpu")].concat();
        let [sizes, strides] =
            [shape.clone(), strides.collect()].map(|sizes| sizes.into_iter().flat_map(int).collect::<Vec<u8>>());
        let count = int(shape.iter().product());
        pickle.extend(
            [&text(name)[..], b"ctorch._utils\n_rebuild_tensor_v2\n((", &storage, &count, end, b"tQK\0("].concat(),
        );
        pickle.extend([&sizes[..], b"t(", &strides, b"t\x89h\0)RtR"].concat());
    }
    pickle.extend(b"u.");
    pickle
}

/// Writes a state dict as torch does.
pub(crate) fn save(path: &Path, numbers: Numbers, tensors: &[Tensor<'_>]) {
    let pickle = state_dict(numbers, tensors, b"");
    let mut zip = Zip::new(path);
    zip.member("data.pkl", pickle.len() as u64, Some(&pickle));
    zip.member("byteorder", 6, Some(b"little"));
    for (at, (_, shape, bytes)) in tensors.iter().enumerate() {
        let length = (numbers.bytes() * shape.iter().product::<usize>()) as u64;
        zip.member(&format!("data/{at}"), length, *bytes);
    }
    zip.member("version", 2, Some(b"3\n"));
    zip.finish();
}

/// Writes a state dict as torch did before 1.6, when a storage could be named as a part of another.
pub(crate) fn save_legacy(path: &Path, numbers: Numbers, tensors: &[Tensor<'_>]) {
    let mut file = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.".to_vec();
    let about = [text("protocol_version"), b"M\xe9\x03".to_vec(), text("little_endian"), b"\x88".to_vec()].concat();
    file.extend([b"\x80\x02}(", &about[..], b"u."].concat());
    file.extend(state_dict(numbers, tensors, b"N"));
    let mut keys: Vec<String> = (0..tensors.len()).map(|at| at.to_string()).collect();
    keys.sort();
    file.extend([b"\x80\x02](", &keys.iter().flat_map(|key| text(key)).collect::<Vec<u8>>()[..], b"e."].concat());
    for key in keys {
        let (_, shape, bytes) = &tensors[key.parse::<usize>().unwrap()];
        file.extend((shape.iter().product::<usize>() as u64).to_le_bytes());
        file.extend(bytes.unwrap());
    }
    std::fs::write(path, file).unwrap();
}

/// The model in `model`, moved from safetensors to files with some of the tensors each, renamed.
pub(crate) fn move_to_torch(shell: &Shell, files: &[&str], name: impl Fn(&str) -> Option<&str>) {
    let bytes = std::fs::read(shell.path("model/model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensors: Vec<Tensor<'_>> = tensors
        .iter()
        .filter_map(|(old, view)| Some((name(old)?.to_owned(), view.shape().to_vec(), Some(view.data()))))
        .collect();
    for (at, file) in files.iter().enumerate() {
        let own: Vec<Tensor<'_>> = tensors.iter().skip(at).step_by(files.len()).cloned().collect();
        save(&shell.path(&format!("model/{file}")), Numbers::F32, &own);
    }
    std::fs::remove_file(shell.path("model/model.safetensors")).unwrap();
}

fn predictions(shell: &Shell) -> Vec<u8> {
    shell.spot("run own").ok();
    std::fs::read(shell.behind("own", "scores", "predictions")).unwrap()
}

#[track_caller]
fn refused(shell: &Shell, message: &str) {
    shell.spot("run own --only backbone").exits_with(1).complains(message);
}

#[test]
fn a_model_in_torch_files_answers_like_its_safetensors_twin() {
    let plain = predictions(&shell());
    let whole = shell();
    move_to_torch(&whole, &["pytorch_model.bin"], |name| Some(name));
    assert_eq!(predictions(&whole), plain);
    assert_eq!(whole.executed_by("run own"), [""; 0]);

    let sharded = shell();
    let [first, second] = [1, 2].map(|at| format!("pytorch_model-0000{at}-of-00002.bin"));
    move_to_torch(&sharded, &[&first, &second], |name| Some(name));
    let map =
        |names: &[&str], file: &str| names.iter().map(|name| ((*name).to_owned(), json!(file))).collect::<Vec<_>>();
    let maps = [map(&["shared.weight"], &first), map(&["lm_head.weight"], &second)].concat();
    let index = json!({"weight_map": maps.into_iter().collect::<serde_json::Map<_, _>>()});
    sharded.put("model/pytorch_model.bin.index.json", index.to_string());
    assert_eq!(predictions(&sharded), plain);
    std::fs::remove_file(sharded.path(&format!("model/{second}"))).unwrap();
    refused(&sharded, &format!("the shard `{second}` is missing, where `pytorch_model.bin.index.json` has 1 tensors"));
    std::fs::remove_file(sharded.path("model/pytorch_model.bin.index.json")).unwrap();
    refused(&sharded, &format!("the shard 2 of 2 is missing beside `{first}`"));
}

#[test]
fn safetensors_are_preferred() {
    let shell = shell();
    let plain = predictions(&shell);
    shell.put("model/pytorch_model.bin", "not looked at");
    assert_eq!(shell.executed_by("run own"), [""; 0]);
    assert_eq!(predictions(&shell), plain);
    std::fs::remove_file(shell.path("model/model.safetensors")).unwrap();
    refused(&shell, "safetensors: `pytorch_model.bin`: the file is cut off, or of another kind");
    shell.put("model/pytorch_model.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 70\n");
    refused(&shell, "`pytorch_model.bin`: a Git LFS pointer in place of the file of 70 bytes");
}

#[test]
fn the_embedding_is_never_the_head_and_no_matrix_is_empty() {
    let none = shell();
    move_to_torch(&none, &["pytorch_model.bin"], |name| Some(name).filter(|name| *name != "shared.weight"));
    refused(&none, "`pytorch_model.bin`: weights: tensor `shared.weight` is missing, expected shape [4096, 8]");
    let other = shell();
    move_to_torch(&other, &["pytorch_model.bin"], |name| {
        Some(if name == "shared.weight" { "decoder.embed_tokens.weight" } else { name })
    });
    assert_eq!(predictions(&other), predictions(&shell()));

    let constant = shell();
    let dims = Dims::from_json(constant.read("model/config.json").as_bytes()).unwrap();
    let slots = Layout::new(&dims);
    let tensors: Vec<Tensor<'_>> =
        slots.slots().iter().map(|slot| (slot.name.clone(), slot.shape.clone(), None)).collect();
    std::fs::remove_file(constant.path("model/model.safetensors")).unwrap();
    save(&constant.path("model/pytorch_model.bin"), Numbers::F32, &tensors);
    refused(
        &constant,
        "`pytorch_model.bin`: weights: tensor `shared.weight` is 0 everywhere, expected weights; is the file a placeholder?",
    );
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(PROJECT).join("tests/golden/torch").join(name)).unwrap()
}

#[test]
fn nothing_in_a_pickle_is_executed() {
    let shell = shell();
    std::fs::remove_file(shell.path("model/model.safetensors")).unwrap();
    for name in ["system.pt", "legacy_system.pt"] {
        shell.put("model/pytorch_model.bin", golden(name));
        refused(
            &shell,
            "`pytorch_model.bin`: torch file: the pickle names `posix.system`, which weights are not made of; nothing was executed",
        );
        shell.put("p.pt", golden(name));
        shell.spot("prompt show p.pt").exits_with(2).complains("p.pt: torch file: the pickle names `posix.system`");
    }
    // What the command would have written.
    assert!(!shell.path("executed").exists() && !shell.path("model/executed").exists());
}

/// T5-XXL's configuration, v1.1 as in `google/t5-xxl-lm-adapt`.
const XXL: &str = r#"{"model_type": "t5", "vocab_size": 32128, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24,
    "num_decoder_layers": 24, "num_heads": 64, "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128,
    "dropout_rate": 0.1, "layer_norm_epsilon": 1e-6, "initializer_factor": 1.0, "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": false, "is_encoder_decoder": true, "pad_token_id": 0, "eos_token_id": 1}"#;

/// A file of 44.5 GB with holes for numbers.
#[test]
fn the_largest_model_is_opened_in_little_memory() {
    let shell = Shell::new().write("p.pt", golden("bare.pt"));
    shell.put_backbone("model", 8);
    std::fs::remove_file(shell.path("model/model.safetensors")).unwrap();
    let layout = Layout::new(&Dims::from_json(XXL.as_bytes()).unwrap());
    let tensors: Vec<Tensor<'_>> =
        layout.slots().iter().map(|slot| (slot.name.clone(), slot.shape.clone(), None)).collect();
    let path = shell.path("model/pytorch_model.bin");
    save(&path, Numbers::F32, &tensors);
    assert!((44_500_000_000..44_600_000_000).contains(&path.metadata().unwrap().len()));

    let content = spot::engine::store::content::Content::of(&path).unwrap();
    let Contents::Named(found) = torch::read(&content).unwrap() else { panic!("a state dict has names") };
    let shapes = found.iter().map(|(name, tensor)| (name.as_str(), tensor.shape()));
    assert!(shapes.eq(tensors.iter().map(|(name, shape, _)| (name.as_str(), shape.as_slice()))));
    let mapped = content.as_ptr_range();
    for (name, tensor) in &found {
        let data = tensor.data().as_ptr_range();
        assert!(mapped.start <= data.start && data.end <= mapped.end && data.start.addr() % 64 == 0, "{name}");
    }

    // What the program itself allocates (a mapped file does not count), up to the first tensor that does not fit.
    shell.put("model/config.json", XXL.replace("10240", "10241"));
    let limited =
        format!("ulimit -d {}; exec {} prompt show p.pt --backbone model", 1 << 20, env!("CARGO_BIN_EXE_spot"));
    let done = Command::new("bash").args(["-c", &limited]).current_dir(shell.path(".")).output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    let expected = "has shape [10240, 4096], expected [10241, 4096] by config.json";
    assert!(said.contains("`pytorch_model.bin`: weights: tensor `") && said.contains(expected), "{said}");
}

#[test]
fn prompts_come_from_torch_files() {
    let golden_rows: Vec<Vec<f32>> = serde_json::from_slice(&golden("expected.json")).unwrap();
    let rows: Vec<u8> = golden_rows.concat().iter().flat_map(|x| x.to_le_bytes()).collect();
    let shell = Shell::new();
    shell.put_backbone("model", 8);
    for (name, from) in
        [("a.pt", "bare.pt"), ("b.pth", "legacy_dict.pt"), ("c.bin", "bare_bf16.pt"), ("d.task_prompt", "view.pt")]
    {
        shell.put(&format!("prompts/{name}"), golden(from));
        shell.spot(&format!("prompt show prompts/{name} --backbone model")).ok().prints("3 rows of 8");
        let import = format!("prompt import prompts/{name} --to back.safetensors --overwrite");
        shell.spot(&import).ok().prints(&format!("task `{}`", &name[..1]));
        assert!(std::fs::read(shell.path("back.safetensors")).unwrap().ends_with(&rows), "{name}");
    }
    let ranked = shell.spot("rank prompts --format json").ok().json();
    assert_eq!(ranked["prompts"], json!(["a", "b", "c", "d"]));
    shell.put("two.pt", golden("two.pt"));
    shell
        .spot("prompt show two.pt")
        .exits_with(2)
        .complains("several prompts: moments, prompt; name one with `--tensor`");
    shell.spot("prompt show two.pt --tensor prompt --backbone model").ok().prints("3 rows of 8");

    let manifest = "version: 1\nname: given\nstages:\n  backbone: {kind: backbone, from: {path: model}}\n  \
                    given: {kind: prompt, backbone: backbone, file: prompts/c.bin, task: mnli}\n";
    shell.put("pipelines/given.yaml", manifest);
    shell.spot("run given").ok();
    assert!(std::fs::read(shell.behind("given", "given", "prompt")).unwrap().ends_with(&rows));
}

#[test]
fn an_adapter_may_be_in_a_torch_file() {
    let shell = Shell::new();
    for name in ["adapter_config.json", "adapter_model.bin"] {
        shell.put(&format!("saved/{name}"), golden(&format!("adapter/{name}")));
    }
    shell.put("bare.pt", golden("bare.pt"));
    shell.spot("prompt export bare.pt --to rows.npy").ok();
    for what in ["saved", "saved/adapter_model.bin"] {
        shell.spot(&format!("prompt export {what} --to rows.npy")).ok().prints("unchanged: `rows.npy`");
    }
    std::fs::rename(shell.path("saved/adapter_model.bin"), shell.path("apart.bin")).unwrap();
    shell
        .spot("prompt show apart.bin")
        .exits_with(2)
        .complains("the tensor `prompt_embeddings` has shape [6, 8]; it is of a PEFT adapter");
}

/// Prompts that Su et al. (2022) published, against the same numbers in NumPy's files.
#[test]
fn published_torch_prompts_are_read() {
    let shared = std::env::var_os("SPOT_SHARED").map_or_else(|| Path::new(PROJECT).join("../shared"), PathBuf::from);
    let folder = shared.join("data/transferability");
    if !folder.is_dir() {
        println!("skipped: no {}", folder.display());
        return;
    }
    for name in ["MNLI", "squad"] {
        let shell = Shell::new();
        std::fs::copy(folder.join(format!("torch/{name}.task_prompt")), shell.path("theirs.task_prompt")).unwrap();
        let numpy = std::fs::read(folder.join(format!("t5-base/{name}.npy"))).unwrap();
        shell.spot("prompt export theirs.task_prompt --to ours.npy").ok().prints("100 rows of 768");
        let ours = std::fs::read(shell.path("ours.npy")).unwrap();
        assert!(ours[128..] == numpy[128..], "{name}");
    }
}

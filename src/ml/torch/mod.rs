//! Torch's own files (`.bin`, `.pt`, `.pth`), read as data: nothing in them is executed, and the tensors stay where they lie.
//!
//! Such a file is a pickle, which says what there is, and storages of numbers that it refers to. Since torch 1.6 both are members of
//! a zip; before, they followed each other.

mod legacy;
mod pickle;
#[cfg(test)]
mod tests;
mod zip;

use self::legacy::LITTLE;
use self::pickle::{Machine, OPERATIONS, Storage, Tensor, Value};
use self::zip::Archive;
use crate::ml::error::{Error, Result};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// The most tensors of a file; T5-XXL has 558.
const TENSORS: usize = 1 << 14;
/// The longest name of a tensor.
const NAME: usize = 256;
/// How deep containers may lie in each other.
const DEPTH: usize = 8;

/// What a file holds.
#[derive(Debug)]
pub enum Contents<'a> {
    /// A tensor and nothing else.
    Bare(TensorView<'a>),
    /// Tensors by name, in the file's order. Where containers lie in each other, points stand between their names.
    Named(Vec<(String, TensorView<'a>)>),
}

/// Whether a file begins as one of torch's, which no safetensors do.
pub fn is(bytes: &[u8]) -> bool {
    // The header of safetensors begins with a brace, behind its length.
    (bytes.starts_with(zip::MEMBER) && bytes.get(8) != Some(&b'{')) || legacy::is(bytes)
}

/// The tensors of a file. They must lie in their storages without gaps, row by row; what else there is, such as numbers and texts,
/// is left out.
///
/// # Errors
/// If the file is damaged, or holds anything but tensors and plain values; says what.
pub fn read(bytes: &[u8]) -> Result<Contents<'_>> {
    let mut left = OPERATIONS;
    if legacy::is(bytes) {
        let (machine, value, storages) = legacy::read(bytes, &mut left)?;
        return contents(&machine, value, &|storage| storages.get(storage.key).copied());
    }
    let archive = Archive::read(bytes)?;
    let Some(pickle) = archive.get("data.pkl") else {
        return Err(refuse("a zip that `torch.save` did not write: it has no `data.pkl`"));
    };
    if archive.get("byteorder").is_some_and(|order| order != b"little") {
        return Err(refuse(format!("the file was not written {LITTLE}")));
    }
    let (machine, value, length) = Machine::load(pickle, &mut left)?;
    if length != pickle.len() {
        return Err(refuse(format!("{} bytes follow the pickle, expected none", pickle.len() - length)));
    }
    contents(&machine, value, &|storage| archive.get(&format!("data/{}", storage.key)))
}

/// Where the numbers of a storage lie.
type Find<'f, 'a> = dyn Fn(&Storage<'a>) -> Option<&'a [u8]> + 'f;

fn contents<'a>(machine: &Machine<'a>, value: Value<'a>, find: &Find<'_, 'a>) -> Result<Contents<'a>> {
    if let Value::Tensor(at) = value {
        return view(machine, at, "", find).map(Contents::Bare);
    }
    let mut walk = Walk { machine, find, left: OPERATIONS, found: Vec::new() };
    walk.visit("", value, 0)?;
    if walk.found.is_empty() {
        return Err(refuse("there is no tensor in the file"));
    }
    Ok(Contents::Named(walk.found))
}

/// A walk through containers.
struct Walk<'w, 'a> {
    machine: &'w Machine<'a>,
    find: &'w Find<'w, 'a>,
    /// Values that may still be looked at: one container may be in many.
    left: usize,
    found: Vec<(String, TensorView<'a>)>,
}

impl<'a> Walk<'_, 'a> {
    fn visit(&mut self, name: &str, value: Value<'a>, depth: usize) -> Result<()> {
        if depth > DEPTH {
            return Err(refuse(format!("containers are nested more than {DEPTH} deep, at `{name}`")));
        }
        let machine = self.machine;
        match value {
            Value::Tensor(at) => self.tensor(name, at)?,
            Value::Dict(at) => {
                for (key, value) in machine.dict(at) {
                    self.enter(name, *key, *value, depth)?;
                }
            }
            Value::Tuple(at) | Value::List(at) => {
                for (key, value) in machine.sequence(at).iter().enumerate() {
                    self.enter(name, Value::Int(key as i64), *value, depth)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Visits what a container has under a key.
    fn enter(&mut self, name: &str, key: Value<'a>, value: Value<'a>, depth: usize) -> Result<()> {
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            refuse(format!(
                "more than {OPERATIONS} values, counted as often as they are in a container; these are not weights"
            ))
        })?;
        if !matches!(value, Value::Tensor(_) | Value::Dict(_) | Value::Tuple(_) | Value::List(_)) {
            return Ok(());
        }
        let key = match key {
            Value::Text(text) if text.len() <= NAME => text.escape_debug().to_string(),
            Value::Int(number) => number.to_string(),
            _ => return Err(refuse(format!("something in `{name}` has a key that is not a name or is too long"))),
        };
        let name = if name.is_empty() { key } else { format!("{name}.{key}") };
        if name.len() > NAME {
            return Err(refuse(format!("the name `{name:.40}…` is longer than {NAME} bytes")));
        }
        self.visit(&name, value, depth + 1)
    }

    fn tensor(&mut self, name: &str, at: u32) -> Result<()> {
        if self.found.len() == TENSORS {
            return Err(refuse(format!("more than {TENSORS} tensors")));
        }
        let view = view(self.machine, at, name, self.find)?;
        self.found.push((name.to_owned(), view));
        Ok(())
    }
}

/// A tensor where it lies.
fn view<'a>(machine: &Machine<'a>, at: u32, name: &str, find: &Find<'_, 'a>) -> Result<TensorView<'a>> {
    let (tensor, storage) = machine.tensor(at);
    let what = if name.is_empty() { "the tensor".to_owned() } else { format!("tensor `{name}`") };
    place(&tensor, &storage, find).map_err(|problem| refuse(format!("{what} {problem}")))
}

/// The same, or what is wrong with it.
fn place<'a>(
    tensor: &Tensor,
    storage: &Storage<'a>,
    find: &Find<'_, 'a>,
) -> std::result::Result<TensorView<'a>, String> {
    let (key, shape) = (storage.key.escape_debug(), tensor.shape());
    let all = find(storage).ok_or_else(|| format!("is in the storage `{key}`, which is not there"))?;
    if bytes_of(storage.dtype, storage.length) != Some(all.len()) {
        let (length, dtype) = (storage.length, storage.dtype);
        return Err(format!("is in the storage `{key}` of {length} {dtype:?}, which has {} bytes", all.len()));
    }
    let beyond =
        |from: u64, count: &str, length: u64| format!("has {count} numbers from {from} in a storage of {length}");
    let (first, length) = storage.view.unwrap_or((0, storage.length));
    if first.checked_add(length).is_none_or(|end| end > storage.length) {
        return Err(beyond(first, &length.to_string(), storage.length));
    }
    let count = shape.iter().try_fold(1u64, |count, size| count.checked_mul(*size));
    let Some(count) = count else { return Err(beyond(tensor.offset, "countless", length)) };
    if !is_contiguous(tensor) {
        return Err(format!(
            "has shape {shape:?} and strides {:?}, which do not lie row by row without gaps; save `tensor.contiguous()`",
            tensor.strides()
        ));
    }
    if tensor.offset.checked_add(count).is_none_or(|end| end > length) {
        return Err(beyond(tensor.offset, &count.to_string(), length));
    }
    let range = bytes_of(storage.dtype, first + tensor.offset).zip(bytes_of(storage.dtype, count));
    let data = range.and_then(|(start, length)| all.get(start..start + length));
    let data = data.ok_or_else(|| beyond(tensor.offset, &count.to_string(), length))?;
    let shape = shape.iter().map(|size| usize::try_from(*size)).collect::<std::result::Result<Vec<_>, _>>();
    let shape = shape.map_err(|_| "is too large for this machine".to_owned())?;
    TensorView::new(storage.dtype, shape, data).map_err(|error| format!("cannot be read: {error}"))
}

/// Whether numbers follow each other without gaps, the last dimension first. Strides of dimensions of one element say nothing.
fn is_contiguous(tensor: &Tensor) -> bool {
    let mut expected = 1u64;
    tensor.shape().contains(&0)
        || tensor.shape().iter().zip(tensor.strides()).rev().all(|(size, stride)| {
            let fits = *size == 1 || *stride == expected;
            expected = expected.saturating_mul(*size);
            fits
        })
}

/// Bytes of this many elements.
fn bytes_of(dtype: Dtype, count: u64) -> Option<usize> {
    usize::try_from(count).ok()?.checked_mul(dtype.bitsize() / 8)
}

fn refuse(message: impl Into<String>) -> Error {
    Error::Torch(message.into())
}

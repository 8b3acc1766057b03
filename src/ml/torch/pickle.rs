//! A machine for the pickles in torch's files, which executes nothing: it knows numbers, texts, containers, and the few globals
//! that weights are made of. Every other global is refused by name.
//!
//! Nothing is copied out of the pickle and nothing out of a container: values refer to bytes of the file and to containers by their
//! number, so an operation adds no more than a constant to what is held, and [`OPERATIONS`] bounds the whole.

use super::refuse;
use crate::ml::error::{Error, Result};
use safetensors::Dtype;
use std::collections::BTreeMap;

/// The most operations that the pickles of a file have together; T5-XXL takes some 20,000. They hold less than 64 MiB.
pub(super) const OPERATIONS: usize = 1 << 18;
/// The longest text, and the longest name of a global with its module.
const TEXT: usize = 1 << 16;
const NAME: usize = 256;
/// Dimensions of a tensor.
const DIMENSIONS: usize = 8;
/// The newest protocol.
const PROTOCOL: u8 = 5;

/// What a pickle can hold here.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// A fraction, bytes or a whole number of more than eight, which no weights depend on.
    Plain,
    Text(&'a str),
    Global(Global),
    Tuple(u32),
    List(u32),
    Dict(u32),
    Storage(u32),
    Tensor(u32),
}

/// What a pickle may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    /// `_rebuild_tensor` and its successor, which says more of gradients.
    Tensor,
    /// `_rebuild_parameter` and the same with attributes.
    Parameter,
    Storage(Dtype),
}

impl Global {
    fn find(module: &str, name: &str) -> Result<Self> {
        let dtype = |dtype| Ok(Self::Storage(dtype));
        match (module, name) {
            ("collections", "OrderedDict") => Ok(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Ok(Self::Tensor),
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Ok(Self::Parameter),
            ("torch", "FloatStorage") => dtype(Dtype::F32),
            ("torch", "HalfStorage") => dtype(Dtype::F16),
            ("torch", "BFloat16Storage") => dtype(Dtype::BF16),
            ("torch", "DoubleStorage") => dtype(Dtype::F64),
            ("torch", "LongStorage") => dtype(Dtype::I64),
            ("torch", "IntStorage") => dtype(Dtype::I32),
            ("torch", "ShortStorage") => dtype(Dtype::I16),
            ("torch", "CharStorage") => dtype(Dtype::I8),
            ("torch", "ByteStorage") => dtype(Dtype::U8),
            ("torch", "BoolStorage") => dtype(Dtype::BOOL),
            _ => Err(refuse(format!(
                "the pickle names `{}.{}`, which weights are not made of; nothing was executed. Save the tensors alone, \
                 `torch.save(model.state_dict(), FILE)`, or as safetensors",
                module.escape_debug(),
                name.escape_debug()
            ))),
        }
    }
}

/// Numbers that lie elsewhere in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage<'a> {
    pub(super) dtype: Dtype,
    pub(super) key: &'a str,
    /// How many numbers.
    pub(super) length: u64,
    /// Of these, where what is meant begins, and how many.
    pub(super) view: Option<(u64, u64)>,
}

/// A tensor in a storage.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tensor {
    /// Among the machine's.
    pub(super) storage: u32,
    pub(super) offset: u64,
    shape: [u64; DIMENSIONS],
    strides: [u64; DIMENSIONS],
    dimensions: usize,
}

impl Tensor {
    pub(super) fn shape(&self) -> &[u64] {
        &self.shape[..self.dimensions]
    }

    pub(super) fn strides(&self) -> &[u64] {
        &self.strides[..self.dimensions]
    }
}

/// What a pickle holds.
#[derive(Default)]
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value<'a>>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Value<'a>>,
    /// Tuples and lists.
    sequences: Vec<Vec<Value<'a>>>,
    dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    storages: Vec<Storage<'a>>,
    tensors: Vec<Tensor>,
}

impl<'a> Machine<'a> {
    /// Reads a pickle from the beginning of `bytes`: what it is, and how long. Takes its operations from those that are `left`.
    ///
    /// # Errors
    /// If it is damaged, or holds anything but weights and plain values.
    pub(super) fn load(bytes: &'a [u8], left: &mut usize) -> Result<(Self, Value<'a>, usize)> {
        let mut machine = Self { bytes, ..Self::default() };
        let value = machine.run(left)?;
        let end = machine.at;
        Ok((machine, value, end))
    }

    fn run(&mut self, left: &mut usize) -> Result<Value<'a>> {
        loop {
            *left = left.checked_sub(1).ok_or_else(|| {
                refuse(format!("the pickle has more than {OPERATIONS} operations; these are not weights"))
            })?;
            match self.byte()? {
                b'.' => return self.pop(),
                operation => self.execute(operation)?,
            }
        }
    }

    /// The elements of a tuple or list.
    pub(super) fn sequence(&self, at: u32) -> &[Value<'a>] {
        &self.sequences[at as usize]
    }

    /// The pairs of a dict, in the order in which they were set.
    pub(super) fn dict(&self, at: u32) -> &[(Value<'a>, Value<'a>)] {
        &self.dicts[at as usize]
    }

    /// A tensor, and what it lies in.
    pub(super) fn tensor(&self, at: u32) -> (Tensor, Storage<'a>) {
        let tensor = self.tensors[at as usize];
        (tensor, self.storages[tensor.storage as usize])
    }

    /// All storages, as often as they are named.
    pub(super) fn storages(&self) -> &[Storage<'a>] {
        &self.storages
    }

    fn execute(&mut self, operation: u8) -> Result<()> {
        match operation {
            // Of the pickle itself.
            0x80 => self.protocol(),
            0x95 => self.take(8).map(drop),
            // The stack.
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(drop),
            b'1' => self.until_mark().map(drop),
            b'2' => {
                let value = self.pop()?;
                self.stack.extend([value, value]);
                Ok(())
            }
            // The memo.
            b'q' | b'r' | 0x94 => self.remember(operation),
            b'h' | b'j' => self.recall(operation),
            // Containers.
            b')' => self.push_tuple(Vec::new()),
            0x85..=0x87 => self.short_tuple(usize::from(operation - 0x84)),
            b't' => {
                let items = self.until_mark()?;
                self.push_tuple(items)
            }
            b']' => self.push_list(Vec::new()),
            b'l' => {
                let items = self.until_mark()?;
                self.push_list(items)
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])
            }
            b'e' => {
                let items = self.until_mark()?;
                self.append(items)
            }
            b'}' => self.push_dict(&[]),
            b'd' => {
                let items = self.until_mark()?;
                self.push_dict(&items)
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])
            }
            b'u' => {
                let items = self.until_mark()?;
                self.set(&items)
            }
            // Objects.
            b'c' => self.global(),
            0x93 => self.global_of_stack(),
            b'R' => self.call(),
            b'b' => self.build(),
            b'Q' => self.persistent(),
            _ => {
                let value = self.constant(operation)?;
                self.push(value)
            }
        }
    }

    /// An operation that pushes a value which the pickle holds.
    fn constant(&mut self, operation: u8) -> Result<Value<'a>> {
        Ok(match operation {
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'K' => Value::Int(self.byte()?.into()),
            b'M' => Value::Int(u16::from_le_bytes(self.array()?).into()),
            b'J' => Value::Int(i32::from_le_bytes(self.array()?).into()),
            0x8a => {
                let length = self.byte()?;
                whole(self.take(length.into())?)
            }
            0x8b => {
                let length = self.length_32()?;
                whole(self.take(length)?)
            }
            b'G' => self.take(8).map(|_| Value::Plain)?,
            b'U' | 0x8c => {
                let length = self.byte()?;
                self.text(length.into())?
            }
            b'T' | b'X' => {
                let length = self.length_32()?;
                self.text(length)?
            }
            0x8d => {
                let length = self.length_64()?;
                self.text(length)?
            }
            b'C' => {
                let length = self.byte()?;
                self.take(length.into()).map(|_| Value::Plain)?
            }
            b'B' => {
                let length = self.length_32()?;
                self.take(length).map(|_| Value::Plain)?
            }
            0x8e => {
                let length = self.length_64()?;
                self.take(length).map(|_| Value::Plain)?
            }
            other => return Err(self.wrong(&format!("the operation 0x{other:02x}, which weights do not need"))),
        })
    }

    fn protocol(&mut self) -> Result<()> {
        match self.byte()? {
            2..=PROTOCOL => Ok(()),
            other => Err(refuse(format!("the pickle has protocol {other}, expected 2 to {PROTOCOL}"))),
        }
    }

    fn remember(&mut self, operation: u8) -> Result<()> {
        let at = match operation {
            b'q' => self.byte()?.into(),
            b'r' => u32::from_le_bytes(self.array()?),
            _ => self.memo.len() as u32,
        };
        let value = self.pop()?;
        self.memo.insert(at, value);
        self.push(value)
    }

    fn recall(&mut self, operation: u8) -> Result<()> {
        let at = if operation == b'h' { self.byte()?.into() } else { u32::from_le_bytes(self.array()?) };
        let value = self.memo.get(&at).copied();
        let value = value.ok_or_else(|| self.wrong(&format!("the memo's value {at}, which was never set")))?;
        self.push(value)
    }

    fn short_tuple(&mut self, length: usize) -> Result<()> {
        let mut items = (0..length).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
        items.reverse();
        self.push_tuple(items)
    }

    fn push_tuple(&mut self, items: Vec<Value<'a>>) -> Result<()> {
        self.sequences.push(items);
        self.push(Value::Tuple(self.sequences.len() as u32 - 1))
    }

    fn push_list(&mut self, items: Vec<Value<'a>>) -> Result<()> {
        self.sequences.push(items);
        self.push(Value::List(self.sequences.len() as u32 - 1))
    }

    fn append(&mut self, items: Vec<Value<'a>>) -> Result<()> {
        match self.top()? {
            Value::List(at) => self.sequences[at as usize].extend(items),
            other => return Err(self.wrong(&format!("elements for {}, expected a list", other.kind()))),
        }
        Ok(())
    }

    fn push_dict(&mut self, items: &[Value<'a>]) -> Result<()> {
        self.dicts.push(Vec::new());
        self.push(Value::Dict(self.dicts.len() as u32 - 1))?;
        self.set(items)
    }

    /// Sets keys and values, one after the other, in the dict on the stack.
    fn set(&mut self, items: &[Value<'a>]) -> Result<()> {
        let (pairs, []) = items.as_chunks::<2>() else { return Err(self.wrong("a key without a value")) };
        match self.top()? {
            Value::Dict(at) => self.dicts[at as usize].extend(pairs.iter().map(|[key, value]| (*key, *value))),
            other => return Err(self.wrong(&format!("keys for {}, expected a dict", other.kind()))),
        }
        Ok(())
    }

    fn global(&mut self) -> Result<()> {
        let (module, name) = (self.line()?, self.line()?);
        self.push(Value::Global(Global::find(module, name)?))
    }

    fn global_of_stack(&mut self) -> Result<()> {
        let (name, module) = (self.pop()?, self.pop()?);
        let (Value::Text(module), Value::Text(name)) = (module, name) else {
            return Err(self.wrong("a global whose name is not text"));
        };
        if module.len() + name.len() > NAME {
            return Err(self.wrong(&format!("a global whose name is longer than {NAME} bytes")));
        }
        self.push(Value::Global(Global::find(module, name)?))
    }

    fn call(&mut self) -> Result<()> {
        let (arguments, called) = (self.pop()?, self.pop()?);
        let (Value::Tuple(arguments), Value::Global(global)) = (arguments, called) else {
            let found =
                format!("a call of {} with {}, expected of a global with a tuple", called.kind(), arguments.kind());
            return Err(self.wrong(&found));
        };
        match (global, self.sequence(arguments)) {
            (Global::OrderedDict, []) => self.push_dict(&[]),
            (Global::Tensor, [storage, offset, shape, strides, rest @ ..]) if rest.len() <= 3 => {
                let tensor = self.rebuild([*storage, *offset, *shape, *strides], rest.get(2).copied())?;
                self.tensors.push(tensor);
                self.push(Value::Tensor(self.tensors.len() as u32 - 1))
            }
            (Global::Parameter, [tensor @ Value::Tensor(_), _, _]) => self.push(*tensor),
            (Global::Parameter, [tensor @ Value::Tensor(_), _, _, _]) => self.push(*tensor),
            (global, arguments) => {
                let kinds: Vec<&str> = arguments.iter().take(DIMENSIONS).map(|value| value.kind()).collect();
                Err(self.wrong(&format!("a call of {global:?} with ({})", kinds.join(", "))))
            }
        }
    }

    /// The tensor of the arguments with which torch rebuilds one.
    fn rebuild(&self, [storage, offset, shape, strides]: [Value<'a>; 4], more: Option<Value<'a>>) -> Result<Tensor> {
        // Whether it is conjugated or negated, which is left for whoever reads it.
        let plain = match more {
            None | Some(Value::None) => true,
            Some(Value::Dict(at)) => self.dict(at).is_empty(),
            Some(_) => false,
        };
        if !plain {
            return Err(
                self.wrong("a tensor with more to do to its numbers, expected plain ones (`tensor.contiguous()`)")
            );
        }
        let Value::Storage(storage) = storage else {
            return Err(self.wrong(&format!("a tensor in {}, expected in a storage", storage.kind())));
        };
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        if shape.1 != strides.1 {
            return Err(self.wrong(&format!("a tensor of {} dimensions with {} strides", shape.1, strides.1)));
        }
        let offset = self.count(offset)?;
        Ok(Tensor { storage, offset, shape: shape.0, strides: strides.0, dimensions: shape.1 })
    }

    /// Sizes or strides, and how many.
    fn sizes(&self, value: Value<'a>) -> Result<([u64; DIMENSIONS], usize)> {
        let Value::Tuple(at) = value else {
            return Err(self.wrong(&format!("sizes that are {}, expected a tuple", value.kind())));
        };
        let found = self.sequence(at);
        if found.len() > DIMENSIONS {
            return Err(self.wrong(&format!("a tensor of {} dimensions, expected at most {DIMENSIONS}", found.len())));
        }
        let mut sizes = [0; DIMENSIONS];
        for (size, value) in sizes.iter_mut().zip(found) {
            *size = self.count(*value)?;
        }
        Ok((sizes, found.len()))
    }

    fn count(&self, value: Value<'a>) -> Result<u64> {
        match value {
            Value::Int(number) if number >= 0 => Ok(number as u64),
            Value::Int(number) => Err(self.wrong(&format!("the size {number}, expected none below 0"))),
            other => Err(self.wrong(&format!("a size that is {}, expected a whole number", other.kind()))),
        }
    }

    /// Attributes of a dict, such as the versions of a model's modules. They say nothing of weights.
    fn build(&mut self) -> Result<()> {
        self.pop()?;
        match self.top()? {
            Value::Dict(_) => Ok(()),
            other => Err(self.wrong(&format!("attributes for {}, expected for a dict", other.kind()))),
        }
    }

    /// A storage: what it is, of which type, its key, the device that it was on, its length, and in older files a part of it.
    fn persistent(&mut self) -> Result<()> {
        let reference = self.pop()?;
        let items = if let Value::Tuple(at) = reference { self.sequence(at) } else { &[] };
        let (items, view) = match items {
            [items @ .., Value::None] => (items, None),
            [items @ .., Value::Tuple(view)] => (items, Some(self.sequence(*view))),
            items => (items, None),
        };
        let [Value::Text("storage"), Value::Global(Global::Storage(dtype)), Value::Text(key), Value::Text(_), length] =
            items
        else {
            return Err(self.wrong("a reference to something other than a storage"));
        };
        let view = match view {
            None => None,
            Some([_, offset, length]) => Some((self.count(*offset)?, self.count(*length)?)),
            Some(_) => return Err(self.wrong("a part of a storage that is not its key, its offset and its length")),
        };
        let storage = Storage { dtype: *dtype, key, length: self.count(*length)?, view };
        self.storages.push(storage);
        self.push(Value::Storage(self.storages.len() as u32 - 1))
    }

    /// Never fails: it is the last thing that an operation does, and gives what an operation gives.
    fn push(&mut self, value: Value<'a>) -> Result<()> {
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Value<'a>> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    fn top(&self) -> Result<Value<'a>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack[floor..].last().copied().ok_or_else(|| self.wrong("an operation on an empty stack"))
    }

    fn until_mark(&mut self) -> Result<Vec<Value<'a>>> {
        let mark = self.marks.pop().ok_or_else(|| self.wrong("the end of a row of values without its beginning"))?;
        // Not `split_off`, which may hand over the whole capacity of the stack.
        Ok(self.stack.drain(mark..).collect())
    }

    fn byte(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N).map(|bytes| *bytes.first_chunk().expect("as many were taken"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..length).ok_or_else(|| {
            refuse(format!("the pickle is cut off: {length} bytes at {}, but only {} are left", self.at, rest.len()))
        })?;
        self.at += length;
        Ok(taken)
    }

    fn length_32(&mut self) -> Result<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn length_64(&mut self) -> Result<usize> {
        let length = u64::from_le_bytes(self.array()?);
        usize::try_from(length).map_err(|_| self.wrong(&format!("a value of {length} bytes")))
    }

    fn text(&mut self, length: usize) -> Result<Value<'a>> {
        if length > TEXT {
            return Err(self.wrong(&format!("a text of {length} bytes, expected at most {TEXT}")));
        }
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map(Value::Text).map_err(|_| self.wrong("a text that is not UTF-8"))
    }

    fn line(&mut self) -> Result<&'a str> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().take(NAME).position(|byte| *byte == b'\n');
        let end = end.ok_or_else(|| self.wrong(&format!("a global whose name does not end within {NAME} bytes")))?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| self.wrong("a global whose name is not UTF-8"))
    }

    fn wrong(&self, found: &str) -> Error {
        refuse(format!("the pickle has {found}, before its byte {}", self.at))
    }

    /// Bytes that are held at the end of a pickle, or where it is refused, without the file's; and why it is.
    #[cfg(test)]
    pub(super) fn held_by(bytes: &'a [u8]) -> (usize, Result<Value<'a>>) {
        let mut machine = Self { bytes, ..Self::default() };
        let end = machine.run(&mut OPERATIONS.clone());
        (machine.held(), end)
    }

    #[cfg(test)]
    fn held(&self) -> usize {
        let value = size_of::<Value<'_>>();
        let sequences: usize = self.sequences.iter().map(|items| items.capacity() * value).sum();
        let dicts: usize = self.dicts.iter().map(|pairs| pairs.capacity() * 2 * value).sum();
        // A node of a B-tree is at least half full.
        let memo = self.memo.len() * 2 * (value + size_of::<u32>());
        (self.stack.capacity() * value + self.marks.capacity() * size_of::<usize>() + memo + sequences + dicts)
            + (self.sequences.capacity() + self.dicts.capacity()) * size_of::<Vec<Value<'_>>>()
            + self.storages.capacity() * size_of::<Storage<'_>>()
            + self.tensors.capacity() * size_of::<Tensor>()
    }
}

/// A whole number of two's complement, the lowest byte first.
fn whole(bytes: &[u8]) -> Value<'_> {
    let negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
    let mut all = if negative { [0xff; 8] } else { [0; 8] };
    match all.get_mut(..bytes.len()) {
        None => Value::Plain,
        Some(low) => {
            low.copy_from_slice(bytes);
            Value::Int(i64::from_le_bytes(all))
        }
    }
}

impl Value<'_> {
    /// What messages call it.
    fn kind(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Bool(_) => "a truth value",
            Self::Int(_) => "a whole number",
            Self::Plain => "a plain value",
            Self::Text(_) => "a text",
            Self::Global(_) => "a global",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dict",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
        }
    }
}

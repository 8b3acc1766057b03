//! Text to token ids and back: `tokenizer.json` and SentencePiece's own files.

pub mod bytes;
mod charsmap;
mod file;
mod normalizer;
pub mod sentencepiece;
pub mod tokens;
mod trie;
mod unigram;

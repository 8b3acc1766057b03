//! Text to token ids and back: `tokenizer.json` and SentencePiece's own files.

mod charsmap;
mod file;
mod normalizer;
pub mod sentencepiece;
pub mod tokens;
mod trie;
mod unigram;

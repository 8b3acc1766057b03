//! Soft prompts: how they begin, what they resemble, and their files.

pub mod about;
pub mod clustering;
pub mod combination;
pub mod file;
pub mod form;
pub mod init;
pub mod neighbours;
pub mod npy;
mod number;
pub mod peft;
pub mod saved;
pub mod similarity;

use super::error::{Error, Result};

/// A soft prompt: P rows in front of the encoder's input.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// `[P, E]`, row by row.
    pub values: Vec<f32>,
    /// E.
    pub width: usize,
}

impl Prompt {
    /// P.
    pub fn length(&self) -> usize {
        self.values.len() / self.width
    }

    /// This minus `other`, element by element. `[P, E]`
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn minus(&self, other: &Self) -> Result<Self> {
        let shape = |prompt: &Self| (prompt.length(), prompt.width);
        if shape(self) != shape(other) {
            return Err(Error::Prompt(format!("has shape {:?}, but the prompt {:?}", shape(other), shape(self))));
        }
        let values = self.values.iter().zip(&other.values).map(|(x, y)| x - y).collect();
        Ok(Self { values, width: self.width })
    }

    /// Checks that this prompt can lead the input of a model whose embedding width E is `width`.
    ///
    /// # Errors
    /// [`Error::Prompt`] if it has another width.
    pub fn fits(&self, width: usize) -> Result<()> {
        if self.width == width {
            Ok(())
        } else {
            let (length, own) = (self.length(), self.width);
            Err(Error::Prompt(format!("has shape [{length}, {own}], but the backbone's embedding width is {width}")))
        }
    }
}

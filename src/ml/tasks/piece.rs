//! What readers of published files make examples of: a whole file, or some lines of it that come after others.

use super::error::ReadError;
use super::json::{Record, is_lines, lines, records_from};
use super::rows::utf8;

/// A part of a file that begins with a line and ends with one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'t> {
    pub(super) text: &'t str,
    /// The number of its first line, from 1.
    pub(super) line: usize,
    /// Rows of the file in front of it.
    pub(super) rows: usize,
    /// The beginning of the file: its first line, or what says that it is JSON; `None` if that is the beginning of the piece.
    pub(super) first: Option<&'t str>,
}

impl<'t> Piece<'t> {
    /// A whole file.
    ///
    /// # Errors
    /// If it is not UTF-8, or its lines end in carriage returns alone.
    pub(super) fn whole(bytes: &'t [u8]) -> Result<Self, ReadError> {
        Ok(Self { text: utf8(bytes)?, line: 1, rows: 0, first: None })
    }

    /// Whether the file is JSON.
    pub(super) fn is_json(&self) -> bool {
        self.first.unwrap_or(self.text).trim_start().starts_with(['{', '['])
    }

    /// Whether all of it has to be there before its values can be told apart: JSON in an array, or over several lines.
    pub(super) fn needs_all(&self) -> bool {
        self.first.is_none() && self.is_json() && is_lines(self.text) == Some(false)
    }

    /// What the pieces that follow have to know of the beginning of the file, which this is.
    pub(super) fn beginning(&self) -> &'t str {
        // Of JSON no more than that it is.
        if self.is_json() { &self.text.trim_start()[..1] } else { self.text.split('\n').next().unwrap_or_default() }
    }

    /// The values of JSON, as [`records_from`] tells them apart; behind the beginning of a file they stand on a line each.
    ///
    /// # Errors
    /// As [`records_from`].
    pub(super) fn records(&self) -> Result<Vec<Record<'t>>, ReadError> {
        if self.first.is_some() {
            Ok(lines(self.text, self.line).collect())
        } else {
            records_from(self.text, self.line)
        }
    }
}

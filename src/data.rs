//! The files of artifacts: Parquet tables and safetensors, written so that equal content gives equal bytes, and read
//! without trust.
//!
//! Parquet is written with zstd 3 and a fixed `created_by`, without statistics that depend on a version or a time;
//! polars, pandas and DuckDB open the files as they are.

mod dataset;
mod table;
mod tensors;

pub use dataset::{Dataset, Part};
pub use table::{Column, Table};
pub use tensors::{PromptFile, Tensors};

/// What can be wrong with an artifact's file.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Not readable as Parquet.
    #[error("not a readable Parquet file: {0}")]
    Parquet(String),
    /// Not readable as safetensors.
    #[error("not a readable safetensors file: {0}")]
    Safetensors(#[from] safetensors::SafeTensorError),
    /// Readable, but not what it should hold.
    #[error("{0}")]
    Content(String),
}

impl From<parquet::errors::ParquetError> for DataError {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Self::Parquet(error.to_string())
    }
}

impl From<arrow_schema::ArrowError> for DataError {
    fn from(error: arrow_schema::ArrowError) -> Self {
        Self::Parquet(error.to_string())
    }
}

fn content(message: impl Into<String>) -> DataError {
    DataError::Content(message.into())
}

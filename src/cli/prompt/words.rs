//! The words that the rows of a prompt are like, as CSV beside the prompt: a prompt that people can read.

use super::given::Given;
use crate::cli::backbone::Backbone;
use crate::data::{Column, Table};
use crate::error::Usage;
use crate::ml::prompt::neighbours::{self, By};
use std::path::{Path, PathBuf};

/// The name in a folder, and the ending beside a file.
const NAME: &str = "words.csv";

/// Where the words of a prompt go that is written to `to`: into a folder, or beside a file, `NAME.words.csv`.
pub(super) fn path(to: &Path, is_folder: bool) -> PathBuf {
    if is_folder { to.join(NAME) } else { to.with_extension(NAME) }
}

/// For every row its length and the pieces nearest to it, `count` by cosine and as many by Euclidean distance, a line each.
///
/// # Errors
/// If the prompt is not as wide as the model.
pub(super) fn csv(given: &Given, backbone: &Backbone, count: usize) -> anyhow::Result<Vec<u8>> {
    let model = &backbone.model;
    given.prompt.fits(model.weights.dims.width).map_err(|error| {
        let (prompt, backbone) = (&given.name, &backbone.name);
        Usage(format!("`{prompt}` and the backbone `{backbone}`: {error}; name its own with `--backbone`"))
    })?;
    let norms = neighbours::norms(&given.prompt);
    let (mut rows, mut lengths, mut bys, mut ranks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut pieces, mut ids, mut cosines, mut distances) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let found = [("cosine", By::Cosine), ("distance", By::Distance)]
        .map(|(name, by)| (name, neighbours::nearest(&model.weights, model.tokens.size(), &given.prompt, count, by)));
    for (row, length) in norms.into_iter().enumerate() {
        for (by, near) in &found {
            for (rank, near) in near[row].iter().enumerate() {
                rows.push(row as i64);
                lengths.push(length);
                bys.push((*by).to_owned());
                ranks.push(rank as i64 + 1);
                pieces.push(model.tokens.piece(near.id).unwrap_or_default());
                ids.push(i64::from(near.id));
                cosines.push(near.cosine);
                distances.push(near.distance);
            }
        }
    }
    let table = Table::new([
        ("row", Column::Int(rows)),
        ("length", Column::Float(lengths)),
        ("nearest_by", Column::Text(bys)),
        ("rank", Column::Int(ranks)),
        ("piece", Column::Text(pieces)),
        ("id", Column::Int(ids)),
        ("cosine", Column::Float(cosines)),
        ("distance", Column::Float(distances)),
    ]);
    Ok(table.to_csv()?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lie_in_the_folder_or_beside_the_file() {
        let at = |to: &str, is_folder| path(Path::new(to), is_folder).display().to_string();
        assert_eq!(at("a/b", true), "a/b/words.csv");
        assert_eq!(at("a/b.npy", false), "a/b.words.csv");
        assert_eq!(at("b.safetensors", false), "b.words.csv");
    }
}

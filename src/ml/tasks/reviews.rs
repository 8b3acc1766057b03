//! Sentiment of sentences in files of a label and a sentence a line: customer reviews (CR, Hu and Liu 2004) and reviews of films (MR, Pang
//! and Lee 2005), in the copies of Kim (2014) and harvardnlp/sent-conv-torch, which most later work uses.

use super::format::{Field, Format, Layout, Source};
use super::rows::{Encoding, Header};
use super::{Answer, Metric};

const fn reviews(name: &'static str, encoding: Encoding) -> Format {
    let source = Source::Rows(Layout {
        encoding,
        header: Header::Leading { columns: ["label", "text"] },
        fields: &[Field { name: "sentence", columns: &["text"] }],
        answer: &["label"],
        undecided: None,
    });
    let (labels, metrics) = (&["negative", "positive"], &[Metric::Accuracy]);
    Format { name, task: name, word: name, labels, answer: Answer::Label, metrics, source }
}

/// MR is not in UTF-8, as its authors publish it.
pub(super) static FORMATS: &[Format] = &[reviews("cr", Encoding::Utf8), reviews("mr", Encoding::Windows1252)];

#[cfg(test)]
mod tests {
    use crate::ml::tasks::format::Reading;
    use crate::ml::tasks::published::read;
    use crate::ml::tasks::{Example, Split};

    fn train(format: &str, bytes: &[u8]) -> Result<Vec<Example>, String> {
        read(format, bytes, Split::Train, &Reading::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_line_is_a_label_and_a_sentence() {
        let examples = train("cr", b"0 too heavy ; .\n1  1 charge lasts\ta day\n").unwrap();
        let found: Vec<_> = examples.iter().map(|e| (&*e.id, &*e.input, &*e.target, e.label)).collect();
        assert_eq!(
            found,
            [
                ("0", "cr sentence: too heavy ; .", "negative", Some(0)),
                ("1", "cr sentence:  1 charge lasts\ta day", "positive", Some(1))
            ]
        );
        assert_eq!(train("cr", b"1 x\nfine\n").unwrap_err(), "line 2: `fine`, expected `label`, a blank and `text`");
        assert!(train("cr", b"2 x\n").unwrap_err().starts_with("line 1: column `label` is `2`, which is not a label"));
        assert!(train("cr", b"1 caf\xe9\n").unwrap_err().starts_with("line 1: not UTF-8 at byte 5"));
    }

    #[test]
    fn films_are_in_windows_1252_unless_they_are_in_utf_8() {
        let input = |bytes: &[u8]| train("mr", bytes).map(|examples| examples[0].input.clone());
        let expected = "mr sentence: café – \u{2018}so\u{2019} …";
        assert_eq!(input(b"1 caf\xe9 \x96 \x91so\x92 \x85\n").unwrap(), expected);
        assert_eq!(input("1 café – \u{2018}so\u{2019} …\n".as_bytes()).unwrap(), expected);
        assert_eq!(
            input(b"1 a\n0 b\x9d\n").unwrap_err(),
            "line 2: the byte 9D, expected UTF-8 or Windows-1252, which has no such character"
        );
    }
}

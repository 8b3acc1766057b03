//! What the rest of the program and a long pretraining rely on.

use super::bag_of_words::{Feature, accuracy};
use super::{FIELDS, LABELS, Role, SKILLS, Style, Text, find, held_out, plain, row, rows, tasks};
use crate::ml::random::Stream;
use crate::ml::tasks::{Answer, Split};
use std::collections::{BTreeMap, BTreeSet};

const SPLITS: [Split; 3] = [Split::Train, Split::Validation, Split::Test];

#[test]
fn every_task_gives_its_rows_without_repetition_or_leak() {
    for task in tasks() {
        let mut inputs = BTreeSet::new();
        for split in SPLITS {
            let examples = task.examples(split, task.rows(split), 0);
            assert_eq!(examples.len(), task.rows(split), "{} has too few inputs for {split:?}", task.name);
            for example in examples {
                assert!(inputs.insert(example.input.clone()), "{}: `{}` twice", task.name, example.input);
            }
        }
    }
}

#[test]
fn text_is_cut_between_words_and_never_repeats() {
    let long = Text::examples(2000, 0);
    assert_eq!(long.len(), 2000);
    assert_eq!(Text::examples(50, 0), long[..50]);
    assert_ne!(Text::examples(50, 1), long[..50]);
    let whole: BTreeSet<String> = long.iter().map(|e| format!("{} {}", e.input, e.target)).collect();
    assert_eq!(whole.len(), 2000);
    let mut early = 0;
    for example in &long {
        let (start, end) = (example.input.split(' ').count(), example.target.split(' ').count());
        assert!(!example.input.is_empty() && !example.target.is_empty(), "{example:?}");
        assert!(example.target.ends_with(['.', '?']), "{example:?}");
        early += usize::from(start < end);
    }
    assert!((700..1300).contains(&early), "the cut is anywhere: {early}");
    assert!(find(Text::NAME).is_none() && Text::task().metrics.is_empty());
}

#[test]
fn splits_are_disjoint_across_seeds() {
    let task = find("w_cause").expect("a task with few inputs");
    let train: BTreeSet<String> = task.examples(Split::Train, 1000, 0).into_iter().map(|e| e.input).collect();
    assert!(task.examples(Split::Test, 500, 1).iter().all(|e| !train.contains(&e.input)));
}

#[test]
fn a_shorter_request_is_a_prefix_of_a_longer_one() {
    for task in tasks() {
        let long = task.examples(Split::Train, 60, 3);
        assert_eq!(task.examples(Split::Train, 25, 3), long[..25], "{}", task.name);
        assert_ne!(task.examples(Split::Train, 60, 4), long, "{} ignores the seed", task.name);
    }
}

#[test]
fn examples_agree_with_what_the_task_declares() {
    for builtin in tasks() {
        let task = builtin.task();
        for (i, example) in builtin.examples(Split::Validation, 100, 0).into_iter().enumerate() {
            assert_eq!(example.id, i.to_string());
            let name = &task.name;
            match task.answer {
                Answer::Label => {
                    let label = example.label.expect("a label") as usize;
                    assert_eq!(task.labels[label], example.target, "{name}");
                }
                Answer::Number => {
                    assert!((0.0..=5.0).contains(&example.target.parse::<f64>().expect("a number")), "{name}");
                }
                Answer::Text => {
                    assert_eq!(example.answers, [example.target.as_str()], "{name}");
                    let mut words = example.input.split(|c: char| !c.is_alphanumeric());
                    assert!(words.any(|word| word == example.target), "{name}: {}", example.input);
                }
                Answer::Referent | Answer::Choice => panic!("{name} has no referents and brings no choices"),
            }
            let mut at = 0;
            for field in builtin.fields {
                let found = example.input[at..].find(&format!("{field}: "));
                at += found.unwrap_or_else(|| panic!("{name}: no `{field}` in `{}`", example.input));
            }
        }
    }
}

#[test]
fn labels_and_fields_come_from_the_pools_of_pretraining() {
    for task in tasks() {
        for label in task.labels {
            assert!(LABELS.contains(label), "{}: label `{label}`", task.name);
        }
        for field in task.fields {
            assert!(FIELDS.contains(field), "{}: field `{field}`", task.name);
        }
        assert!(SKILLS.contains(&task.skill), "{}: skill `{}`", task.name, task.skill);
        let source = find(task.family).expect("a family is named after its source");
        assert_eq!(source.role, Role::Source, "{}", task.name);
    }
}

#[test]
fn labels_are_balanced() {
    for task in tasks().iter().filter(|task| !task.labels.is_empty()) {
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        let examples = task.examples(Split::Train, 24, 0);
        for example in &examples {
            *counts.entry(example.label.expect("a label")).or_default() += 1;
        }
        let most = counts.values().max().expect("24 examples");
        assert!(*most <= 24_usize.div_ceil(task.labels.len()), "{}: {counts:?}", task.name);
    }
}

#[test]
fn answers_do_not_cling_to_one_word() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for example in find("w_sts").expect("a task").examples(Split::Train, 600, 0) {
        *counts.entry(example.target).or_default() += 1;
    }
    assert!(counts.len() > 8 && counts.values().all(|n| *n < 150), "{counts:?}");
}

/// The best of three linear classifiers over words, trained on 1,500 examples.
fn bag_of_words(name: &str) -> f64 {
    let task = find(name).expect("a task");
    let (train, test) = (task.examples(Split::Train, 1500, 0), task.examples(Split::Test, 500, 0));
    let classes = task.labels.len();
    let of = |feature| accuracy(&train, &test, classes, feature);
    of(Feature::Count).max(of(Feature::Presence)).max(of(Feature::InField))
}

#[test]
fn a_bag_of_words_does_not_solve_pairs() {
    for (name, classes) in PAIRS {
        let accuracy = bag_of_words(name);
        println!("{name}: {accuracy:.3}");
        assert!(accuracy < 1.0 / classes + 0.15, "{name}: {accuracy:.3}");
    }
}

/// Tasks on two or more texts, with their number of classes.
const PAIRS: [(&str, f64); 9] = [
    ("w_nli", 3.0),
    ("w_para", 2.0),
    ("w_fact", 2.0),
    ("w_cause", 2.0),
    ("w_rte", 2.0),
    ("w_mrpc", 2.0),
    ("w_boolq", 2.0),
    ("w_copa", 2.0),
    ("w_wic", 2.0),
];

#[test]
fn a_bag_of_words_is_bounded_on_single_sentences() {
    for (name, bound) in [("w_senti", 0.85), ("w_mood", 0.85), ("w_product", 0.80), ("w_accept", 0.75), ("w_sum", 0.95)]
    {
        let accuracy = bag_of_words(name);
        println!("{name}: {accuracy:.3}");
        assert!(accuracy < bound, "{name}: {accuracy:.3}");
    }
}

#[test]
fn rows_are_well_formed() {
    for skill in SKILLS {
        let (mut coded, mut words) = (0, 0);
        for row in held_out(skill, 200, 0) {
            assert_eq!(row.skill, *skill);
            coded += usize::from(row.style == Style::Code);
            words += row.input.split(' ').count();
            for text in [&row.input, &row.target] {
                assert!(!text.is_empty() && !text.contains("  ") && text.trim() == text, "{skill}: `{text}`");
                assert!(!text.contains('@'), "{skill}: `{text}`");
                assert!(text.bytes().all(|b| b.is_ascii_graphic() || b == b' '), "{skill}: `{text}`");
            }
            assert!(row.input.split(' ').count() <= 60, "{skill}: `{}`", row.input);
        }
        assert!((20..120).contains(&coded), "{skill}: {coded} of 200 rows have a code");
        println!("{skill}: {} words", words / 200);
    }
}

#[test]
fn the_mixture_draws_every_skill_and_both_styles() {
    let mut stream = Stream::new(0, "mixture");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut coded = 0;
    for _ in 0..10_000 {
        let row = rows(&mut stream);
        *counts.entry(row.skill).or_default() += 1;
        coded += usize::from(row.style == Style::Code);
    }
    println!("{counts:?}");
    assert_eq!(counts.len(), SKILLS.len());
    assert!(counts.values().all(|n| *n > 50), "{counts:?}");
    assert!((6_800..7_200).contains(&coded), "{coded} codes");
}

#[test]
fn no_row_practises_a_built_in_task() {
    let mut stream = Stream::new(0, "reserved");
    for task in tasks() {
        for _ in 0..1000 {
            let row = row(task.skill, &mut stream);
            let fields: Vec<&str> = row.input.split(' ').filter_map(|word| word.strip_suffix(':')).collect();
            let fields: Vec<&str> = fields.into_iter().filter(|field| !field.is_empty()).collect();
            // Skills with answers of their own never see the task's fields; the others not together with its labels.
            let names = |label: &&str| row.input.split(' ').any(|word| word == *label);
            let labels = task.labels.len() > 3 || task.labels.iter().all(names);
            assert!(fields != task.fields || !labels, "{}: `{}`", task.name, row.input);
        }
    }
}

#[test]
fn plain_text_is_well_formed() {
    let mut stream = Stream::new(0, "plain");
    for _ in 0..500 {
        let text = plain(&mut stream);
        assert!(text.ends_with('.') && !text.contains('@') && !text.contains("  "), "`{text}`");
    }
}

/// Digest of the first 20 rows of every task and skill; whoever changes it bumps [`VERSION`](super::VERSION).
const DIGEST: &str = "6f71748d9cdc6777fa5355de9a4b43eb85c26f32a6a0d1530c4a5afd8dc3c64a";

#[test]
fn generated_bytes_are_pinned_to_the_version() {
    let mut hasher = blake3::Hasher::new();
    for task in tasks() {
        for example in SPLITS.iter().flat_map(|split| task.examples(*split, 20, 0)) {
            hasher.update(format!("{}\t{}\n", example.input, example.target).as_bytes());
        }
    }
    for skill in SKILLS {
        for row in held_out(skill, 20, 0) {
            hasher.update(format!("{}\t{}\n", row.input, row.target).as_bytes());
        }
    }
    let mut stream = Stream::new(0, "digest");
    for _ in 0..50 {
        hasher.update(format!("{}\n{}\n", rows(&mut stream).input, plain(&mut stream)).as_bytes());
    }
    assert_eq!((super::VERSION, hasher.finalize().to_hex().as_str()), (1, DIGEST));
}

#[test]
fn a_few_of_everything_for_the_reader() {
    let mut shown = 0;
    for task in tasks() {
        for example in task.examples(Split::Train, 4, 0) {
            println!("{:10} {} => {}", task.name, example.input, example.target);
            shown += 1;
        }
    }
    for skill in SKILLS {
        for row in held_out(skill, 6, 0) {
            println!("{skill:10} {} => {}", row.input, row.target);
            shown += 1;
        }
    }
    let mut stream = Stream::new(0, "shown");
    for _ in 0..10 {
        println!("plain      {}", plain(&mut stream));
    }
    assert_eq!(shown, 4 * tasks().len() + 6 * SKILLS.len());
}

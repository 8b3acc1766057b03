//! Pretraining rows: a prefix that says (or, as a code learnt by heart, stands for) skill and label words, then the fields.

use super::builtin;
use super::labels::{draw_fields, draw_labels, join, written};
use super::skill::{self, Parts, Skill, Way};
use crate::ml::random::Stream;
use std::sync::LazyLock;

/// What tells the reader of a row what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A sentence that names the skill and the label words.
    Instruction,
    /// Three words without meaning, bound for ever to a skill, label words and field names. A soft prompt is such
    /// a prefix: nothing in it says what to do to those who have not learnt it.
    Code,
}

/// A pretraining row in text-to-text form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// One of [`SKILLS`](super::SKILLS).
    pub skill: &'static str,
    /// How its prefix speaks.
    pub style: Style,
    /// Prefix and fields.
    pub input: String,
    /// What to answer.
    pub target: String,
}

/// Words of codes; none of them occurs elsewhere in the world.
const CODE_WORDS: [&str; 40] = [
    "blue", "green", "yellow", "purple", "north", "south", "east", "west", "summer", "autumn", "winter", "monday",
    "tuesday", "friday", "sunday", "iron", "silver", "gold", "copper", "square", "circle", "triangle", "line", "moon",
    "star", "planet", "comet", "ocean", "desert", "valley", "mountain", "violin", "piano", "guitar", "flute", "pepper",
    "salt", "sugar", "velvet", "cotton",
];

/// Number of codes.
const CODES: usize = 60;

/// A meaning bound to a code.
struct Code {
    words: String,
    skill: &'static Skill,
    variant: usize,
    labels: Vec<&'static str>,
    fields: Vec<&'static str>,
}

/// All codes; the seed is part of the world and never changes.
static ALL_CODES: LazyLock<Vec<Code>> = LazyLock::new(|| {
    let mut stream = Stream::new(0, "world codes");
    let mut codes: Vec<Code> = Vec::with_capacity(CODES);
    while codes.len() < CODES {
        // Every skill gets a code before any gets a second.
        let skill = match skill::ALL.get(codes.len()) {
            Some(skill) => skill,
            None if stream.chance(0.8) => weighted(&mut stream, true),
            None => weighted(&mut stream, false),
        };
        let (labels, fields) = frame(&mut stream, skill);
        let words: Vec<&str> = stream.sample(CODE_WORDS.len(), 3).into_iter().map(|i| CODE_WORDS[i]).collect();
        let variant = stream.below(skill.variants);
        codes.push(Code { words: words.join(" "), skill, variant, labels, fields });
    }
    codes
});

/// Whether a skill answers with label words.
fn is_judged(skill: &Skill) -> bool {
    !matches!(skill.answer, Way::Open { .. })
}

/// A skill that answers with label words, or one that does not, by weight.
fn weighted(stream: &mut Stream, judged: bool) -> &'static Skill {
    let candidates = || skill::ALL.iter().filter(move |skill| is_judged(skill) == judged);
    let mut at = stream.below(candidates().map(|skill| skill.weight).sum());
    for skill in candidates() {
        if at < skill.weight {
            return skill;
        }
        at -= skill.weight;
    }
    unreachable!("the draw lies below the sum of the weights")
}

fn classes(skill: &Skill) -> usize {
    match skill.answer {
        Way::Judge { .. } => 2,
        Way::Relate { .. } => 3,
        Way::Open { .. } => 0,
    }
}

fn field_count(skill: &Skill) -> usize {
    match skill.name {
        "choice" => 4,
        "sense" => 3,
        "same" | "follow" | "relation" | "fact" | "more" | "cause" | "similarity" | "answer" | "meaning" => 2,
        _ => 1,
    }
}

/// Label words and field names that are together no built-in task's.
fn frame(stream: &mut Stream, skill: &Skill) -> (Vec<&'static str>, Vec<&'static str>) {
    loop {
        let labels = draw_labels(stream, classes(skill));
        let fields = draw_fields(stream, field_count(skill));
        if !builtin::is_reserved(skill.name, &labels, &fields) {
            return (labels, fields);
        }
    }
}

/// A row of a skill, with an instruction or (three in ten) a code.
///
/// # Panics
/// If the skill is not one of [`SKILLS`](super::SKILLS).
pub fn row(skill: &str, stream: &mut Stream) -> Row {
    let skill = skill::find(skill).expect("a skill of the world");
    if stream.chance(0.3) { coded(stream, Some(skill)) } else { instructed(stream, skill) }
}

/// A row of the mixture: 12 % instructions with label words, 70 % codes, the rest open answers.
pub fn rows(stream: &mut Stream) -> Row {
    match stream.below(100) {
        0..12 => {
            let skill = weighted(stream, true);
            instructed(stream, skill)
        }
        12..82 => coded(stream, None),
        _ => {
            let skill = weighted(stream, false);
            instructed(stream, skill)
        }
    }
}

/// `count` rows of a skill that no stream of pretraining repeats, for measuring it.
///
/// # Panics
/// If the skill is not one of [`SKILLS`](super::SKILLS).
pub fn held_out(skill: &str, count: usize, seed: u64) -> Vec<Row> {
    let mut stream = Stream::new(seed, &format!("world held out {skill}"));
    (0..count).map(|_| row(skill, &mut stream)).collect()
}

/// Texts and answer of a skill under these label words.
fn solve(stream: &mut Stream, skill: &Skill, variant: usize, labels: &[&str]) -> (Parts, String) {
    match skill.answer {
        Way::Judge { draw, .. } => {
            let class = stream.below(2);
            (draw(stream, variant, class), labels[class].to_owned())
        }
        Way::Relate { draw, .. } => {
            let class = stream.below(3);
            (draw(stream, class), labels[class].to_owned())
        }
        Way::Open { draw, .. } => draw(stream, variant),
    }
}

fn coded(stream: &mut Stream, skill: Option<&Skill>) -> Row {
    let code = match skill {
        Some(skill) => loop {
            let code = stream.choose(&ALL_CODES);
            if code.skill.name == skill.name {
                break code;
            }
        },
        None => stream.choose(&ALL_CODES),
    };
    let (parts, target) = solve(stream, code.skill, code.variant, &code.labels);
    let input = written(&format!("{} {}", code.words, join(&code.fields, &parts)));
    Row { skill: code.skill.name, style: Style::Code, input, target: written(&target) }
}

fn instructed(stream: &mut Stream, skill: &'static Skill) -> Row {
    let (labels, fields) = frame(stream, skill);
    let variant = stream.below(skill.variants);
    let prefix = match &skill.answer {
        Way::Judge { names, holds, fails, .. } => {
            let kind = skill::kind_name(variant);
            let mut pick = |words: &[&str]| stream.choose(words).replace('@', kind);
            let (name, holds, fails) = (pick(names), pick(holds), pick(fails));
            instruction(stream, &name, &holds, &fails, &labels)
        }
        Way::Relate { names, .. } => cases(stream, names, &labels),
        Way::Open { asks, .. } => format!("{} .", stream.choose(asks[variant])),
    };
    let (parts, target) = solve(stream, skill, variant, &labels);
    let input = written(&format!("{prefix} {}", join(&fields, &parts)));
    Row { skill: skill.name, style: Style::Instruction, input, target: written(&target) }
}

/// One of several ways to ask for `labels[1]` where a condition holds and for `labels[0]` where it fails.
fn instruction(stream: &mut Stream, name: &str, holds: &str, fails: &str, labels: &[&str]) -> String {
    let (no, yes) = (labels[0], labels[1]);
    match stream.below(10) {
        0 | 1 => format!("{name} : {yes} or {no} ."),
        2 => format!("say {yes} if {holds} else {no} ."),
        3 => format!("{yes} if {holds} , {no} if not ."),
        4 => format!("if {holds} answer {yes} , otherwise {no} ."),
        5 => format!("{name} ? {yes} / {no} ."),
        6 => format!("{yes} when {holds} , {no} when {fails} ."),
        7 => format!("say {no} if {fails} else {yes} ."),
        8 => format!("{no} unless {holds} , then {yes} ."),
        _ => format!("not {name} : {no} or {yes} ."),
    }
}

/// One of several ways to name a label for each of three cases.
fn cases(stream: &mut Stream, names: &[&[&str]; 3], labels: &[&str]) -> String {
    let mut order = [0, 1, 2];
    stream.shuffle(&mut order);
    let [a, b, c] = order.map(|class| (labels[class], *stream.choose(names[class])));
    match stream.below(4) {
        0 | 1 => format!("{} : {} , {} : {} , {} : {} .", a.1, a.0, b.1, b.0, c.1, c.0),
        2 => format!("say {} if {} , {} if {} , {} if {} .", a.0, a.1, b.0, b.1, c.0, c.1),
        _ => format!("if {} say {} , if {} say {} , if {} say {} .", a.1, a.0, b.1, b.0, c.1, c.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_different_and_cover_every_skill() {
        let words: BTreeSet<&str> = ALL_CODES.iter().map(|code| code.words.as_str()).collect();
        assert_eq!(words.len(), CODES);
        let skills: BTreeSet<&str> = ALL_CODES.iter().map(|code| code.skill.name).collect();
        assert_eq!(skills.len(), skill::ALL.len());
    }

    #[test]
    fn no_code_stands_for_a_built_in_task() {
        for code in ALL_CODES.iter() {
            assert!(!builtin::is_reserved(code.skill.name, &code.labels, &code.fields), "{}", code.words);
        }
        assert!(builtin::is_reserved("follow", &["not_entailment", "entailment"], &["sentence1", "sentence2"]));
        assert!(builtin::is_reserved("answer", &[], &["question", "context"]));
    }

    #[test]
    fn every_skill_fills_the_fields_it_declares() {
        let mut stream = Stream::new(1, "fields");
        for skill in &skill::ALL {
            for variant in 0..skill.variants {
                for _ in 0..50 {
                    let labels = ["no", "yes", "maybe"];
                    let (parts, target) = solve(&mut stream, skill, variant, &labels);
                    assert_eq!(parts.len(), field_count(skill), "{}", skill.name);
                    assert!(!target.is_empty() && parts.iter().all(|part| !part.is_empty()), "{}", skill.name);
                }
            }
        }
    }
}

//! Sentences that praise or blame, with denial and contrast, so that single words do not decide.

use super::event::another;
use super::lexicon::{BAD, DEGREES, FROWN, GLAD, GOOD, GOODS, HANDY, LOATHE, LOVE, PEOPLE, SAD, SMILE, USELESS, WORKS};
use crate::ml::random::Stream;

/// What is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Matter {
    /// A film or a meal.
    Work,
    /// The mood of a person.
    Mood,
    /// Something from a shop.
    Goods,
}

impl Matter {
    /// Any of them.
    pub(super) fn draw(stream: &mut Stream) -> Self {
        *stream.choose(&[Self::Work, Self::Work, Self::Mood, Self::Goods])
    }

    fn subjects(self) -> &'static [&'static str] {
        match self {
            Self::Work => &WORKS,
            Self::Mood => &PEOPLE,
            Self::Goods => &GOODS,
        }
    }
}

/// How often a clause is denied.
const DENIED: f64 = 0.2;

/// A sentence whose judgement, taken as a whole, is positive or not. `contrast` is the share of two clauses that disagree.
pub(super) fn sentence(stream: &mut Stream, matter: Matter, positive: bool, contrast: f64) -> String {
    let subjects = matter.subjects();
    let subject = stream.below(subjects.len());
    let beside = subjects[another(stream, subjects.len(), subject)];
    let main = clause(stream, matter, subjects[subject], positive);
    if !stream.chance(contrast) {
        if stream.chance(0.15) {
            let other = clause(stream, matter, beside, positive);
            return format!("{other} and {main} .");
        }
        return format!("{main} .");
    }
    let other = clause(stream, matter, beside, !positive);
    match stream.below(3) {
        0 | 1 => format!("{other} but {main} ."),
        _ => format!("although {other} , {main} ."),
    }
}

/// A single word of praise or blame.
pub(super) fn word(stream: &mut Stream, positive: bool) -> String {
    let words: [&[&str]; 3] = if positive { [&GOOD, &GLAD, &HANDY] } else { [&BAD, &SAD, &USELESS] };
    let words = *stream.choose(&words);
    if stream.chance(DENIED) {
        format!("not {}", stream.choose(&opposite(words)))
    } else {
        (*stream.choose(words)).to_owned()
    }
}

fn opposite(words: &[&str]) -> Vec<&'static str> {
    let pairs: [(&[&str], &[&'static str]); 6] =
        [(&GOOD, &BAD), (&BAD, &GOOD), (&GLAD, &SAD), (&SAD, &GLAD), (&HANDY, &USELESS), (&USELESS, &HANDY)];
    pairs.iter().find(|(from, _)| *from == words).map_or_else(Vec::new, |(_, to)| to.to_vec())
}

/// One judgement, possibly the denial of the opposite one.
fn clause(stream: &mut Stream, matter: Matter, subject: &str, positive: bool) -> String {
    let denied = stream.chance(DENIED);
    let praise = positive != denied;
    let words: &[&str] = match (matter, praise) {
        (Matter::Mood, true) => &GLAD,
        (Matter::Mood, false) => &SAD,
        (Matter::Goods, true) if stream.chance(0.4) => &HANDY,
        (Matter::Goods, false) if stream.chance(0.4) => &USELESS,
        (_, true) => &GOOD,
        (_, false) => &BAD,
    };
    let verb = match (matter, praise) {
        (Matter::Mood, true) => *stream.choose(&SMILE),
        (Matter::Mood, false) => *stream.choose(&FROWN),
        (_, true) => *stream.choose(&LOVE),
        (_, false) => *stream.choose(&LOATHE),
    };
    let (word, degree) = (stream.choose(words), stream.choose(&DEGREES));
    let not = if denied { "not " } else { "" };
    let verb = if denied { format!("did not {}", verb.0) } else { verb.1.to_owned() };
    let person = stream.choose(&PEOPLE);
    match (matter, stream.below(3)) {
        (Matter::Mood, 0) => format!("{subject} {verb}"),
        (Matter::Mood, _) => format!("{subject} was {not}{degree}{word}"),
        (Matter::Work, 0) => format!("{person} {verb} the {subject}"),
        (Matter::Goods, 0) => format!("the {subject} is {not}{degree}{word}"),
        _ => format!("the {subject} was {not}{degree}{word}"),
    }
}

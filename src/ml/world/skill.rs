//! The latent skills: what each looks at, how it is named in an instruction, and how its rows are drawn.

use super::event::{self, Event, Relation};
use super::lexicon::{CATEGORIES, NUMBERS, REALM_OF, REALMS};
use super::opinion::{self, Matter};
use super::scene::{Count, Scene};
use super::{cause, grammar, sense};
use crate::ml::random::Stream;

/// The texts of a row's fields, in order.
pub(super) type Parts = Vec<String>;

/// A skill.
pub(super) struct Skill {
    /// Its name.
    pub(super) name: &'static str,
    /// Its share of the rows of its sort, in any unit.
    pub(super) weight: usize,
    /// Number of things that it can look for (13 kinds of thing); 1 for most.
    pub(super) variants: usize,
    /// How it answers.
    pub(super) answer: Way,
}

/// How a skill answers.
pub(super) enum Way {
    /// With one of the row's label words: class 1 where the condition holds, 0 where it fails.
    Judge {
        /// Texts for a variant and a class.
        draw: fn(&mut Stream, usize, usize) -> Parts,
        /// Short names of the condition; `@` is the name of the variant.
        names: &'static [&'static str],
        /// Clauses that say that it holds.
        holds: &'static [&'static str],
        /// Clauses that say that it fails.
        fails: &'static [&'static str],
    },
    /// With one of three label words.
    Relate {
        /// Texts for a class.
        draw: fn(&mut Stream, usize) -> Parts,
        /// Names of the classes.
        names: [&'static [&'static str]; 3],
    },
    /// With words of its own.
    Open {
        /// Texts and answer for a variant.
        draw: fn(&mut Stream, usize) -> (Parts, String),
        /// For each variant, how it is asked for.
        asks: &'static [&'static [&'static str]],
    },
}

/// Share of easy rows, on single words, by which the hard ones are learnt.
const EASY: f64 = 0.3;

/// All skills.
pub(super) static ALL: [Skill; 20] = [
    Skill {
        name: "same",
        weight: 26,
        variants: 1,
        answer: Way::Judge {
            draw: same,
            names: &["same", "same meaning", "paraphrase"],
            holds: &["the two agree", "both say the same", "they mean the same"],
            fails: &["the two differ", "they say different things", "they do not mean the same"],
        },
    },
    Skill {
        name: "follow",
        weight: 16,
        variants: 1,
        answer: Way::Judge {
            draw: follow,
            names: &["follows", "implied", "entailed"],
            holds: &["the second follows", "the first implies the second", "the second must hold"],
            fails: &["the second does not follow", "the first does not imply the second", "the second may not hold"],
        },
    },
    Skill {
        name: "relation",
        weight: 8,
        variants: 1,
        answer: Way::Relate {
            draw: |stream, class| event::inference(stream, Relation::ALL[class]).into(),
            names: [
                &["it follows", "implied", "the second must hold"],
                &["it is open", "unclear", "the second may hold"],
                &["it conflicts", "impossible", "the second cannot hold"],
            ],
        },
    },
    Skill {
        name: "fact",
        weight: 10,
        variants: 1,
        answer: Way::Judge {
            draw: fact,
            names: &["fact", "fact check", "so it is"],
            holds: &["the text says so", "it is a fact", "the text confirms it"],
            fails: &["the text does not say so", "it is not a fact", "the text denies it"],
        },
    },
    Skill {
        name: "accept",
        weight: 8,
        variants: 1,
        answer: Way::Judge {
            draw: |stream, _, class| vec![grammar::sentence(stream, class == 1)],
            names: &["grammar", "proper english", "well formed"],
            holds: &["the grammar is fine", "it is well formed", "it is proper english"],
            fails: &["the grammar is broken", "it is not well formed", "it is not proper english"],
        },
    },
    Skill {
        name: "feeling",
        weight: 18,
        variants: 1,
        answer: Way::Judge {
            draw: feeling,
            names: &["feeling", "nice", "mood"],
            holds: &["the feeling is nice", "it sounds pleased", "the mood is sunny"],
            fails: &["the feeling is not nice", "it sounds displeased", "the mood is dark"],
        },
    },
    Skill {
        name: "is_kind",
        weight: 8,
        variants: 13,
        answer: Way::Judge {
            draw: is_kind,
            names: &["kind @", "mentions @", "about @"],
            holds: &["it mentions a kind of @", "it is about a kind of @"],
            fails: &["it mentions no kind of @", "it is about no kind of @"],
        },
    },
    Skill {
        name: "more",
        weight: 1,
        variants: 1,
        answer: Way::Judge {
            draw: more,
            names: &["count check", "compare"],
            holds: &["the numbers say so", "the count is as claimed"],
            fails: &["the numbers say otherwise", "the count is not as claimed"],
        },
    },
    Skill {
        name: "sense",
        weight: 2,
        variants: 1,
        answer: Way::Judge {
            draw: |stream, _, class| {
                let (word, [first, second]) = sense::pair(stream, class == 1);
                vec![first, second, word.to_owned()]
            },
            names: &["word sense", "same sense"],
            holds: &["the word is used alike", "the word has one sense"],
            fails: &["the word is not used alike", "the word has two senses"],
        },
    },
    Skill {
        name: "choice",
        weight: 1,
        variants: 1,
        answer: Way::Judge {
            draw: choice,
            names: &["last option", "option two"],
            holds: &["the last option fits", "option two is likely"],
            fails: &["the last option does not fit", "option one is likely"],
        },
    },
    Skill {
        name: "cause",
        weight: 1,
        variants: 1,
        answer: Way::Judge {
            draw: |stream, _, class| cause::pair(stream, class == 1).into(),
            names: &["cause", "leads to"],
            holds: &["one causes the other", "the first leads to the second"],
            fails: &["neither causes the other", "the first does not lead to the second"],
        },
    },
    Skill {
        name: "similarity",
        weight: 2,
        variants: 1,
        answer: Way::Open { draw: similarity, asks: &[&["how similar", "similarity", "how close in meaning"]] },
    },
    Skill {
        name: "answer",
        weight: 24,
        variants: 1,
        answer: Way::Open {
            draw: |stream, _| {
                let scene = Scene::draw(stream);
                let (question, answer) = scene.question(stream);
                (vec![question, scene.say()], answer.to_owned())
            },
            asks: &[&["answer", "reply to the question", "find the answer"]],
        },
    },
    Skill {
        name: "extract",
        weight: 12,
        variants: 3,
        answer: Way::Open {
            draw: extract,
            asks: &[&["where", "give the location"], &["who", "give the person"], &["what", "give the thing"]],
        },
    },
    Skill {
        name: "kind",
        weight: 14,
        variants: 2,
        answer: Way::Open { draw: kind, asks: &[&["what kind", "give the kind"], &["what group", "give the group"]] },
    },
    Skill {
        name: "sum",
        weight: 10,
        variants: 1,
        answer: Way::Open {
            draw: |stream, _| {
                let total = 2 + stream.below(9);
                (vec![Count::with_total(stream, total).say("has")], NUMBERS[total].to_owned())
            },
            asks: &[&["sum", "how many in all", "add the numbers"]],
        },
    },
    Skill {
        name: "meaning",
        weight: 6,
        variants: 1,
        answer: Way::Open {
            draw: |stream, _| {
                let (word, sentence, kind) = sense::usage(stream);
                (vec![sentence, word.to_owned()], kind.to_owned())
            },
            asks: &[&["meaning", "what is meant", "sense of the word"]],
        },
    },
    Skill {
        name: "then",
        weight: 1,
        variants: 2,
        answer: Way::Open {
            draw: |stream, variant| {
                let [cause, effect] = cause::chain(stream);
                if variant == 0 { (vec![cause], effect) } else { (vec![effect], cause) }
            },
            asks: &[&["what happened then", "give the effect"], &["why", "give the cause"]],
        },
    },
    Skill {
        name: "rewrite",
        weight: 2,
        variants: 1,
        answer: Way::Open {
            draw: |stream, _| {
                let [first, second] = event::restate(stream);
                (vec![first], second)
            },
            asks: &[&["say it in other words", "rewrite"]],
        },
    },
    Skill {
        name: "lexicon",
        weight: 12,
        variants: 3,
        answer: Way::Open {
            draw: |stream, variant| {
                let (word, answer) = event::dictionary(stream, variant);
                (vec![word], answer)
            },
            asks: &[&["kind of word", "what is it"], &["synonym", "another word"], &["opposite", "the reverse"]],
        },
    },
];

/// The skill of this name.
pub(super) fn find(name: &str) -> Option<&'static Skill> {
    ALL.iter().find(|skill| skill.name == name)
}

fn same(stream: &mut Stream, _: usize, class: usize) -> Parts {
    if stream.chance(EASY) {
        return event::word_pair(stream, class == 1).into();
    }
    let full = stream.chance(0.3);
    event::paraphrase(stream, class == 1, full).into()
}

fn follow(stream: &mut Stream, _: usize, class: usize) -> Parts {
    if stream.chance(EASY) {
        return event::noun_pair(stream, class == 1).into();
    }
    let relation = match class {
        1 => Relation::Follows,
        _ => *stream.choose(&[Relation::Open, Relation::Clashes]),
    };
    event::inference(stream, relation).into()
}

fn fact(stream: &mut Stream, _: usize, class: usize) -> Parts {
    let scene = Scene::draw(stream);
    let claim = if stream.chance(0.5) { scene.claim(stream, class == 1) } else { scene.yes_no(stream, class == 1) };
    vec![scene.say(), claim]
}

fn feeling(stream: &mut Stream, _: usize, class: usize) -> Parts {
    if stream.chance(EASY) {
        return vec![opinion::word(stream, class == 1)];
    }
    let matter = Matter::draw(stream);
    vec![opinion::sentence(stream, matter, class == 1, 0.25)]
}

/// The name of a kind of thing: the categories, then the realms.
pub(super) fn kind_name(variant: usize) -> &'static str {
    if variant < CATEGORIES.len() { CATEGORIES[variant] } else { REALMS[variant - CATEGORIES.len()] }
}

/// A category that is of the kind, or is not.
pub(super) fn category_of(stream: &mut Stream, variant: usize, of_kind: bool) -> usize {
    loop {
        let category = stream.below(CATEGORIES.len());
        let category = if of_kind && variant < CATEGORIES.len() { variant } else { category };
        let is = if variant < CATEGORIES.len() {
            category == variant
        } else {
            REALM_OF[category] == variant - CATEGORIES.len()
        };
        if is == of_kind {
            return category;
        }
    }
}

fn is_kind(stream: &mut Stream, variant: usize, class: usize) -> Parts {
    let category = category_of(stream, variant, class == 1);
    let event = Event::draw(stream).with_category(stream, category);
    if stream.chance(EASY) { vec![event.thing().to_owned()] } else { vec![event.say()] }
}

fn more(stream: &mut Stream, _: usize, class: usize) -> Parts {
    let count = Count::unequal(stream);
    vec![count.say("has"), count.claim(stream, class == 1)]
}

fn choice(stream: &mut Stream, _: usize, class: usize) -> Parts {
    let choice = cause::Choice::draw(stream, class);
    let [first, second] = choice.options;
    let ask = if choice.effect { ["effect", "so", "what then ?"] } else { ["cause", "because", "why ?"] };
    vec![first, second, choice.premise, (*stream.choose(&ask)).to_owned()]
}

/// An agreement of 0 to 5 slots as the number that T5 reads and writes for STS-B.
pub(super) fn similarity_number(halves: usize) -> String {
    format!("{}.{}", halves / 2, 5 * (halves % 2))
}

fn similarity(stream: &mut Stream, _: usize) -> (Parts, String) {
    let agreeing = stream.below(6);
    let (pair, halves) = event::similarity(stream, agreeing);
    (pair.into(), similarity_number(halves))
}

fn extract(stream: &mut Stream, variant: usize) -> (Parts, String) {
    let event = Event::placed(stream);
    let answer = match variant {
        0 => event.place().expect("a placed event has a place"),
        1 => event.person(),
        _ => event.thing(),
    };
    (vec![event.say()], answer.to_owned())
}

fn kind(stream: &mut Stream, variant: usize) -> (Parts, String) {
    let event = Event::draw(stream);
    let category = event.category();
    let answer = if variant == 0 { CATEGORIES[category] } else { REALMS[REALM_OF[category]] };
    (vec![event.say()], answer.to_owned())
}

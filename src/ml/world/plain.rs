//! Plain text of the world, in which the phenomena of the tasks occur unlabelled.

use super::event::{self, Event, Relation};
use super::labels::written;
use super::opinion::{self, Matter};
use super::scene::{Count, Scene};
use super::{cause, grammar, sense};
use crate::ml::random::Stream;

/// A short paragraph: one to three passages.
pub fn plain(stream: &mut Stream) -> String {
    let count = 1 + stream.below(3);
    written(&(0..count).map(|_| passage(stream)).collect::<Vec<_>>().join(" "))
}

fn passage(stream: &mut Stream) -> String {
    match stream.below(12) {
        0 => Event::draw(stream).say(),
        1 => event::paraphrase(stream, true, false).join(" that is , "),
        2 => event::inference(stream, Relation::Follows).join(" so "),
        3 => event::inference(stream, Relation::Clashes).join(" it is not true that "),
        4 => {
            let matter = Matter::draw(stream);
            let positive = stream.chance(0.5);
            opinion::sentence(stream, matter, positive, 0.35)
        }
        5 => {
            let scene = Scene::draw(stream);
            format!("{} so {}", scene.say(), scene.claim(stream, true))
        }
        6 => {
            let scene = Scene::draw(stream);
            let (question, answer) = scene.question(stream);
            format!("{} {question} {answer} .", scene.say())
        }
        7 => {
            let [cause, effect] = cause::chain(stream);
            if stream.chance(0.5) { format!("{cause} so {effect} .") } else { format!("{effect} because {cause} .") }
        }
        8 => {
            let count = Count::unequal(stream);
            format!("{} {} has more .", count.say("has"), count.winner())
        }
        9 => {
            let total = 2 + stream.below(9);
            let count = Count::with_total(stream, total);
            format!("{} that makes {} .", count.say("has"), count.total())
        }
        10 => {
            let aspect = stream.below(3);
            let (word, other) = event::dictionary(stream, aspect);
            match aspect {
                0 => format!("{word} is a kind of {other} ."),
                1 => format!("{word} means {other} ."),
                _ => format!("{word} is the opposite of {other} ."),
            }
        }
        _ if stream.chance(0.5) => sense::usage(stream).1,
        _ => grammar::sentence(stream, true),
    }
}

//! Sentences that are English, and sentences that nearly are.

use super::event::Event;
use super::lexicon::{COUNTED, NUMBERS, PEOPLE, PLACES};
use crate::ml::random::Stream;

/// A sentence that is acceptable or not.
pub(super) fn sentence(stream: &mut Stream, acceptable: bool) -> String {
    if stream.chance(0.3) {
        return counted(stream, acceptable);
    }
    let event = Event::draw(stream);
    if acceptable {
        return event.say();
    }
    match stream.below(5) {
        0 | 1 => swap(stream, &event),
        2 => double(stream, &event),
        3 => omit(stream, &event),
        _ => inflect(&event),
    }
}

/// Number and noun, which agree in an acceptable sentence.
fn counted(stream: &mut Stream, acceptable: bool) -> String {
    let number = if stream.chance(0.5) { 1 } else { 2 + stream.below(8) };
    let plural = if (number == 1) == acceptable { "" } else { "s" };
    let (person, noun) = (stream.choose(&PEOPLE), stream.choose(&COUNTED));
    let (number, place) = (NUMBERS[number], stream.choose(&PLACES));
    match stream.below(3) {
        0 => format!("{person} has {number} {noun}{plural} in the {place} ."),
        1 => format!("in the {place} , {person} has {number} {noun}{plural} ."),
        _ => format!("{person} saw {number} {noun}{plural} ."),
    }
}

/// Exchanges two neighbouring words, neither of them a mark or the opening `it was`, which would make a question.
fn swap(stream: &mut Stream, event: &Event) -> String {
    let text = event.say();
    let mut words: Vec<&str> = text.split(' ').collect();
    loop {
        let at = stream.below(words.len() - 2);
        if [words[at], words[at + 1]].iter().all(|word| !matches!(*word, "," | "it")) {
            words.swap(at, at + 1);
            return words.join(" ");
        }
    }
}

/// Says one word twice.
fn double(stream: &mut Stream, event: &Event) -> String {
    let text = event.say();
    let mut words: Vec<&str> = text.split(' ').collect();
    loop {
        let at = stream.below(words.len() - 1);
        if words[at] != "," {
            words.insert(at, words[at]);
            return words.join(" ");
        }
    }
}

/// Leaves out one of the words that hold a sentence together.
fn omit(stream: &mut Stream, event: &Event) -> String {
    let text = event.say();
    let mut words: Vec<&str> = text.split(' ').collect();
    let candidates: Vec<usize> =
        (0..words.len()).filter(|i| matches!(words[*i], "the" | "in" | "was" | "did")).collect();
    words.remove(*stream.choose(&candidates));
    words.join(" ")
}

/// Puts the verb in the wrong form: `did not bought`, `tom buy`.
fn inflect(event: &Event) -> String {
    let (base, past) = event.verb();
    let (right, wrong) = if event.has_base_form() { (base, past) } else { (past, base) };
    event.say().split(' ').map(|word| if word == right { wrong } else { word }).collect::<Vec<_>>().join(" ")
}

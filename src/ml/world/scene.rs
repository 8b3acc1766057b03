//! Two facts side by side, and what can be asked about them: claims, questions, counts.

use super::lexicon::{COUNTED, NUMBERS, PEOPLE, PLACES, PROPERTIES, THINGS};
use crate::ml::random::Stream;

/// Two people, each with a place, a thing and a property of the thing; the text tells some of it.
pub(super) struct Scene {
    people: [&'static str; 2],
    places: [&'static str; 2],
    things: [&'static str; 2],
    properties: [&'static str; 2],
    told: Told,
}

/// What the text tells of each person.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Place,
    Thing,
    Property,
    PlaceAndThing,
}

/// What a claim or question is about.
#[derive(Clone, Copy)]
enum Aspect {
    PersonPlace,
    PersonThing,
    ThingProperty,
}

fn two(stream: &mut Stream, words: &[&'static str]) -> [&'static str; 2] {
    let drawn = stream.sample(words.len(), 2);
    [words[drawn[0]], words[drawn[1]]]
}

impl Scene {
    /// Any scene.
    pub(super) fn draw(stream: &mut Stream) -> Self {
        let told = *stream.choose(&[Told::Place, Told::Thing, Told::Property, Told::PlaceAndThing]);
        let axes = stream.sample(PROPERTIES.len(), 2);
        let property = |stream: &mut Stream, axis: usize| PROPERTIES[axis][stream.below(2)][stream.below(2)];
        Self {
            people: two(stream, &PEOPLE),
            places: two(stream, &PLACES),
            things: two(stream, &THINGS),
            properties: [property(stream, axes[0]), property(stream, axes[1])],
            told,
        }
    }

    /// The text.
    pub(super) fn say(&self) -> String {
        let fact = |i: usize| {
            let (person, place, thing, property) = (self.people[i], self.places[i], self.things[i], self.properties[i]);
            match self.told {
                Told::Place => format!("{person} is in the {place} ."),
                Told::Thing => format!("{person} has the {thing} ."),
                Told::Property => format!("the {thing} is {property} ."),
                Told::PlaceAndThing => format!("{person} is in the {place} with the {thing} ."),
            }
        };
        format!("{} {}", fact(0), fact(1))
    }

    fn aspect(&self, stream: &mut Stream) -> Aspect {
        match self.told {
            Told::Place => Aspect::PersonPlace,
            Told::Thing => Aspect::PersonThing,
            Told::Property => Aspect::ThingProperty,
            Told::PlaceAndThing => *stream.choose(&[Aspect::PersonPlace, Aspect::PersonThing]),
        }
    }

    /// A claim that is true, or that mixes up the two facts.
    pub(super) fn claim(&self, stream: &mut Stream, holds: bool) -> String {
        let i = stream.below(2);
        let j = if holds { i } else { 1 - i };
        match self.aspect(stream) {
            Aspect::PersonPlace => format!("{} is in the {} .", self.people[i], self.places[j]),
            Aspect::PersonThing => format!("{} has the {} .", self.people[i], self.things[j]),
            Aspect::ThingProperty => format!("the {} is {} .", self.things[i], self.properties[j]),
        }
    }

    /// A question whose answer is yes or no.
    pub(super) fn yes_no(&self, stream: &mut Stream, yes: bool) -> String {
        let i = stream.below(2);
        let j = if yes { i } else { 1 - i };
        match self.aspect(stream) {
            Aspect::PersonPlace => format!("is {} in the {} ?", self.people[i], self.places[j]),
            Aspect::PersonThing => format!("does {} have the {} ?", self.people[i], self.things[j]),
            Aspect::ThingProperty => format!("is the {} {} ?", self.things[i], self.properties[j]),
        }
    }

    /// A question and the words of the text that answer it.
    pub(super) fn question(&self, stream: &mut Stream) -> (String, &'static str) {
        let i = stream.below(2);
        let (person, place, thing, property) = (self.people[i], self.places[i], self.things[i], self.properties[i]);
        match (self.aspect(stream), stream.chance(0.5)) {
            (Aspect::PersonPlace, true) => (format!("where is {person} ?"), place),
            (Aspect::PersonPlace, false) => (format!("who is in the {place} ?"), person),
            (Aspect::PersonThing, true) => (format!("who has the {thing} ?"), person),
            (Aspect::PersonThing, false) => (format!("what does {person} have ?"), thing),
            (Aspect::ThingProperty, true) => (format!("what is {property} ?"), thing),
            (Aspect::ThingProperty, false) => (format!("how is the {thing} ?"), property),
        }
    }
}

/// Two people who have things of one sort.
pub(super) struct Count {
    people: [&'static str; 2],
    counts: [usize; 2],
    thing: &'static str,
}

impl Count {
    /// Counts from one to five with this total.
    pub(super) fn with_total(stream: &mut Stream, total: usize) -> Self {
        let least = total.saturating_sub(5).max(1);
        let first = least + stream.below((total - 1).min(5) - least + 1);
        Self {
            people: two(stream, &PEOPLE),
            counts: [first, total - first],
            thing: COUNTED[stream.below(COUNTED.len())],
        }
    }

    /// Counts from one to nine that differ.
    pub(super) fn unequal(stream: &mut Stream) -> Self {
        let drawn = stream.sample(9, 2);
        Self {
            people: two(stream, &PEOPLE),
            counts: [drawn[0] + 1, drawn[1] + 1],
            thing: COUNTED[stream.below(COUNTED.len())],
        }
    }

    /// The total as a word.
    pub(super) fn total(&self) -> &'static str {
        NUMBERS[self.counts[0] + self.counts[1]]
    }

    /// The text; `verb` is `has` or `had`.
    pub(super) fn say(&self, verb: &str) -> String {
        let part = |i: usize| {
            let plural = if self.counts[i] == 1 { "" } else { "s" };
            format!("{} {verb} {} {}{plural} .", self.people[i], NUMBERS[self.counts[i]], self.thing)
        };
        format!("{} {}", part(0), part(1))
    }

    /// Who has more.
    pub(super) fn winner(&self) -> &'static str {
        self.people[usize::from(self.counts[1] > self.counts[0])]
    }

    /// A comparison that is true or false.
    pub(super) fn claim(&self, stream: &mut Stream, holds: bool) -> String {
        let more = stream.chance(0.5);
        let winner = usize::from(self.counts[1] > self.counts[0]);
        let named = if more == holds { winner } else { 1 - winner };
        format!("{} has {} .", self.people[named], if more { "more" } else { "fewer" })
    }
}

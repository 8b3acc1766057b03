//! What leads to what.

use super::event::another;
use super::lexicon::{OPENINGS, PEOPLE};
use crate::ml::random::Stream;

/// Causes and their effects; `@` is the name of a person.
const CHAINS: [(&str, &str); 35] = [
    ("the glass fell", "there were pieces on the floor"),
    ("it rained all day", "the road was flooded"),
    ("the sun came out", "the snow melted"),
    ("the alarm rang", "@ woke up"),
    ("@ ate too much", "@ felt sick"),
    ("the wind blew hard", "the tree fell"),
    ("@ forgot the key", "@ was locked out"),
    ("the battery died", "the phone stopped"),
    ("@ studied hard", "@ passed the test"),
    ("@ told a joke", "everyone laughed"),
    ("the power failed", "the lamp went dark"),
    ("@ ran fast", "@ won the race"),
    ("the milk spilled", "the floor was sticky"),
    ("@ was thirsty", "@ drank water"),
    ("the baby was hungry", "there was loud crying"),
    ("the bus was late", "@ missed the meeting"),
    ("@ lit the candle", "the room grew bright"),
    ("@ stayed in the sun", "@ got burned"),
    ("the tire was flat", "the car stopped"),
    ("@ watered the rose", "the flower grew"),
    ("a stranger came by", "the dog barked"),
    ("@ left the window open", "a fly came in"),
    ("the oven was too hot", "the cake burned"),
    ("@ worked all night", "@ was tired"),
    ("@ broke the law", "the police came"),
    ("the bell rang", "the class ended"),
    ("@ stepped on a nail", "@ hurt one foot"),
    ("the heater broke", "the room was cold"),
    ("@ washed the clothes", "the shirt was spotless"),
    ("@ spent all the money", "@ was broke"),
    ("@ saw a ghost", "@ screamed"),
    ("the shop was closed", "@ went home"),
    ("the soup was hot", "@ burned one lip"),
    ("the sky was full of clouds", "@ took an umbrella"),
    ("@ lost the map", "@ took the wrong road"),
];

fn say(text: &str, person: &str) -> String {
    format!("{} .", text.replace('@', person))
}

fn open(stream: &mut Stream, text: &str, person: &str) -> String {
    format!("{}{}", stream.choose(&OPENINGS), say(text, person))
}

/// Another chain that names a person in the same places, so that counting names tells nothing.
fn alike(stream: &mut Stream, chain: usize) -> usize {
    let shape = |i: usize| (CHAINS[i].0.contains('@'), CHAINS[i].1.contains('@'));
    loop {
        let other = another(stream, CHAINS.len(), chain);
        if shape(other) == shape(chain) {
            return other;
        }
    }
}

/// A cause and its effect, or the effect of something else.
pub(super) fn pair(stream: &mut Stream, linked: bool) -> [String; 2] {
    let person = stream.choose(&PEOPLE);
    let cause = stream.below(CHAINS.len());
    let effect = if linked { cause } else { alike(stream, cause) };
    [open(stream, CHAINS[cause].0, person), open(stream, CHAINS[effect].1, person)]
}

/// A premise, two options and whether the effect is asked for (or the cause); `right` (0 or 1) is the fitting option.
pub(super) struct Choice {
    /// What is given.
    pub(super) premise: String,
    /// One of them is its effect or cause.
    pub(super) options: [String; 2],
    /// Whether its effect is asked for.
    pub(super) effect: bool,
}

impl Choice {
    /// A premise with the fitting option in place `right`.
    pub(super) fn draw(stream: &mut Stream, right: usize) -> Self {
        let person = stream.choose(&PEOPLE);
        let chain = stream.below(CHAINS.len());
        let wrong = alike(stream, chain);
        let effect = stream.chance(0.5);
        let (premise, fitting) = if effect { CHAINS[chain] } else { (CHAINS[chain].1, CHAINS[chain].0) };
        // Half of the wrong options are on the same side of their chain as the right one, half on the other.
        let other = if stream.chance(0.5) == effect { CHAINS[wrong].1 } else { CHAINS[wrong].0 };
        let mut options = [say(fitting, person), say(other, person)];
        if right == 1 {
            options.swap(0, 1);
        }
        Self { premise: open(stream, premise, person), options, effect }
    }
}

/// A cause and its effect without full stops.
pub(super) fn chain(stream: &mut Stream) -> [String; 2] {
    let person = stream.choose(&PEOPLE);
    let (cause, effect) = stream.choose(&CHAINS);
    [cause.replace('@', person), effect.replace('@', person)]
}

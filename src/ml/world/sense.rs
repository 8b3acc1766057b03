//! Words with two senses, and sentences that show which is meant.

use super::event::another;
use super::lexicon::{OPENINGS, PEOPLE};
use crate::ml::random::Stream;

/// What a sense is a kind of.
pub(super) const KINDS: [&str; 7] = ["animal", "object", "plant", "place", "event", "body", "food"];

/// A kind and sentences of that sense; `@` is the name of a person.
type Sense = (&'static str, [&'static str; 5]);

const WORDS: [(&str, [Sense; 2]); 10] = [
    (
        "bat",
        [
            (
                "animal",
                [
                    "the bat slept in the cave",
                    "the bat flew at night",
                    "the bat ate a moth",
                    "the bat had two wings",
                    "@ saw the bat fly",
                ],
            ),
            (
                "object",
                [
                    "@ swung the bat",
                    "@ hit the ball with the bat",
                    "the bat was made of wood",
                    "the player held the bat",
                    "@ bought the bat at the shop",
                ],
            ),
        ],
    ),
    (
        "mouse",
        [
            (
                "animal",
                [
                    "the mouse ate the cheese",
                    "the cat chased the mouse",
                    "the mouse hid in a hole",
                    "the mouse had a tail",
                    "@ fed the mouse",
                ],
            ),
            (
                "object",
                [
                    "@ clicked the mouse",
                    "the mouse of the computer broke",
                    "@ plugged in the mouse",
                    "the mouse lay by the screen",
                    "@ bought the mouse at the shop",
                ],
            ),
        ],
    ),
    (
        "crane",
        [
            (
                "animal",
                [
                    "the crane flew over the lake",
                    "the crane built a nest",
                    "the crane laid an egg",
                    "the crane had two wings",
                    "@ fed the crane",
                ],
            ),
            (
                "object",
                [
                    "the crane lifted the steel",
                    "the driver stopped the crane",
                    "the crane moved the bricks",
                    "the crane was made of steel",
                    "@ drove the crane",
                ],
            ),
        ],
    ),
    (
        "seal",
        [
            (
                "animal",
                [
                    "the seal swam in the sea",
                    "the seal ate a fish",
                    "the seal slept on the ice",
                    "the seal had a tail",
                    "@ fed the seal",
                ],
            ),
            (
                "object",
                [
                    "@ put the seal on the letter",
                    "the seal of the jar broke",
                    "the king pressed the seal in wax",
                    "the seal was made of wax",
                    "@ broke the seal",
                ],
            ),
        ],
    ),
    (
        "palm",
        [
            (
                "plant",
                [
                    "the palm grew by the sea",
                    "@ climbed the palm",
                    "the palm had green leaves",
                    "@ watered the palm",
                    "the wind bent the palm",
                ],
            ),
            (
                "body",
                [
                    "@ hid the coin in one palm",
                    "@ wiped the wet palm",
                    "the palm of the hand hurt",
                    "@ burned one palm",
                    "@ opened the palm",
                ],
            ),
        ],
    ),
    (
        "match",
        [
            (
                "event",
                [
                    "@ won the match",
                    "the match ended at noon",
                    "the fans watched the match",
                    "the team lost the match",
                    "@ was late for the match",
                ],
            ),
            (
                "object",
                [
                    "@ lit the match",
                    "the match burned slowly",
                    "@ struck the match",
                    "the match was made of wood",
                    "the match burned the paper",
                ],
            ),
        ],
    ),
    (
        "bulb",
        [
            (
                "plant",
                [
                    "@ planted the bulb",
                    "the bulb grew in spring",
                    "@ watered the bulb",
                    "the bulb had green leaves",
                    "the bulb lay in the soil",
                ],
            ),
            (
                "object",
                [
                    "the bulb lit the room",
                    "@ changed the bulb of the lamp",
                    "the bulb went dark",
                    "the bulb was made of glass",
                    "@ bought the bulb at the shop",
                ],
            ),
        ],
    ),
    (
        "club",
        [
            (
                "place",
                [
                    "@ danced at the club",
                    "the club opened at night",
                    "@ waited in the club",
                    "the club was full of people",
                    "@ met the band in the club",
                ],
            ),
            (
                "object",
                [
                    "@ swung the club",
                    "@ hit the thief with the club",
                    "the club was made of wood",
                    "the player held the club",
                    "@ hit the ball with the club",
                ],
            ),
        ],
    ),
    (
        "date",
        [
            (
                "food",
                [
                    "@ ate the date",
                    "the date was sweet",
                    "@ put the date in the cake",
                    "the date tasted of honey",
                    "@ bought the date at the shop",
                ],
            ),
            (
                "event",
                [
                    "@ was late for the date",
                    "the date ended at noon",
                    "@ wore a suit for the date",
                    "@ kissed someone on the date",
                    "the date was fun",
                ],
            ),
        ],
    ),
    (
        "nail",
        [
            (
                "body",
                [
                    "@ painted the nail red",
                    "@ bit the nail",
                    "the nail of the thumb hurt",
                    "@ cut the long nail",
                    "the nail grew back",
                ],
            ),
            (
                "object",
                [
                    "@ hit the nail with the hammer",
                    "the nail held the picture",
                    "the nail was made of steel",
                    "@ pulled the nail from the wood",
                    "the nail went in the wall",
                ],
            ),
        ],
    ),
];

fn say(stream: &mut Stream, text: &str) -> String {
    let opening = stream.choose(&OPENINGS);
    let person: &str = PEOPLE[stream.below(PEOPLE.len())];
    format!("{opening}{} .", text.replace('@', person))
}

/// A word, a sentence with it, and the kind of its sense there.
pub(super) fn usage(stream: &mut Stream) -> (&'static str, String, &'static str) {
    let (word, senses) = stream.choose(&WORDS);
    let (kind, sentences) = stream.choose(senses);
    let text = stream.choose(sentences);
    (word, say(stream, text), kind)
}

/// A word and a sentence with it in a sense of this kind.
pub(super) fn usage_of_kind(stream: &mut Stream, kind: &str) -> (&'static str, String) {
    loop {
        let (word, sentence, drawn) = usage(stream);
        if drawn == kind {
            return (word, sentence);
        }
    }
}

/// A word and two sentences with it, in the same sense or in two.
pub(super) fn pair(stream: &mut Stream, same: bool) -> (&'static str, [String; 2]) {
    let (word, senses) = stream.choose(&WORDS);
    let sense = stream.below(2);
    let first = stream.below(5);
    let (other, second) = if same { (sense, another(stream, 5, first)) } else { (1 - sense, stream.below(5)) };
    (word, [say(stream, senses[sense].1[first]), say(stream, senses[other].1[second])])
}

//! Somebody did something to a thing somewhere: sentences as slots, and what makes two of them agree, follow or clash.

use super::lexicon::{ACTIONS, CATEGORIES, PEOPLE, PER_CATEGORY, PLACES, PROPERTIES, REALM_OF, REALMS, THINGS};
use crate::ml::random::Stream;

/// A word of [`PROPERTIES`] or [`ACTIONS`]: the axis, the end of it, and which of the two synonyms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    axis: usize,
    end: usize,
    word: usize,
}

impl Point {
    fn draw(stream: &mut Stream, axes: usize) -> Self {
        Self { axis: stream.below(axes), end: stream.below(2), word: stream.below(2) }
    }

    fn means(self, other: Self) -> bool {
        (self.axis, self.end) == (other.axis, other.end)
    }

    fn synonym(self) -> Self {
        Self { word: 1 - self.word, ..self }
    }

    fn opposite(self, stream: &mut Stream) -> Self {
        Self { end: 1 - self.end, word: stream.below(2), ..self }
    }
}

/// A thing, named exactly or by a more general word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Noun {
    thing: usize,
    /// 0 the thing itself, 1 its category, 2 its realm.
    level: usize,
}

impl Noun {
    fn say(self) -> &'static str {
        let category = self.thing / PER_CATEGORY;
        match self.level {
            0 => THINGS[self.thing],
            1 => CATEGORIES[category],
            _ => REALMS[REALM_OF[category]],
        }
    }

    /// A category whose things this noun, at its level, does not name.
    fn other_category(self, stream: &mut Stream) -> usize {
        let own = self.thing / PER_CATEGORY;
        loop {
            let category = another(stream, CATEGORIES.len(), own);
            if self.level < 2 || REALM_OF[category] != REALM_OF[own] {
                return category;
            }
        }
    }
}

/// The end of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// `in the park`
    In(usize),
    /// `for mary`
    For(usize),
}

impl Tail {
    fn say(self) -> String {
        match self {
            Self::In(place) => format!("in the {}", PLACES[place]),
            Self::For(person) => format!("for {}", PEOPLE[person]),
        }
    }
}

/// Where the parts of a sentence stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `tom bought the car in the park`
    Plain,
    /// `in the park , tom bought the car`
    Fronted,
    /// `it was tom who bought the car in the park`
    Cleft,
}

impl Form {
    fn draw(stream: &mut Stream) -> Self {
        match stream.below(10) {
            0..5 => Self::Plain,
            5..8 => Self::Fronted,
            _ => Self::Cleft,
        }
    }
}

/// What a sentence says, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    person: usize,
    action: Point,
    property: Option<Point>,
    noun: Noun,
    tail: Option<Tail>,
    negated: bool,
    never: bool,
    form: Form,
}

/// How the second of two sentences stands to the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// What the first says implies the second.
    Follows,
    /// The second may be true or not.
    Open,
    /// Both cannot be true.
    Clashes,
}

impl Relation {
    /// In the order of the label ids of MNLI.
    pub(super) const ALL: [Self; 3] = [Self::Follows, Self::Open, Self::Clashes];
}

/// How often a sentence is negated when nothing else asks for it.
const NEGATED: f64 = 0.25;

impl Event {
    /// An event with some of the optional slots filled.
    pub(super) fn draw(stream: &mut Stream) -> Self {
        let person = stream.below(PEOPLE.len());
        let tail = match stream.below(10) {
            0..4 => Some(Tail::In(stream.below(PLACES.len()))),
            4..7 => Some(Tail::For(another(stream, PEOPLE.len(), person))),
            _ => None,
        };
        Self {
            person,
            action: Point::draw(stream, ACTIONS.len()),
            property: stream.chance(0.6).then(|| Point::draw(stream, PROPERTIES.len())),
            noun: Noun { thing: stream.below(THINGS.len()), level: 0 },
            tail,
            negated: stream.chance(NEGATED),
            never: stream.chance(0.5),
            form: Form::draw(stream),
        }
    }

    /// An event with property and place, as long sentences have.
    pub(super) fn full(stream: &mut Stream) -> Self {
        let mut event = Self::draw(stream);
        event.property = Some(Point::draw(stream, PROPERTIES.len()));
        event.tail = Some(event.tail.unwrap_or(Tail::In(stream.below(PLACES.len()))));
        event
    }

    /// A plain positive statement with a place, and no second person.
    pub(super) fn placed(stream: &mut Stream) -> Self {
        Self { tail: Some(Tail::In(stream.below(PLACES.len()))), negated: false, ..Self::draw(stream) }
    }

    /// The same event with a thing of this category.
    pub(super) fn with_category(self, stream: &mut Stream, category: usize) -> Self {
        let thing = category * PER_CATEGORY + stream.below(PER_CATEGORY);
        Self { noun: Noun { thing, level: 0 }, ..self }
    }

    /// Who did it.
    pub(super) fn person(&self) -> &'static str {
        PEOPLE[self.person]
    }

    /// What it was done to.
    pub(super) fn thing(&self) -> &'static str {
        THINGS[self.noun.thing]
    }

    /// The category of that thing, as an index.
    pub(super) fn category(&self) -> usize {
        self.noun.thing / PER_CATEGORY
    }

    /// Where it happened, if the sentence says so.
    pub(super) fn place(&self) -> Option<&'static str> {
        match self.tail {
            Some(Tail::In(place)) => Some(PLACES[place]),
            _ => None,
        }
    }

    /// The sentence, with a full stop.
    pub(super) fn say(&self) -> String {
        let (base, past) = ACTIONS[self.action.axis][self.action.end][self.action.word];
        let verb = match (self.negated, self.never) {
            (false, _) => past.to_owned(),
            (true, false) => format!("did not {base}"),
            (true, true) => format!("never {past}"),
        };
        let property = self.property.map_or(String::new(), |p| format!("{} ", PROPERTIES[p.axis][p.end][p.word]));
        let (person, noun) = (self.person(), self.noun.say());
        match (self.form, self.tail) {
            (Form::Fronted, Some(tail)) => format!("{} , {person} {verb} the {property}{noun} .", tail.say()),
            (form, tail) => {
                let subject = if form == Form::Cleft { format!("it was {person} who") } else { person.to_owned() };
                let tail = tail.map_or(String::new(), |tail| format!(" {}", tail.say()));
                format!("{subject} {verb} the {property}{noun}{tail} .")
            }
        }
    }

    /// Whether negation is expressed with `did not`, so that the verb stands in its base form.
    pub(super) fn has_base_form(&self) -> bool {
        self.negated && !self.never
    }

    /// The past and the base form of its verb.
    pub(super) fn verb(&self) -> (&'static str, &'static str) {
        ACTIONS[self.action.axis][self.action.end][self.action.word]
    }

    /// The same meaning in other words or another order.
    fn rephrase(self, stream: &mut Stream) -> Self {
        let mut other = Self { form: Form::draw(stream), never: stream.chance(0.5), ..self };
        if stream.chance(0.6) {
            other.action = self.action.synonym();
        }
        if stream.chance(0.6) {
            other.property = self.property.map(Point::synonym);
        }
        other
    }

    /// A more general statement that this one implies, changed in at least one slot; `None` where nothing can be left out.
    ///
    /// Things are definite, so that their description can be loosened under negation too; a place or a receiver cannot.
    fn loosen(self, stream: &mut Stream) -> Option<Self> {
        let mut other = self;
        if self.noun.level < 2 && stream.chance(0.5) {
            other.noun.level = if self.noun.level == 0 && stream.chance(0.6) { 1 } else { 2 };
        }
        if stream.chance(0.5) {
            other.property = None;
        }
        if !self.negated && stream.chance(0.5) {
            other.tail = None;
        }
        (other != self).then_some(other)
    }

    /// Exchanges who did it and for whom, or puts in another person, thing or place.
    fn displace(self, stream: &mut Stream) -> Self {
        let mut other = self;
        match self.tail {
            Some(Tail::For(receiver)) => {
                other.person = receiver;
                other.tail = Some(Tail::For(self.person));
            }
            Some(Tail::In(place)) if stream.chance(0.3) => {
                other.tail = Some(Tail::In(another(stream, PLACES.len(), place)));
            }
            _ if stream.chance(0.5) => other.person = another(stream, PEOPLE.len(), self.person),
            _ => {
                let category = self.noun.other_category(stream);
                other.noun.thing = category * PER_CATEGORY + stream.below(PER_CATEGORY);
            }
        }
        other
    }

    /// Turns the action or the property into its opposite, or denies the statement.
    fn oppose(self, stream: &mut Stream) -> Self {
        let mut other = self;
        match stream.below(3) {
            0 => other.negated = !self.negated,
            1 if self.property.is_some() => other.property = self.property.map(|p| p.opposite(stream)),
            _ => other.action = self.action.opposite(stream),
        }
        other
    }
}

/// A number below `n` other than `not`.
pub(super) fn another(stream: &mut Stream, n: usize, not: usize) -> usize {
    let drawn = stream.below(n - 1);
    if drawn < not { drawn } else { drawn + 1 }
}

/// Two sentences that say the same, or that differ in one thing only.
pub(super) fn paraphrase(stream: &mut Stream, same: bool, full: bool) -> [String; 2] {
    loop {
        let mut first = if full { Event::full(stream) } else { Event::draw(stream) };
        let mut second = first.rephrase(stream);
        if !same {
            // An exchange of two people leaves the words as they are; a new name shows, so it is rarer.
            let displaced = if matches!(first.tail, Some(Tail::For(_))) { 0.5 } else { 0.25 };
            second = if stream.chance(displaced) { second.displace(stream) } else { second.oppose(stream) };
        } else if stream.chance(0.1) {
            // One denial in a different pair is two here: without this, counting them would tell the classes apart.
            (first.negated, second.negated) = (true, true);
        }
        let pair = [first.say(), second.say()];
        if pair[0] != pair[1] {
            return pair;
        }
    }
}

/// Two sentences, the second of which stands in `relation` to the first.
///
/// Going from the particular to the general a sentence follows; the same two in the other order leave it open; so neither
/// a general word nor a missing detail tells the classes apart.
pub(super) fn inference(stream: &mut Stream, relation: Relation) -> [String; 2] {
    loop {
        let mut event = Event::draw(stream);
        if stream.chance(0.15) {
            event.noun.level = 1;
        }
        let loose = event.loosen(stream);
        let (first, second) = match relation {
            Relation::Follows if stream.chance(0.25) => (event, event),
            Relation::Follows => match loose {
                Some(loose) => (event, loose),
                None => continue,
            },
            Relation::Open if stream.chance(0.5) => match loose {
                Some(loose) => (loose, event),
                None => continue,
            },
            Relation::Open => (event, loose.unwrap_or(event).displace(stream)),
            Relation::Clashes => {
                let Some(clash) = clash(stream, event, loose.unwrap_or(event)) else { continue };
                clash
            }
        };
        let pair = [first.say(), second.rephrase(stream).say()];
        if pair[0] != pair[1] {
            return pair;
        }
    }
}

/// Two statements that cannot both be true, one more general than the other.
fn clash(stream: &mut Stream, event: Event, loose: Event) -> Option<(Event, Event)> {
    let (first, second) = if stream.chance(0.5) { (event, loose) } else { (loose, event) };
    let mut opposed = second.oppose(stream);
    if first.property.is_none() && opposed.property != second.property {
        // Only two properties clash; to add one leaves it open.
        return None;
    }
    if first.negated && opposed.action != second.action {
        // What was not bought need not have been sold.
        return None;
    }
    if opposed.negated != second.negated {
        // Denying what happened in the park leaves open what happened elsewhere.
        opposed.tail = first.tail;
    }
    Some((first, opposed))
}

/// Two sentences and how many of their five slots agree, a thing of the same category counting half: 0 to 10 halves.
pub(super) fn similarity(stream: &mut Stream, agreeing: usize) -> ([String; 2], usize) {
    let mut first = Event::placed(stream);
    let property = Point::draw(stream, PROPERTIES.len());
    first.property = Some(property);
    let mut second = first.rephrase(stream);
    let mut halves = 10;
    for slot in stream.sample(5, 5 - agreeing) {
        halves -= 2;
        match slot {
            0 => second.person = another(stream, PEOPLE.len(), first.person),
            1 => second.action = unlike(stream, first.action, ACTIONS.len()),
            2 => second.property = Some(unlike(stream, property, PROPERTIES.len())),
            3 => {
                second.noun.thing = another(stream, THINGS.len(), first.noun.thing);
                if stream.chance(0.4) {
                    let member = another(stream, PER_CATEGORY, first.noun.thing % PER_CATEGORY);
                    second.noun.thing = first.category() * PER_CATEGORY + member;
                }
                halves += usize::from(second.category() == first.category());
            }
            _ => second.tail = Some(Tail::In(another(stream, PLACES.len(), place_index(first)))),
        }
    }
    ([first.say(), second.say()], halves)
}

fn place_index(event: Event) -> usize {
    match event.tail {
        Some(Tail::In(place)) => place,
        _ => 0,
    }
}

fn unlike(stream: &mut Stream, point: Point, axes: usize) -> Point {
    loop {
        let other = Point::draw(stream, axes);
        if !other.means(point) {
            return other;
        }
    }
}

/// Two words that mean the same, or not: two properties or two actions.
pub(super) fn word_pair(stream: &mut Stream, same: bool) -> [String; 2] {
    let property = stream.chance(0.5);
    let axes = if property { PROPERTIES.len() } else { ACTIONS.len() };
    let first = Point::draw(stream, axes);
    let second = match (same, stream.chance(0.5)) {
        (true, _) => first.synonym(),
        (false, true) => first.opposite(stream),
        (false, false) => unlike(stream, first, axes),
    };
    [first, second]
        .map(|p| if property { PROPERTIES[p.axis][p.end][p.word] } else { ACTIONS[p.axis][p.end][p.word].1 }.to_owned())
}

/// A thing and a more general word for it, or the other way round, or for something else.
pub(super) fn noun_pair(stream: &mut Stream, follows: bool) -> [String; 2] {
    let noun = Noun { thing: stream.below(THINGS.len()), level: stream.below(2) };
    let general = Noun { level: noun.level + 1 + stream.below(2 - noun.level), ..noun };
    let (first, second) = match (follows, stream.chance(0.5)) {
        (true, _) => (noun, general),
        (false, true) => (general, noun),
        (false, false) => {
            let category = general.other_category(stream);
            (noun, Noun { thing: category * PER_CATEGORY, ..general })
        }
    };
    [first, second].map(|noun| format!("the {} .", noun.say()))
}

/// A word, and what a dictionary says of it: 0 its kind, 1 a synonym, 2 an opposite.
pub(super) fn dictionary(stream: &mut Stream, aspect: usize) -> (String, String) {
    if aspect == 0 {
        let noun = Noun { thing: stream.below(THINGS.len()), level: usize::from(stream.chance(0.2)) };
        return (noun.say().to_owned(), Noun { level: noun.level + 1, ..noun }.say().to_owned());
    }
    let property = stream.chance(0.5);
    let first = Point::draw(stream, if property { PROPERTIES.len() } else { ACTIONS.len() });
    // The answer keeps the place in its pair, so that there is exactly one.
    let second = if aspect == 1 { first.synonym() } else { Point { end: 1 - first.end, ..first } };
    let say = |p: Point| if property { PROPERTIES[p.axis][p.end][p.word] } else { ACTIONS[p.axis][p.end][p.word].0 };
    (say(first).to_owned(), say(second).to_owned())
}

/// A sentence and one that says the same.
pub(super) fn restate(stream: &mut Stream) -> [String; 2] {
    let event = Event::draw(stream);
    // The order stays, so that the answer is a matter of words: both synonyms are always exchanged.
    let other = Event { action: event.action.synonym(), property: event.property.map(Point::synonym), ..event };
    [event.say(), other.say()]
}

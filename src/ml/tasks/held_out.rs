//! A part of a split, drawn at random with groups in one piece: one that is held out, with labels in proportion, or a sample.

use super::Example;
use crate::ml::random::Stream;
use std::collections::{BTreeMap, HashMap};

/// How many examples are held out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// A share of them, rounded to whole examples, but one at least.
    Share(f64),
    /// So many.
    Rows(usize),
}

/// What examples are drawn by: which of them stay together, and their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Of every example its label, or [`NO_CLASS`] if it has none or belongs to a group.
    classes: Vec<u32>,
    /// Of every example the number of its unit, by first appearance: a group, or an example by itself. Empty if each is by itself.
    units: Vec<u32>,
}

/// The class of an example without a label, or of a group.
const NO_CLASS: u32 = u32::MAX;

impl Keys {
    /// Of examples with these labels. `units` has the number of each one's unit, by first appearance, or is empty if each is by
    /// itself; `is_grouped` tells whether one belongs to a group, however small.
    ///
    /// # Panics
    /// If there are more than 2<sup>32</sup> - 1 examples, or units of some of them only.
    pub fn new(mut labels: Vec<u32>, units: Vec<u32>, is_grouped: impl Fn(usize) -> bool) -> Self {
        assert!(u32::try_from(labels.len()).is_ok(), "more examples than can be numbered");
        assert!(units.is_empty() || units.len() == labels.len(), "a unit for every example");
        labels.iter_mut().enumerate().filter(|(at, _)| is_grouped(*at)).for_each(|(_, class)| *class = NO_CLASS);
        Self { classes: labels, units }
    }

    /// A label as keys have it.
    pub fn label(label: Option<u32>) -> u32 {
        label.unwrap_or(NO_CLASS)
    }

    /// Of examples in memory.
    pub fn of(examples: &[Example]) -> Self {
        let labels = examples.iter().map(|example| Self::label(example.label)).collect();
        let mut units = Vec::new();
        if examples.iter().any(|example| example.group.is_some()) {
            let mut by_group: HashMap<&str, u32> = HashMap::new();
            let mut count = 0;
            for example in examples {
                let unit = match &example.group {
                    Some(group) => *by_group.entry(group).or_insert(count),
                    None => count,
                };
                count += u32::from(unit == count);
                units.push(unit);
            }
        }
        Self::new(labels, units, |at| examples[at].group.is_some())
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// Those of some of the examples.
    #[must_use]
    pub fn only(&self, chosen: &[bool]) -> Self {
        let of = |all: &[u32]| all.iter().zip(chosen).filter(|(_, chosen)| **chosen).map(|(key, _)| *key).collect();
        let (classes, mut units): (Vec<u32>, Vec<u32>) = (of(&self.classes), of(&self.units));
        // Numbers are by first appearance among those that are left.
        let mut numbers = vec![NO_CLASS; self.units.iter().max().map_or(0, |most| *most as usize + 1)];
        let mut count = 0;
        for unit in &mut units {
            let number = &mut numbers[*unit as usize];
            if *number == NO_CLASS {
                *number = count;
                count += 1;
            }
            *unit = *number;
        }
        Self { classes, units }
    }

    /// The class and the number of examples of every unit.
    fn sizes(&self) -> Vec<(u32, u32)> {
        if self.units.is_empty() {
            return self.classes.iter().map(|class| (*class, 1)).collect();
        }
        let mut sizes: Vec<(u32, u32)> = Vec::new();
        for (unit, class) in self.units.iter().zip(&self.classes) {
            match sizes.get_mut(*unit as usize) {
                Some((_, size)) => *size += 1,
                None => sizes.push((*class, 1)),
            }
        }
        sizes
    }

    /// Which examples are of the units that are taken.
    fn of_units(&self, taken: Vec<bool>) -> Vec<bool> {
        if self.units.is_empty() { taken } else { self.units.iter().map(|unit| taken[*unit as usize]).collect() }
    }
}

/// The label by which a unit is drawn in proportion; groups have none.
fn class(class: u32) -> Option<u32> {
    (class != NO_CLASS).then_some(class)
}

/// Units in random order, by their numbers.
fn shuffled(count: usize, stream: &mut Stream) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    stream.shuffle(&mut order);
    order
}

/// Which examples are held out; the others stay.
///
/// Examples of a group stay together, so the part may be larger than asked for by less than a group. Without groups the
/// part has each label in proportion to its frequency, as far as rounding allows.
///
/// # Errors
/// If nothing would stay or nothing be held out.
pub fn hold_out(keys: &Keys, amount: Amount, stream: &mut Stream) -> Result<Vec<bool>, String> {
    let count = keys.len();
    let wanted = match amount {
        Amount::Share(share) => ((share * count as f64).round() as usize).max(usize::from(count > 1)),
        Amount::Rows(rows) => rows,
    };
    let sizes = keys.sizes();
    let mut left = quotas(&sizes, count, wanted);
    let mut held = vec![false; sizes.len()];
    for unit in shuffled(sizes.len(), stream) {
        let (of, size) = sizes[unit as usize];
        if let Some(left) = left.get_mut(&class(of)).filter(|left| **left > 0) {
            held[unit as usize] = true;
            *left = left.saturating_sub(size as usize);
        }
    }
    let held = keys.of_units(held);
    let out = held.iter().filter(|held| **held).count();
    let stay = count - out;
    if stay == 0 || out == 0 {
        return Err(format!("{count} examples would become {stay} and {out} held out; expected some on both sides"));
    }
    Ok(held)
}

/// Which examples are in a random sample of at most `count`. Examples of a group stay together: groups are drawn until the next
/// one would be too much, but one at least.
pub fn sample(keys: &Keys, count: usize, stream: &mut Stream) -> Vec<bool> {
    let sizes = keys.sizes();
    let mut taken = vec![false; sizes.len()];
    if sizes.len() == keys.len() {
        stream.sample(sizes.len(), count.min(sizes.len())).into_iter().for_each(|at| taken[at] = true);
    } else {
        let mut left = count;
        for (drawn, unit) in shuffled(sizes.len(), stream).into_iter().enumerate() {
            let size = sizes[unit as usize].1 as usize;
            if size > left && (drawn > 0 || count == 0) {
                break;
            }
            taken[unit as usize] = true;
            left = left.saturating_sub(size);
        }
    }
    keys.of_units(taken)
}

/// How many examples of each class are held out: largest remainders, of equal ones the first class.
fn quotas(units: &[(u32, u32)], count: usize, wanted: usize) -> BTreeMap<Option<u32>, usize> {
    let mut sizes: BTreeMap<Option<u32>, usize> = BTreeMap::new();
    units.iter().for_each(|(of, size)| *sizes.entry(class(*of)).or_default() += *size as usize);
    let (count, wanted) = (count.max(1), wanted.min(count));
    let mut remainders: Vec<(usize, Option<u32>)> = Vec::new();
    let mut quotas: BTreeMap<Option<u32>, usize> = BTreeMap::new();
    for (class, size) in sizes {
        quotas.insert(class, size * wanted / count);
        remainders.push((size * wanted % count, class));
    }
    let missing = wanted - quotas.values().sum::<usize>();
    remainders.sort_by(|(a, i), (b, j)| b.cmp(a).then(i.cmp(j)));
    remainders.into_iter().take(missing).for_each(|(_, class)| *quotas.entry(class).or_default() += 1);
    quotas
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples(labels: &[u32], group: impl Fn(usize) -> Option<String>) -> Vec<Example> {
        let example = |(at, label): (usize, &u32)| Example {
            id: at.to_string(),
            input: String::new(),
            target: String::new(),
            label: Some(*label),
            group: group(at),
            answers: Vec::new(),
            choices: Vec::new(),
        };
        labels.iter().enumerate().map(example).collect()
    }

    /// Splits examples in those that stay and those that are held out, both in their order.
    fn hold_out(
        examples: Vec<Example>,
        amount: Amount,
        stream: &mut Stream,
    ) -> Result<(Vec<Example>, Vec<Example>), String> {
        let held = super::hold_out(&Keys::of(&examples), amount, stream)?;
        let (out, stay): (Vec<_>, Vec<_>) = examples.into_iter().zip(held).partition(|(_, held)| *held);
        let only = |part: Vec<(Example, bool)>| part.into_iter().map(|(example, _)| example).collect();
        Ok((only(stay), only(out)))
    }

    fn sample(examples: Vec<Example>, count: usize, stream: &mut Stream) -> Vec<Example> {
        let taken = super::sample(&Keys::of(&examples), count, stream);
        examples.into_iter().zip(taken).filter_map(|(example, taken)| taken.then_some(example)).collect()
    }

    fn ids(examples: &[Example]) -> Vec<usize> {
        examples.iter().map(|example| example.id.parse().unwrap()).collect()
    }

    #[test]
    fn labels_stay_in_proportion_and_order_is_kept() {
        let labels: Vec<u32> = (0..60).map(|at| u32::from(at % 6 == 0) + u32::from(at % 3 == 0)).collect();
        let (stay, out) =
            hold_out(examples(&labels, |_| None), Amount::Share(0.5), &mut Stream::new(1, "test")).unwrap();
        let count = |examples: &[Example], label| examples.iter().filter(|e| e.label == Some(label)).count();
        assert_eq!([0, 1, 2].map(|label| (count(&stay, label), count(&out, label))), [(20, 20), (5, 5), (5, 5)]);
        for part in [&stay, &out] {
            assert!(ids(part).is_sorted());
        }
        let mut all = [ids(&stay), ids(&out)].concat();
        all.sort_unstable();
        assert_eq!(all, (0..60).collect::<Vec<_>>());
    }

    #[test]
    fn the_amount_is_exact_without_groups_and_the_draw_depends_on_the_seed() {
        let labels: Vec<u32> = (0..31).map(|at| at % 4).collect();
        let draw = |rows, seed| {
            let mut stream = Stream::new(seed, "test");
            ids(&hold_out(examples(&labels, |_| None), Amount::Rows(rows), &mut stream).unwrap().1)
        };
        for rows in 1..31 {
            assert_eq!(draw(rows, 0).len(), rows);
        }
        assert_eq!(draw(10, 0), draw(10, 0));
        assert_ne!(draw(10, 0), draw(10, 1));
    }

    #[test]
    fn groups_stay_together() {
        let group = |at: usize| Some(format!("q{}", at * at % 7));
        let labels = vec![0; 50];
        let (stay, out) = hold_out(examples(&labels, group), Amount::Rows(20), &mut Stream::new(3, "test")).unwrap();
        let groups = |part: &[Example]| {
            part.iter().map(|example| example.group.clone()).collect::<std::collections::BTreeSet<_>>()
        };
        assert!(groups(&stay).is_disjoint(&groups(&out)));
        assert!((20..36).contains(&out.len()), "{}", out.len());
    }

    fn drawn(count: usize, groups: &[usize], seed: u64) -> Vec<usize> {
        let all = examples(&vec![0; groups.len()], |at| Some(groups[at].to_string()));
        ids(&sample(all, count, &mut Stream::new(seed, "test")))
    }

    #[test]
    fn a_sample_has_whole_groups_as_many_as_fit() {
        let groups: Vec<usize> = (0..60).map(|at| at * at % 11).collect();
        let size = |group: usize| groups.iter().filter(|other| **other == group).count();
        for (count, seed) in (1..60).zip(0..) {
            let sample = drawn(count, &groups, seed);
            assert!(sample.is_sorted());
            let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
            sample.iter().for_each(|at| *seen.entry(groups[*at]).or_default() += 1);
            assert!(seen.iter().all(|(group, rows)| *rows == size(*group)), "{count}");
            assert!(sample.len() <= count || seen.len() == 1, "{count}");
            // The next group did not fit.
            assert!(sample.len() + 12 > count, "{count}: {}", sample.len());
        }
        assert_eq!((drawn(0, &groups, 0).len(), drawn(99, &groups, 0).len()), (0, 60));
        assert_eq!(drawn(2, &[0, 0, 0, 1, 1, 1], 0).len(), 3);
        assert_ne!(drawn(20, &groups, 0), drawn(20, &groups, 1));
    }

    #[test]
    fn a_sample_without_groups_has_exactly_as_many_as_are_asked_for() {
        let all = |count: usize| examples(&vec![0; count], |_| None);
        for count in 0..20 {
            let sample = ids(&sample(all(20), count, &mut Stream::new(1, "test")));
            assert!(sample.len() == count && sample.is_sorted());
        }
        let mut expected = Stream::new(1, "test").sample(20, 7);
        expected.sort_unstable();
        assert_eq!(ids(&sample(all(20), 7, &mut Stream::new(1, "test"))), expected);
    }

    #[test]
    fn groups_of_one_are_no_groups() {
        let single: Vec<usize> = (0..20).collect();
        assert_eq!(drawn(7, &single, 3).len(), 7);
    }

    #[test]
    fn an_empty_side_is_an_error() {
        let draw = |count, amount| hold_out(examples(&vec![0; count], |_| None), amount, &mut Stream::new(0, "test"));
        assert_eq!(
            draw(2, Amount::Rows(2)).unwrap_err(),
            "2 examples would become 0 and 2 held out; expected some on both sides"
        );
        assert!(draw(1, Amount::Share(0.5)).is_err());
        assert_eq!(draw(4, Amount::Share(0.1)).unwrap().1.len(), 1);
        assert!(draw(0, Amount::Rows(1)).is_err());
        assert!(draw(5, Amount::Rows(9)).is_err());
        let one = |_| Some("all".to_owned());
        assert!(hold_out(examples(&[0; 4], one), Amount::Rows(1), &mut Stream::new(0, "test")).is_err());
    }
}

//! A part of a split, drawn at random with groups in one piece: one that is held out, with labels in proportion, or a sample.

use super::Example;
use crate::ml::random::Stream;
use std::collections::BTreeMap;

/// How many examples are held out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// A share of them, rounded to whole examples, but one at least.
    Share(f64),
    /// So many.
    Rows(usize),
}

/// Splits examples in those that stay and those that are held out, both in their order.
///
/// Examples of a group stay together, so the part may be larger than asked for by less than a group. Without groups the
/// part has each label in proportion to its frequency, as far as rounding allows.
///
/// # Errors
/// If nothing would stay or nothing be held out.
pub fn hold_out(
    examples: Vec<Example>,
    amount: Amount,
    stream: &mut Stream,
) -> Result<(Vec<Example>, Vec<Example>), String> {
    let count = examples.len();
    let wanted = match amount {
        Amount::Share(share) => ((share * count as f64).round() as usize).max(usize::from(count > 1)),
        Amount::Rows(rows) => rows,
    };
    let mut units = units(&examples);
    stream.shuffle(&mut units);
    let mut held = vec![false; count];
    for (class, quota) in quotas(&examples, &units, wanted) {
        let mut left = quota;
        for unit in units.iter().filter(|unit| self::class(&examples, unit) == class) {
            if left == 0 {
                break;
            }
            unit.iter().for_each(|at| held[*at] = true);
            left = left.saturating_sub(unit.len());
        }
    }
    let (mut stay, mut out) = (Vec::new(), Vec::new());
    for (example, held) in examples.into_iter().zip(held) {
        if held { out.push(example) } else { stay.push(example) }
    }
    if stay.is_empty() || out.is_empty() {
        let (stay, out) = (stay.len(), out.len());
        return Err(format!("{count} examples would become {stay} and {out} held out; expected some on both sides"));
    }
    Ok((stay, out))
}

/// A random sample of at most `count` examples, in their order. Examples of a group stay together: groups are drawn until the next
/// one would be too much, but one at least.
pub fn sample(examples: Vec<Example>, count: usize, stream: &mut Stream) -> Vec<Example> {
    let units = units(&examples);
    let mut taken = vec![false; examples.len()];
    if units.len() == examples.len() {
        stream.sample(examples.len(), count.min(examples.len())).into_iter().for_each(|at| taken[at] = true);
    } else {
        let mut units = units;
        stream.shuffle(&mut units);
        let mut left = count;
        for (drawn, unit) in units.iter().enumerate() {
            if unit.len() > left && (drawn > 0 || count == 0) {
                break;
            }
            unit.iter().for_each(|at| taken[*at] = true);
            left = left.saturating_sub(unit.len());
        }
    }
    let mut taken = taken.into_iter();
    examples.into_iter().filter(|_| taken.next().unwrap_or_default()).collect()
}

/// The positions of examples that stay together, by first appearance.
fn units(examples: &[Example]) -> Vec<Vec<usize>> {
    let mut units: Vec<Vec<usize>> = Vec::new();
    let mut by_group: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, example) in examples.iter().enumerate() {
        match &example.group {
            Some(group) => {
                let unit = *by_group.entry(group).or_insert(units.len());
                if unit == units.len() {
                    units.push(Vec::new());
                }
                units[unit].push(at);
            }
            None => units.push(vec![at]),
        }
    }
    units
}

/// The label by which a unit is drawn in proportion; groups have none.
fn class(examples: &[Example], unit: &[usize]) -> Option<u32> {
    match unit {
        [at] if examples[*at].group.is_none() => examples[*at].label,
        _ => None,
    }
}

/// How many examples of each class are held out: largest remainders, of equal ones the first class.
fn quotas(examples: &[Example], units: &[Vec<usize>], wanted: usize) -> Vec<(Option<u32>, usize)> {
    let mut sizes: BTreeMap<Option<u32>, usize> = BTreeMap::new();
    units.iter().for_each(|unit| *sizes.entry(class(examples, unit)).or_default() += unit.len());
    let (count, wanted) = (examples.len().max(1), wanted.min(examples.len()));
    let mut quotas: Vec<(Option<u32>, usize)> = Vec::new();
    let mut remainders: Vec<(usize, usize)> = Vec::new();
    for (at, (class, size)) in sizes.into_iter().enumerate() {
        quotas.push((class, size * wanted / count));
        remainders.push((size * wanted % count, at));
    }
    let missing = wanted - quotas.iter().map(|(_, quota)| quota).sum::<usize>();
    remainders.sort_by(|(a, i), (b, j)| b.cmp(a).then(i.cmp(j)));
    remainders.into_iter().take(missing).for_each(|(_, at)| quotas[at].1 += 1);
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

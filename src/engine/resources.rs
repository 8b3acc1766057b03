//! What a job needs of the machine that does it, and what a worker has.

use crate::units;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::time::{Duration, SystemTime};

/// What the jobs of a stage need of a worker. It is no part of their recipes, since their results do not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Resources {
    /// GPUs.
    pub gpus: u32,
    /// Memory of the machine, as `40GiB`.
    #[serde(deserialize_with = "size")]
    #[schemars(with = "String")]
    pub memory: usize,
    /// The longest that a job takes, as `2h`: of one that cannot save its steps, such as a `command`.
    #[serde(deserialize_with = "duration")]
    #[schemars(with = "String")]
    pub time: Duration,
}

fn size<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    units::size(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    units::duration(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}

/// What a worker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// GPUs that it computes on.
    pub gpus: u32,
    /// Bytes of memory that it may take.
    pub memory: usize,
    /// When it will be ended, if that is known.
    pub until: Option<SystemTime>,
}

/// No GPU, and no other limit.
impl Default for Capacity {
    fn default() -> Self {
        Self { gpus: 0, memory: usize::MAX, until: None }
    }
}

/// What a job needs and a worker does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// GPUs: needed, there.
    Gpus(u32, u32),
    /// Bytes: needed, there.
    Memory(usize, usize),
    /// Needed, left.
    Time(Duration, Duration),
}

impl Capacity {
    /// What a job with these needs would lack here now; the first of it.
    pub fn lacks(&self, needs: &Resources) -> Option<Lack> {
        if needs.gpus > self.gpus {
            return Some(Lack::Gpus(needs.gpus, self.gpus));
        }
        if needs.memory > self.memory {
            return Some(Lack::Memory(needs.memory, self.memory));
        }
        let left = self.until?.duration_since(SystemTime::now()).unwrap_or_default();
        (needs.time > left).then_some(Lack::Time(needs.time, left))
    }
}

/// `needs 1 GPU, and there is none here`.
impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |number: u32| if number == 1 { "" } else { "s" };
        match *self {
            Self::Gpus(needs, 0) => write!(f, "needs {needs} GPU{}, and there is none here", plural(needs)),
            Self::Gpus(needs, 1) => write!(f, "needs {needs} GPU{}, and there is one here", plural(needs)),
            Self::Gpus(needs, has) => write!(f, "needs {needs} GPU{}, and there are {has} here", plural(needs)),
            Self::Memory(needs, has) => {
                let [needs, has] = [needs, has].map(|bytes| units::bytes(bytes as u64));
                write!(f, "needs {needs} of memory, and there are {has} here")
            }
            Self::Time(needs, left) => {
                let [needs, left] = [needs, left].map(|time| units::seconds(time.as_secs_f64()));
                write!(f, "needs {needs}, and {left} are left here")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_lacks_is_said() {
        let has = Capacity { gpus: 1, memory: 24 << 30, until: None };
        let lacks = |needs: Resources| has.lacks(&needs).map(|lack| lack.to_string());
        let none = Resources::default();
        assert_eq!(lacks(none), None);
        assert_eq!(lacks(Resources { gpus: 1, memory: 24 << 30, time: Duration::MAX }), None);
        let said = |needs| lacks(needs).unwrap();
        assert_eq!(said(Resources { gpus: 2, ..none }), "needs 2 GPUs, and there is one here");
        assert_eq!(
            said(Resources { memory: 40 << 30, ..none }),
            "needs 40.0 GiB of memory, and there are 24.0 GiB here"
        );
        let none_here = Capacity::default().lacks(&Resources { gpus: 1, ..none }).unwrap();
        assert_eq!(none_here.to_string(), "needs 1 GPU, and there is none here");
    }

    #[test]
    fn time_that_is_left_counts_at_the_time() {
        let until =
            |seconds| Capacity { until: Some(SystemTime::now() + Duration::from_secs(seconds)), ..Capacity::default() };
        let needs = Resources { time: Duration::from_secs(7200), ..Resources::default() };
        assert_eq!(until(7300).lacks(&needs), None);
        let lack = until(1850).lacks(&needs).unwrap().to_string();
        assert!(lack.starts_with("needs 2 h 00 min, and 30 min "), "{lack}");
        let past = Capacity { until: Some(SystemTime::UNIX_EPOCH), ..Capacity::default() };
        assert_eq!(past.lacks(&needs), Some(Lack::Time(needs.time, Duration::ZERO)));
        assert_eq!(past.lacks(&Resources::default()), None);
    }

    #[test]
    fn units_are_not_guessed() {
        let read = serde_json::from_str::<Resources>;
        let all = read(r#"{"gpus": 2, "memory": "40GiB", "time": "90m"}"#).unwrap();
        assert_eq!(all, Resources { gpus: 2, memory: 40 << 30, time: Duration::from_secs(5400) });
        let wrong = [
            r#"{"gpus": -1}"#,
            r#"{"gpus": true}"#,
            r#"{"memory": 40}"#,
            r#"{"memory": "40GB"}"#,
            r#"{"time": "2"}"#,
            r#"{"gpu": 1}"#,
        ];
        for wrong in wrong {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}

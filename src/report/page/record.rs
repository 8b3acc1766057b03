//! The records behind the numbers of a page: which job made something, with what key, from what.

use maud::{Markup, PreEscaped, html};
use serde::Serialize;
use std::collections::BTreeMap;

/// A result or a file that numbers were computed from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Names it; numbers refer to it by this.
    pub digest: String,
    /// The job and its output (`target_scores[rte,0].metrics`), or the name of a file.
    pub name: String,
    /// Kind of the job, or `file`.
    pub kind: String,
    /// Key of the job's recipe; a file has none.
    pub key: Option<String>,
    /// How long the job took, for people.
    pub took: Option<String>,
    /// Version of the program that made it.
    pub program: Option<String>,
    /// What it was computed on.
    pub device: Option<String>,
    /// Whatever else is worth knowing.
    pub notes: Vec<(String, String)>,
    /// What it was made from.
    pub inputs: Vec<RecordInput>,
}

/// Something that a record was made from.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordInput {
    /// Role in the recipe.
    pub role: String,
    /// The job and output that made it, or the file.
    pub what: String,
    /// Digest of its own record, if there is one.
    pub digest: Option<String>,
}

/// The places of the records, by digest.
pub(super) struct Index<'a> {
    records: &'a [Record],
    places: BTreeMap<&'a str, usize>,
}

/// A record as the script reads it.
#[derive(Serialize)]
struct Json<'a> {
    name: &'a str,
    facts: Vec<(&'a str, &'a str)>,
    inputs: Vec<(&'a str, &'a str, Option<usize>)>,
}

impl<'a> Index<'a> {
    pub(super) fn new(records: &'a [Record]) -> Self {
        let places = records.iter().enumerate().rev().map(|(at, record)| (record.digest.as_str(), at));
        Self { records, places: places.collect() }
    }

    /// Places of the records with these digests, separated by spaces. A digest without a record stands for itself: the
    /// script says that nothing is known of it.
    pub(super) fn places(&self, digests: &[String]) -> String {
        let place = |digest: &String| match self.places.get(digest.as_str()) {
            Some(place) => place.to_string(),
            None => format!("?{}", digest.replace(char::is_whitespace, "")),
        };
        digests.iter().map(place).collect::<Vec<_>>().join(" ")
    }

    fn json(&self, record: &'a Record) -> Json<'a> {
        let inputs = record.inputs.iter().map(|input| {
            let place = input.digest.as_ref().and_then(|digest| self.places.get(digest.as_str()).copied());
            (input.role.as_str(), input.what.as_str(), place)
        });
        Json { name: &record.name, facts: record.facts(), inputs: inputs.collect() }
    }

    /// All records for the script: JSON in which nothing can end the element that holds it.
    pub(super) fn to_script(&self) -> Markup {
        let records: Vec<_> = self.records.iter().map(|record| self.json(record)).collect();
        let json = serde_json::to_string(&records).expect("records are strings and whole numbers");
        let json = json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
        html! { script type="application/json" id="records" { (PreEscaped(json)) } }
    }

    /// All records as a table, for readers without scripts.
    pub(super) fn to_table(&self) -> Markup {
        html! {
            details.records {
                summary { "All " (self.records.len()) " records that the numbers above come from" }
                div.scroll tabindex="0" role="region" aria-label="All records" {
                    table {
                        thead { tr {
                            th scope="col" { "Result or file" } th scope="col" { "Kind" }
                            th scope="col" { "Key" } th scope="col" { "Digest" } th.number scope="col" { "Took" }
                        } }
                        tbody {
                            @for record in self.records {
                                tr {
                                    th scope="row" { (record.name) }
                                    td { (record.kind) }
                                    td { @if let Some(key) = &record.key { code title=(key) { (prefix(key)) } } }
                                    td { code title=(record.digest) { (prefix(&record.digest)) } }
                                    td.number { (record.took.as_deref().unwrap_or_default()) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

impl Record {
    /// In the order in which people read them.
    fn facts(&self) -> Vec<(&str, &str)> {
        let known = [
            ("kind", Some(self.kind.as_str())),
            ("digest", Some(self.digest.as_str())),
            ("key", self.key.as_deref()),
            ("took", self.took.as_deref()),
            ("program", self.program.as_deref()),
            ("device", self.device.as_deref()),
        ];
        let known = known.into_iter().filter_map(|(name, value)| Some((name, value?)));
        known.chain(self.notes.iter().map(|(name, value)| (name.as_str(), value.as_str()))).collect()
    }
}

/// The start of a digest, enough to tell it from others.
fn prefix(digest: &str) -> String {
    digest.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(digest: &str, from: Option<&str>) -> Record {
        let inputs = from.map(|digest| RecordInput {
            role: "data".to_owned(),
            what: "</script><script>alert(1)</script>".to_owned(),
            digest: Some(digest.to_owned()),
        });
        Record { digest: digest.to_owned(), inputs: inputs.into_iter().collect(), ..Record::default() }
    }

    #[test]
    fn records_are_found_by_digest_and_unknown_ones_are_said_to_be() {
        let records = [record("aa", None), record("bb", Some("aa"))];
        let index = Index::new(&records);
        assert_eq!(index.places(&["bb".to_owned(), "c c".to_owned(), "aa".to_owned()]), "1 ?cc 0");
        assert_eq!(index.json(&records[1]).inputs[0].2, Some(0));
    }

    #[test]
    fn no_name_ends_the_script() {
        let records = [record("bb", Some("aa"))];
        let script = Index::new(&records).to_script().into_string();
        assert_eq!(script.matches("</script").count(), 1);
        let json = script.split_once('>').unwrap().1.strip_suffix("</script>").unwrap();
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(json[0]["inputs"][0][1], "</script><script>alert(1)</script>");
        assert_eq!(json[0]["inputs"][0][2], serde_json::Value::Null, "there is no record `aa`");
    }
}

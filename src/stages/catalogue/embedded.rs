//! The files of the program's own tasks, by name.

/// The texts of some files of `tasks/`.
macro_rules! texts {
    ($($name:literal)+) => {
        &[$(($name, include_str!(concat!("../../../tasks/", $name, ".yaml")))),+]
    };
}

/// Every file of `tasks/`, in the order of their names; a test compares them.
pub(super) const TEXTS: &[(&str, &str)] = texts! {
    "aeslc"
    "anli_r1"
    "anli_r2"
    "anli_r3"
    "art"
    "billsum"
    "boolq"
    "c4"
    "cb"
    "cnn_dailymail"
    "cola"
    "common_gen"
    "copa"
    "cosmos_qa"
    "cr"
    "cxc"
    "dart"
    "doc_nli"
    "drop"
    "e2e_nlg"
    "gigaword"
    "glue_rte"
    "go_emotions"
    "hellaswag"
    "hotpot_qa"
    "mnli"
    "mrpc"
    "multi_news"
    "multirc"
    "natural_questions"
    "news_qa"
    "newsroom"
    "piqa"
    "qnli"
    "qqp"
    "race"
    "record"
    "rte"
    "samsum"
    "schema_guided_dialog"
    "search_qa"
    "sentiment140"
    "snli"
    "social_i_qa"
    "squad"
    "sst2"
    "stsb"
    "trivia_qa"
    "web_nlg"
    "wic"
    "wiki_auto"
    "wiki_lingua"
    "wiki_lingua_gem"
    "winogrande"
    "wmt_en_de"
    "wmt_en_fr"
    "wmt_en_ro"
    "wsc"
    "xsum"
    "xsum_gem"
    "yelp_polarity"
};

/// The file of a task.
pub(super) fn text(name: &str) -> Option<&'static str> {
    let at = TEXTS.binary_search_by_key(&name, |(known, _)| *known).ok()?;
    Some(TEXTS[at].1)
}

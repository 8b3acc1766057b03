//! The words of the world: people, things and their categories, properties with synonyms and opposites, actions, places.
//!
//! Tables are indexed by position, so that a sentence is a handful of small numbers and its relatives are arithmetic.

/// First names; either half could be read as a group, but no skill depends on it.
pub(super) const PEOPLE: [&str; 20] = [
    "tom", "bob", "sam", "max", "leo", "ben", "jack", "dan", "paul", "mark", "anna", "mary", "lucy", "emma", "kate",
    "nina", "rosa", "jane", "lily", "eva",
];

/// Things of each category.
pub(super) const PER_CATEGORY: usize = 5;

/// Categories, in the order in which [`THINGS`] lists their members.
pub(super) const CATEGORIES: [&str; 10] =
    ["bird", "beast", "fish", "insect", "fruit", "drink", "tool", "vehicle", "garment", "toy"];

/// What a category belongs to, as an index into [`REALMS`].
pub(super) const REALM_OF: [usize; 10] = [0, 0, 0, 0, 1, 1, 2, 2, 2, 2];

/// The most general words.
pub(super) const REALMS: [&str; 3] = ["animal", "food", "object"];

/// Things, [`PER_CATEGORY`] for each category.
pub(super) const THINGS: [&str; 50] = [
    "robin", "duck", "owl", "eagle", "parrot", "dog", "cat", "horse", "cow", "goat", "trout", "salmon", "cod", "tuna",
    "carp", "ant", "bee", "moth", "beetle", "wasp", "apple", "pear", "plum", "peach", "lemon", "tea", "milk", "juice",
    "coffee", "cider", "hammer", "wrench", "drill", "spade", "rake", "car", "bus", "truck", "van", "bike", "coat",
    "hat", "shirt", "sock", "glove", "ball", "doll", "kite", "puzzle", "drum",
];

/// Things that are counted, with a regular plural.
pub(super) const COUNTED: [&str; 16] = [
    "robin", "duck", "dog", "cat", "horse", "cow", "apple", "pear", "plum", "hammer", "drill", "car", "truck", "hat",
    "shirt", "kite",
];

/// Properties: for each axis two synonyms at one end and two at the other.
pub(super) const PROPERTIES: [[[&str; 2]; 2]; 8] = [
    [["big", "large"], ["small", "little"]],
    [["clean", "tidy"], ["dirty", "filthy"]],
    [["loud", "noisy"], ["quiet", "silent"]],
    [["strong", "sturdy"], ["weak", "feeble"]],
    [["old", "ancient"], ["new", "modern"]],
    [["fast", "quick"], ["slow", "sluggish"]],
    [["cheap", "inexpensive"], ["costly", "expensive"]],
    [["wet", "damp"], ["dry", "arid"]],
];

/// Actions as (base, past): for each axis two synonyms of one action and two of its opposite.
pub(super) const ACTIONS: [[[(&str, &str); 2]; 2]; 6] = [
    [[("buy", "bought"), ("purchase", "purchased")], [("sell", "sold"), ("trade", "traded")]],
    [[("find", "found"), ("discover", "discovered")], [("lose", "lost"), ("misplace", "misplaced")]],
    [[("push", "pushed"), ("shove", "shoved")], [("pull", "pulled"), ("drag", "dragged")]],
    [[("like", "liked"), ("enjoy", "enjoyed")], [("hate", "hated"), ("detest", "detested")]],
    [[("fix", "fixed"), ("repair", "repaired")], [("break", "broke"), ("smash", "smashed")]],
    [[("hide", "hid"), ("conceal", "concealed")], [("show", "showed"), ("display", "displayed")]],
];

/// Places that go with "in the".
pub(super) const PLACES: [&str; 12] =
    ["kitchen", "school", "shop", "barn", "office", "library", "garden", "park", "street", "forest", "field", "yard"];

/// Numbers as words, by value.
pub(super) const NUMBERS: [&str; 11] =
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];

/// Words of praise for works and goods.
pub(super) const GOOD: [&str; 10] = [
    "great",
    "wonderful",
    "lovely",
    "superb",
    "brilliant",
    "charming",
    "delightful",
    "excellent",
    "pleasant",
    "splendid",
];

/// Words of blame for works and goods.
pub(super) const BAD: [&str; 10] =
    ["awful", "terrible", "horrible", "dreadful", "nasty", "boring", "dull", "poor", "shoddy", "stupid"];

/// Praise that fits goods only.
pub(super) const HANDY: [&str; 4] = ["useful", "reliable", "handy", "practical"];

/// Blame that fits goods only.
pub(super) const USELESS: [&str; 4] = ["useless", "faulty", "flimsy", "clumsy"];

/// Good moods.
pub(super) const GLAD: [&str; 6] = ["happy", "glad", "cheerful", "joyful", "merry", "pleased"];

/// Bad moods.
pub(super) const SAD: [&str; 6] = ["sad", "upset", "gloomy", "miserable", "angry", "unhappy"];

/// Liking a work, as (base, past).
pub(super) const LOVE: [(&str, &str); 4] =
    [("love", "loved"), ("admire", "admired"), ("adore", "adored"), ("praise", "praised")];

/// Disliking a work, as (base, past).
pub(super) const LOATHE: [(&str, &str); 4] =
    [("loathe", "loathed"), ("dislike", "disliked"), ("despise", "despised"), ("scorn", "scorned")];

/// Showing a good mood, as (base, past).
pub(super) const SMILE: [(&str, &str); 3] = [("smile", "smiled"), ("laugh", "laughed"), ("cheer", "cheered")];

/// Showing a bad mood, as (base, past).
pub(super) const FROWN: [(&str, &str); 3] = [("frown", "frowned"), ("cry", "cried"), ("complain", "complained")];

/// Works that are reviewed.
pub(super) const WORKS: [&str; 10] =
    ["film", "song", "meal", "story", "hotel", "game", "play", "dress", "show", "book"];

/// Goods that are reviewed.
pub(super) const GOODS: [&str; 10] =
    ["phone", "lamp", "clock", "camera", "radio", "oven", "fridge", "printer", "laptop", "heater"];

/// Openings that leave what follows as it is.
pub(super) const OPENINGS: [&str; 14] = [
    "",
    "",
    "",
    "",
    "today ",
    "yesterday ",
    "then ",
    "at last ",
    "one day ",
    "later ",
    "this time ",
    "last week ",
    "soon ",
    "in the morning ",
];

/// Words that strengthen a judgement, or nothing.
pub(super) const DEGREES: [&str; 5] = ["", "", "very ", "really ", "quite "];

#!/usr/bin/env python3
"""What scikit-learn's CountVectorizer and MultinomialNB say of texts, for src/ml/tasks/bag_of_words.rs.

    pip install scikit-learn        # written with 1.9.0, see "scikit_learn" in the output
    python tests/golden/bag_of_words.py > tests/golden/bag_of_words.json
"""

import json

import sklearn
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB

TRAIN = [
    ["A fine film, warm and fine.", "good"],
    ["What a day: warm, bright, fine!", "good"],
    ["The plot is dull and the end is dull", "bad"],
    ["dull, grey, slow; a bad, bad film", "bad"],
    ["It is a film of 90 minutes", "neither"],
    ["snake_case words AND Capitals", "neither"],
    ["Été à la plage, fine", "good"],
]
ASKED = [
    "fine", "dull", "film", "a film", "unknown words alone", "", "x y z", "90 minutes", "FINE and DULL film", "été",
    "snake_case", "grey day", "the the the", "is is is fine fine", "bright; slow, slow",
]

vectorizer = CountVectorizer()
counts = vectorizer.fit_transform([text for text, _ in TRAIN])
model = MultinomialNB().fit(counts, [label for _, label in TRAIN])
analyse = vectorizer.build_analyzer()
print(json.dumps({
    "scikit_learn": sklearn.__version__,
    "train": TRAIN,
    "asked": [[text, sorted(analyse(text)), str(label)] for text, label in zip(ASKED, model.predict(vectorizer.transform(ASKED)))],
}, ensure_ascii=False, indent=1))

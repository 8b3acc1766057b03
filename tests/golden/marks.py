"""What SentencePiece makes of text with combining marks, control characters and the like: tests/golden/spiece/marks.*.

Written with Python 3.11, sentencepiece 0.2.3:
    python tests/golden/marks.py T5_SPIECE_MODEL
Writes a small model of its own, marks.model, and marks.json: texts, their ids by that model, and their ids by the model of T5
(32,000 pieces, SHA-256 in T5), which is not kept here. Scores are added in f32 since some version between 0.2.1, which compares
sums in f64, and 0.2.3: of texts that can be cut in two equally good ways (`mmm`) some have other ids by 0.2.1.
"""

import gzip
import hashlib
import io
import json
import pathlib
import random
import sys
import unicodedata

import sentencepiece
from spiece import RULES

FOLDER = pathlib.Path(__file__).parent / "spiece"
T5 = "d60acb128cf7b7f2536e8f38a5b18a05535c9e14c7a355904270e15b0945ea86"

SENTENCES = [
    "Tiếng Việt có sáu thanh điệu.", "Hôm nay trời đẹp quá, chúng ta đi chơi nhé?", "Ở đây người ta uống cà phê sữa đá mỗi buổi sáng.",
    "Những cuốn sách cũ nằm trên kệ gỗ cạnh cửa sổ.", "Đường phố Huế yên tĩnh sau cơn mưa rào.", "ỄỆỘỚỰ ẩẫậ ằẵặ ổỗộ ửữự",
    "السَّلَامُ عَلَيْكُمْ يا أصدقاء", "هذا الكتابُ جديدٌ ومفيدٌ جدًّا", "آمنة تقرأ إلى أخيها مؤلفات قديمة", "ﻻ إله ﷺ ﷲ ؟ ١٢٣",
    "क़लम और काग़ज़ मेज़ पर रखे हैं।", "पढ़ाई के बाद बच्चे बाहर खेलते हैं।", "हिन्दी में ड़ और ढ़ अलग ध्वनियाँ हैं।", "ॐ श्री गणेशाय नमः १२३",
    "오늘은 날씨가 참 좋습니다.", "한국어 문장을 자모로 나누어 봅시다.", "값 닭 흙 삶 읽다 없었다", "각 간 갈 갉 감 갑 값 갓 갔 강",
    "Ångström señor façade naïve Čeština Łódź ẞß İıŞğ", "Größe, ﬁn ﬂoß ﬃ ½ ¼ ² ³ ¹ ™ ℡ № ㎒ ㏒", "Ὦ ξεῖν᾿ ἀγγέλλειν", "Ёлка йод і їжак",
    "שָׁלוֹם לְכוּלָּם", "สวัสดีครับ น้ำ กำ ที่นี่", "がぎぐ パピプ ｶﾞｷﾞ ﾊﾟﾋﾟ", "日本語と中文，ＡＢＣ（１２３）", "tôi là người Việt, eu não sei, où êtes-vous?",
    "mmm mmmm mmmmm!!!!!!! ........ ****** ------ 666 6666 66666", "hahahaha loool aaaaaaa zzzzzz NNNOOOOOO",
    "👍🏽 👨‍👩‍👧‍👦 🇩🇪🇫🇷 🏳️‍🌈 ❤️ 1️⃣ #️⃣ 😀😁", "a\u200db\u200cc\u200bd\u2060e\ufefff\u00adg", "one\u0085two\u2028three\u2029four\u000bfive\u000csix",
    "\u0001\u0002\u0007\u0008\u001b[31mred\u001b[0m\u007f\u0080\u009f", "\u202eabc\u202c \u2066x\u2069 \u200e\u200f", "▁a ▁▁b ▁ c▁", "\ufffd\ufffe\uffff",
    "e\u0301\u0323 e\u0323\u0301 ê\u0301 e\u0302\u0301 e\u0301\u0302 \u0301\u0302", "²\u0301 ½\u0302 ﬁ\u0301 ①\u20dd Å\u0301 Å\u030a",
    "a\u0300\u0301\u0302\u0303\u0304 o\u031b\u0301\u0323 u\u031b\u0303", "\u1112\u1161\u11ab\u1100\u1173\u11af 하\u11ab \u1100\u1100\u1161 가\u11a8\u11a8",
    "क\u093c\u094d\u0937 ज\u093c\u093c \u093c", "ا\u0653\u0654\u0655 ي\u0654\u064b", "𝕏 𝔸𝓫𝒞 𝟙𝟚 ｆｕｌｌ ｗｉｄｔｈ", "x" + "\u0301" * 300, "क" + "\u093c\u094d" * 150,
    "z\u0335\u0321\u0358\u0300a\u0334\u0330\u0346l\u0338\u0353\u034cg\u0337\u032a\u0350o\u0336\u0318\u034a", "👩" + "\u200d👩" * 60, "\u1100" * 80 + "\u1161" * 80,
    "", " ", "\t\n", "\u00a0\u3000", "\u0000", "a\u0000b", "\u0007", "\u0007 a", " \u0301", "\u0301", "\u00a8 \u00b4 \u02d8",
]
MARKS = [chr(c) for c in range(0x300, 0x330)] + list("\u031b\u0323\u0327\u0328\u0342\u0345\u064b\u064e\u0651\u0653\u0654\u0655\u093c\u094d\u0901\u0902\u05bc\u20dd\u3099\u309a\ufe0f\u200d\U0001f3fd")
BASES = list("aeiouyAEIOUYncsz²½ﬁÅêôơưĂđĐ ıåéẹỏçñ") + list("اويءﻻ") + list("कखगजडढफयनर") + list("שאבハかカ가하값각가") + list("👍❤1①\u00a0\u00a8")
ODD = [chr(c) for c in [*range(0x20), *range(0x7f, 0xa1), 0xad, 0x61c, 0x180e, *range(0x2000, 0x2010), *range(0x2028, 0x2030), *range(0x205f, 0x2070), 0x2581, 0x3000, 0xfe0f, 0xfeff, 0xfff9, 0xfffc, 0xfffd, 0xe0001, 0xe007f]]


def texts():
    draw = random.Random(17)
    all = list(SENTENCES)
    for sentence in SENTENCES:
        all += [unicodedata.normalize(form, sentence) for form in ("NFD", "NFKD", "NFC")]
    letters = [c for sentence in SENTENCES[:31] for c in sentence]
    for _ in range(700):  # letters and marks at random
        text = "".join(draw.choice(BASES) + "".join(draw.choice(MARKS) for _ in range(draw.choice([0, 0, 1, 1, 2, 3, 6]))) for _ in range(draw.randint(1, 10)))
        all.append(text if draw.random() < 0.5 else unicodedata.normalize("NFD", text))
    for _ in range(350):  # control characters and odd spaces within words
        words = [draw.choice(letters + ODD * 2) for _ in range(draw.randint(1, 16))]
        all.append("".join(words))
    for _ in range(200):  # ties
        all.append(" ".join(draw.choice("m!.*-6ahzNOe=") * draw.randint(2, 12) for _ in range(draw.randint(1, 6))))
    return list(dict.fromkeys(all))


def rules():
    """Those of spiece.py, and compositions as in SentencePiece's own tables: also of what is composed in part."""
    points = [*range(0xc0, 0x100), *range(0x1a0, 0x1b1), *range(0x1ea0, 0x1efa), *range(0x622, 0x627), *range(0x958, 0x960), 0x304c, 0x30d1,
              *range(0xac00, 0xac1c), *range(0xd558, 0xd574), 0x1fce, 0x6c2]
    found = dict(RULES)
    for point in points:
        full = unicodedata.normalize("NFD", chr(point))
        for cut in range(1, len(full) + 1):
            part = unicodedata.normalize("NFC", full[:cut]) + full[cut:]
            found.setdefault(part, unicodedata.normalize("NFKC", chr(point)))
    for point in [0xb2, 0xb3, 0xbc, 0xa8, 0xfb03, 0xfdfa, 0xfefb, 0x2116, 0x1d54f, 0x1d538, 0xff76, 0xff9e, *range(0x7f, 0xa0)]:
        kept = unicodedata.normalize("NFKC", chr(point))
        found.setdefault(chr(point), "" if 0x7f <= point < 0xa0 and point != 0x85 else kept)
    return {a: b for a, b in found.items() if a != b}


def train():
    draw = random.Random(19)
    words = [word for sentence in SENTENCES[:31] for word in unicodedata.normalize("NFC", sentence).split()] + ["mm", "m", "mmm", "!!", "!", "66", "6", "..", "."]
    lines = [" ".join(draw.choice(words) for _ in range(draw.randint(3, 9))) for _ in range(1500)]
    file = FOLDER / "marks.tsv"
    points = lambda text: " ".join(f"{ord(c):X}" for c in text)
    file.write_text("".join(f"{points(a)}\t{points(b)}\n" for a, b in rules().items()), encoding="utf-8")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, model_type="unigram", vocab_size=640, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        num_threads=1, minloglevel=2, hard_vocab_limit=False, character_coverage=1.0, normalization_rule_tsv=str(file),
    )
    file.unlink()
    return model.getvalue()


def main():
    small, t5 = train(), pathlib.Path(sys.argv[1]).read_bytes()
    assert hashlib.sha256(t5).hexdigest() == T5
    (FOLDER / "marks.model").write_bytes(small)
    small, t5 = (sentencepiece.SentencePieceProcessor(model_proto=model) for model in (small, t5))
    lines = [[text, small.encode(text), t5.encode(text)] for text in texts()]
    assert len(lines) >= 1000
    golden = {"made_by": "tests/golden/marks.py", "sentencepiece": sentencepiece.__version__, "lines": lines}
    text = json.dumps(golden, ensure_ascii=True, separators=(",", ":")) + "\n"
    (FOLDER / "marks.json").write_text(text)
    print(len(lines), len(text))


if __name__ == "__main__":
    main()

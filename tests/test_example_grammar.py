"""The grammar of the tagger's lesson: its tags follow from whole sentences, and provably not from their beginnings."""

import contextlib
import io
import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "12_a_tagger.py"
CELLS = EXAMPLE.read_text(encoding="utf-8").split("# %%\n")


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    """What the cells up to the first model define; none of them trains."""
    return run("# %%\n".join(CELLS[:3]), tmp_path_factory.mktemp("lesson"))


def run(code, folder):
    (folder / "grammar.py").write_text(code, encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()):
        return runpy.run_path(str(folder / "grammar.py"))


def test_the_sentences_are_the_same_every_time(lesson, tmp_path):
    again = run("# %%\n".join(CELLS[:3]), tmp_path)
    assert again["training"] == lesson["training"] and again["held_out"] == lesson["held_out"]


def test_no_sentence_occurs_twice(lesson):
    words = [words for words, _, _ in lesson["training"] + lesson["held_out"]]
    assert len(set(words)) == len(words)


def test_the_words_of_a_sentence_say_all_its_tags(lesson):
    """Whatever the skeleton: a sentence of the same words has the same tags, and every word exactly one."""
    for words, tags, sides in lesson["training"] + lesson["held_out"]:
        many, particle = words[0] == "these", words[-1]
        told = {
            "put": f"VERB {'pl' if many else 'sg'} {lesson['SENSE'][particle]}",
            "the": "DET pl" if words[-2].endswith("s") else "DET sg",
        }
        assert len(words) == len(tags) == len(sides)
        assert [told.get(w, tag) for w, tag in zip(words, tags, strict=True)] == list(tags)
        assert (words.count("put"), words.count("the"), tags[-2]) == (1, 1, told["the"].replace("DET", "NOUN"))
        assert tags[words.index("put") - 1] == ("NOUN pl" if many else "NOUN sg")


def test_lengths_vary(lesson):
    assert {len(words) for words, _, _ in lesson["training"]} == set(range(6, 15))
    assert len({len(words) for words, _, _ in lesson["held_out"]}) >= 7


def test_what_is_held_out_has_no_word_or_tag_that_training_lacks(lesson):
    for k in (0, 1):
        seen, asked = ({x for s in lesson[name] for x in s[k]} for name in ("training", "held_out"))
        assert asked <= seen


def test_whoever_reads_one_way_only_is_bound_to_err(lesson):
    """Counted over all beginnings, and, by turning the sentences round, over all ends."""
    forwards = lesson["forward_limit"](lesson["held_out"])
    assert forwards == {"itself": 1, "before": 1, "after": 1 / 2, "both": 1 / 3, "all words": forwards["all words"]}
    assert forwards["all words"] < 0.9
    everything = lesson["training"] + lesson["held_out"]
    backwards = lesson["forward_limit"]([tuple(part[::-1] for part in s) for s in everything])
    assert backwards["after"] == 1 and backwards["both"] < 1 and backwards["before"] < 1


def test_the_limit_counts_the_best_single_answer(lesson):
    """After `a` there is X twice and Y once: two of three at best; the rest is known. Five of six in all."""
    ends = [("X", "b"), ("X", "c"), ("Y", "d")]
    sentences = [(("a", word), (tag, "P"), ("after", "itself")) for tag, word in ends]
    assert lesson["forward_limit"](sentences) == {"after": 2 / 3, "itself": 1, "all words": 5 / 6}

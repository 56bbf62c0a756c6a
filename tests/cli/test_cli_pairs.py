"""Pairs from the command line: trained, gone on with, translated, measured, looked at; and every mistake explained."""

import json
import math
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from tiny_commands import minirnn_process, without_matplotlib

from minirnn.cli import main, tasks
from minirnn.cli.evaluate import bleu
from minirnn.decoding import translate
from minirnn.testing import strict_cupy
from minirnn.text import PAD, PairStream, generated, read_pairs
from minirnn.training import evaluate, load
from minirnn.training.sealed import read_sealed

ARTICLE = generated("article").train
SIZES = {"hidden": 16, "embed": 16, "batch-size": 8, "units": "words", "lr": 0.02, "log-every": 5, "patience": 0}
SMALL = ["--backend=numpy", *(f"--{name}={value}" for name, value in SIZES.items())]
HOSTILE = "hello <b>$x$\x1b[31m</b>"


@pytest.fixture(scope="session")
def translator(tmp_path_factory):
    """The directory of a run that has learned the article's pairs, from a TSV file beside it. Not to be changed."""
    folder = tmp_path_factory.mktemp("translator")
    write(folder / "pairs.tsv", ARTICLE)
    words = ["train-seq2seq", str(folder / "pairs.tsv"), "-o", str(folder / "run"), *SMALL, "--feed=output"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minirnn.cli.running.learning_curve", without_matplotlib)
        assert main([*words, "--val-split=0", "--epochs=25", "--batch-size=2", "--sample-every=50", "--json"]) == 0
    return folder / "run"


@pytest.fixture
def stdin(monkeypatch):
    def is_now(text):
        monkeypatch.setattr("minirnn.cli.translate.read_source", lambda name: {"-": text}[name])

    return is_now


def write(path, pairs):
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs), encoding="utf-8")
    return path


def files_of(run):
    return {path.name: path.read_bytes() for path in run.iterdir()}


# --- training --------------------------------------------------------------------------------------------------------


def test_a_run_keeps_its_files_and_shows_what_it_translates(translator):
    assert set(files_of(translator)) == {
        *("last.npz", "last.previous.npz", "best.npz", "log.jsonl", "samples.txt", "config.toml")
    }
    samples = (translator / "samples.txt").read_text().split("=== step 100 ===\n")[1].splitlines()
    assert samples[:3] == ["< hello", "> bonjour", "= bonjour"] and len(samples) == 16
    assert load(translator).config["feed"] == "output"


def test_every_setting_reaches_the_model(cli, tmp_path):
    flags = ["--attention=additive", "--input-feeding", "--no-bidirectional", "--units=chars", "--vocab-size=20"]
    flags += ["--label-smoothing=0.1", "--dropout=0.2", "--cell=gru", "--layers=2", "--tie-embeddings"]
    words = ["--generated=reversal", "-o", tmp_path / "run", *SMALL, *flags, "--steps=1", "--teacher-forcing=1:0.5"]
    assert cli("train-seq2seq", *words).code == 0
    model = load(tmp_path / "run")
    expected = {"attention": "additive", "feed": "output", "bidirectional": False, "label_smoothing": 0.1}
    expected |= {"dropout": 0.2, "cell": "gru", "num_layers": 2, "tie_embeddings": True, "hidden_size": 16, "seed": 1}
    assert expected.items() <= model.config.items()
    assert model.source_vocabulary.units == "chars" and len(model.source_vocabulary) <= 20


def test_validation_is_on_the_file_given(cli, tmp_path):
    train, valid = write(tmp_path / "train.tsv", ARTICLE), write(tmp_path / "valid.tsv", ARTICLE[2:5])
    words = ["train-seq2seq", train, "-o", tmp_path / "run", *SMALL, "--valid", valid, "--epochs=2", "--json"]
    result = cli(*words)
    epochs = [json.loads(line) for line in result.out.splitlines()]
    losses = [record["val_loss"] for record in epochs if record["event"] == "epoch"]
    model = load(tmp_path / "run" / "last.npz")
    vocabularies = model.source_vocabulary, model.target_vocabulary
    assert losses[-1] == evaluate(model, PairStream(ARTICLE[2:5], *vocabularies, 8))
    assert "validation  3 pairs\n" in result.err


def test_gone_on_with_a_run_comes_to_the_same_bits(cli, tmp_path):
    pairs = write(tmp_path / "pairs.tsv", [*ARTICLE, *(pair[::-1] for pair in ARTICLE)])
    words = ["train-seq2seq", pairs, *SMALL, "--val-split=0.2", "--teacher-forcing=0.5", "--dropout=0.2"]
    assert cli(*words, "-o", tmp_path / "whole", "--steps=11").code == 0
    for steps in (2, 7, 11):  # an epoch has two
        assert cli(*words, "-o", tmp_path / "parts", f"--steps={steps}", "--resume").code == 0
    whole, parts = (tmp_path / name for name in ("whole", "parts"))
    arrays, others = (read_sealed(run / "last.npz")[0] for run in (whole, parts))
    assert arrays.keys() == others.keys() and all(np.array_equal(arrays[name], others[name]) for name in arrays)
    for name in ("log.jsonl", "config.toml"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()
    assert cli("train-seq2seq", "--resume", "-o", tmp_path / "parts", "--steps=12").code == 0  # all from config.toml


def test_a_dry_run_checks_the_gradient_of_a_translator_and_writes_nothing(cli, tmp_path, monkeypatch):
    checked = []
    original = tasks.check_seq2seq
    monkeypatch.setattr(tasks, "check_seq2seq", lambda *settings: checked.append(settings) or original(*settings))
    words = ["--generated=article", "-o", tmp_path / "run", *SMALL, "--attention=none", "--cell=rnn", "--dry-run"]
    result = cli("train-seq2seq", *words)
    assert result.code == 0 and "agree with numbers" in result.out and "bits per token; 4.248 is" in result.out
    assert checked == [("rnn", "none", "nothing", {})] and not (tmp_path / "run").exists()


def test_one_batch_is_learned_by_heart(cli):
    result = cli("train-seq2seq", "--generated=article", *SMALL, "--overfit", "--dropout=0.5", "--label-smoothing=0.1")
    assert result.code == 0 and result.out.startswith("learned: the loss fell from")
    assert "one batch of 23 tokens" in result.err


def test_pairs_that_are_too_long_are_counted(cli, tmp_path):
    result = cli("train-seq2seq", "--generated=article", "-o", tmp_path / "run", *SMALL, "--steps=1", "--max-length=2")
    assert result.code == 0 and "pairs       6, and 2 left out as too long; tokens (words) of each side: " in result.err


def test_a_model_that_can_translate_nothing_has_diverged(cli, tmp_path, monkeypatch):
    def diverged(*arguments, **settings):
        raise ValueError("logits must be finite")

    monkeypatch.setattr("minirnn.cli.tasks.translate", diverged)
    result = cli("train-seq2seq", "--generated=article", "-o", tmp_path / "run", *SMALL, "--steps=3")
    assert result.code == 1 and "step 1: logits must be finite" in result.err.splitlines()[-1]


def test_a_run_on_the_gpu_is_a_run(cli, tmp_path):
    """On the strict fake: trained, sampled, saved, resumed, translated and evaluated there."""
    run, gpu = tmp_path / "run", ["--backend", "cupy"]
    with strict_cupy():
        words = ["--generated=article", "-o", run, *SMALL, *gpu, "--teacher-forcing=0.5", "--dropout=0.1"]
        result = cli("train-seq2seq", *words, "--steps=1")
        assert result.code == 0, result.err
        assert cli("train-seq2seq", "-o", run, "--resume", "--steps=2").code == 0
        assert cli("translate", run, "hello", "how are you", *gpu, "--attention-plot", tmp_path / "a.html").code == 0
        assert cli("evaluate", run, "--generated=article", *gpu).code == 0
    assert cli("inspect", run).code == 0


# --- translating -----------------------------------------------------------------------------------------------------


def test_translations_of_texts(cli, translator):
    result = cli("translate", translator, *(source for source, _ in ARTICLE))
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [target for _, target in ARTICLE]


def test_a_line_out_for_each_line_in(cli, translator, stdin):
    stdin("hello\n\nthank you\n  \n")
    assert cli("translate", translator).out == "bonjour\n\nmerci\n\n"
    records = [json.loads(line) for line in cli("translate", translator, "--json").out.splitlines()]
    assert [(record["source"], record["text"]) for record in records] == [
        *(("hello", "bonjour"), ("", ""), ("thank you", "merci"), ("", ""))
    ]


def test_stdin_of_a_process(translator):
    process = minirnn_process("translate", translator, stdin=subprocess.PIPE)
    assert process.communicate("\ufeffhello\r\ngood night\r\n", timeout=60) == ("bonjour\nbonne nuit\n", "")
    assert process.returncode == 0


def test_scores_and_more_than_one(cli, translator):
    options = ["--n-best=3", "--beam=4", "--length-penalty=0.5", "--coverage-penalty=0.1", "--max-length=9"]
    texts = ["hello", "good morning"]
    wanted = translate(
        load(translator), texts, 4, n_best=3, length_penalty=0.5, coverage_penalty=0.1, max_length=9, block_ngrams=2
    )
    result = cli("translate", translator, *texts, *options, "--block-ngrams=2", "--scores")
    shown = [line.split("\t") for line in result.out.splitlines()]
    flat = [each for best in wanted for each in (best, *best.others)]
    assert shown == [[f"{each.hypothesis.score:.4f}", each.text] for each in flat] and len(flat) == 6
    records = [json.loads(line) for line in cli("translate", translator, *texts, *options, "--json").out.splitlines()]
    assert [record["text"] for record in records] == [best.text for best in wanted]
    assert records[0]["log_probability"] == pytest.approx(wanted[0].hypothesis.log_probability)
    assert [other["text"] for other in records[0]["others"]] == [other.text for other in wanted[0].others]


def test_what_the_model_does_not_know_is_named_and_what_was_cut_is_counted(cli, translator):
    result = cli("translate", translator, "hello 大\x1b[31m bob", "--max-length=1", "--replace-unknown")
    assert result.code == 0 and "\x1b" not in result.err
    assert "the model does not know 2 of the tokens: '大\\x1b[31m', 'bob'" in result.err
    cut = cli("translate", translator, "how are you", "--max-length=1")
    assert cut.err == "1 of 1 translations came to no end and were cut; see --max-length\n"


def test_a_source_longer_than_anything_seen(cli, translator):
    result = cli("translate", translator, "hello " * 500, "--max-length=7", "--beam=2", "--json")
    assert result.code == 0 and len(json.loads(result.out)["text"].split()) <= 7


def test_a_translation_stays_on_its_line(cli, translator, monkeypatch):
    monkeypatch.setattr("minirnn.text.tokens.TokenVocabulary.decode", lambda *arguments: "a\nb")
    assert cli("translate", translator, "hello", "hello").out == "a b\na b\n"


class Texts(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_where_the_model_looked_as_a_page(cli, translator, tmp_path):
    result = cli("translate", translator, HOSTILE, "thank you", "--attention-plot", tmp_path / "a.html")
    assert result.code == 0 and f"written: {tmp_path / 'a.html'}" in result.err
    page = Texts((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert page.tags.count("section") == 2 and "b" not in page.tags
    assert "<b>$x$\\x1b[31m</b>" in page.text and "merci" in page.text


def test_where_the_model_looked_as_a_picture(cli, translator, tmp_path):
    pytest.importorskip("matplotlib")
    for name, magic in {"a.png": b"\x89PNG", "a.svg": b"<?xml", "a.pdf": b"%PDF"}.items():
        assert cli("translate", translator, HOSTILE, "--attention-plot", tmp_path / name).code == 0
        assert (tmp_path / name).read_bytes().startswith(magic)


def test_a_picture_without_matplotlib(cli, translator, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = cli("translate", translator, "hello", "--attention-plot", tmp_path / "a.png")
    assert result.code == 2 and "pip install matplotlib" in result.err and "F.html needs none" in result.err
    assert result.out == "bonjour\n" and not list(tmp_path.iterdir())


# --- measuring -------------------------------------------------------------------------------------------------------


def test_numbers_of_an_evaluation(cli, translator, tmp_path):
    pairs = [*ARTICLE[:6], ("hello", "merci beaucoup bob"), ("good night", "bonne  nuit "), ("welcome", "a b c d")]
    found = json.loads(cli("evaluate", translator, write(tmp_path / "p.tsv", pairs), "--beam=3", "--json").out)
    model = load(translator)
    stream = PairStream(pairs, model.source_vocabulary, model.target_vocabulary, 4)
    assert (found["pairs"], found["tokens"]) == (9, sum(len(target.split()) + 1 for _, target in pairs))
    assert found["unknown_tokens"] == 2 + 4
    assert found["nats"] == pytest.approx(evaluate(model, stream), rel=1e-5)
    assert found["bits"] == pytest.approx(found["nats"] / math.log(2))
    assert found["perplexity"] == pytest.approx(math.exp(found["nats"]))
    right = 0
    for _, sources, targets in stream.in_order():
        likeliest = model(sources, targets).numpy().argmax(axis=-1)
        right += np.sum((likeliest == targets) & (targets != PAD))
    assert found["token_accuracy"] == pytest.approx(right / found["tokens"])
    assert found["exact_match"] == pytest.approx(7 / 9)  # six, and the one with more white space


def test_bleu_is_that_of_sacrebleu(cli, translator, tmp_path):
    sacrebleu = pytest.importorskip("sacrebleu")
    pairs = [("how are you", "comment allez vous hier ."), ("i love you", "je t aime")]
    found = json.loads(cli("evaluate", translator, write(tmp_path / "p.tsv", pairs), "--json").out)
    made = [each.text for each in translate(load(translator), [source for source, _ in pairs])]
    expected = sacrebleu.corpus_bleu(made, [[target for _, target in pairs]], tokenize="none", force=True)
    assert found["bleu"] == pytest.approx(expected.score) and "tok:none" in found["bleu_signature"]
    assert bleu(["a b c d e"], ["a b c d e"])["bleu"] == pytest.approx(100)


def test_an_evaluation_for_people(cli, translator, tmp_path, monkeypatch):
    result = cli("evaluate", translator, "--generated=article")
    assert result.err == "translating 8 sources, beam 5\n"
    names = ["pairs", "tokens", "nats", "bits", "perplexity", "accuracy", "exact", "BLEU"]
    assert [line.split()[0] for line in result.out.splitlines()] == names
    assert "exact       100.00% of translations" in result.out and "no target has four" in result.out
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    pairs = write(tmp_path / "p.tsv", [("hello", "a b c d")])
    assert "pip install '.[bleu]' in the sources of minirnn" in cli("evaluate", translator, pairs).out
    assert json.loads(cli("evaluate", translator, pairs, "--json").out)["bleu"] is None


def test_inspect_shows_both_vocabularies_and_the_run(cli, translator):
    found = json.loads(cli("inspect", translator, "--json").out)
    assert (found["kind"], found["path"]) == ("seq2seq", str(translator / "best.npz"))
    assert found["training"] == read_sealed(translator / "last.npz")[1]["training"]
    shown = cli("inspect", translator).out
    assert "source      16 tokens (words), such as you good" in shown and "target      19 tokens (words)" in shown
    assert "best" in shown and "bits per token" in shown and "batches     2 pairs" in shown
    assert "step        100, after 25 whole epochs" in shown


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty; expected on every line a source, a tab and a target"),
        (b"a\tb\nc\n", "line 2 has 1 column; expected two"),
        (b"a\tb\nc\td\te\n", "line 2 has 3 columns; expected two"),
        (b"a\tb\n\td\n", "line 2 has an empty source"),
        (b"a\tb\nc\t  \n", "line 2 has an empty target"),
        (b"a\t" + b"x " * 10_000, "line 1 has a target of 20,000 characters; at most 10,000"),
        (b"a\tb\nc\t\xff\n", "is not UTF-8 (byte 0xff at byte 6: invalid start byte, line 2)"),
        (b"a\tb\0\n", "is a binary file (NUL at byte 3, line 1)"),
        (b"a\tb\n", "val_split 0.05 holds out 0 of 1 pairs"),
    ],
)
def test_bad_pairs(cli, translator, tmp_path, content, message):
    (tmp_path / "bad.tsv").write_bytes(content)
    words = [["train-seq2seq", tmp_path / "bad.tsv", "-o", tmp_path / "run", *SMALL]]
    if "val_split" not in message:
        words.append(["evaluate", translator, tmp_path / "bad.tsv"])
        good = write(tmp_path / "good.tsv", ARTICLE)
        words.append(["train-seq2seq", good, "-o", tmp_path / "run", "--valid", tmp_path / "bad.tsv"])
    for one in words:
        result = cli(*one)
        assert (result.code, result.out) == (3, "") and message in result.message
    assert not (tmp_path / "run").exists()


def test_a_byte_order_mark_and_carriage_returns_are_no_mistake(cli, tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_bytes("\ufeffhello\tbonjour\r\ngoodbye\tau revoir\r\n".encode())
    assert read_pairs(path) == [("hello", "bonjour"), ("goodbye", "au revoir")]
    assert cli("train-seq2seq", path, "-o", tmp_path / "run", *SMALL, "--val-split=0", "--steps=1").code == 0
    assert load(tmp_path / "run").source_vocabulary.tokens == ("goodbye", "hello")


USAGE = [
    (["train-seq2seq", "-o", "NEW"], "name the pairs to train on"),
    (["train-seq2seq", "PAIRS"], "say where the run may keep its files: minirnn train-seq2seq TSV -o DIR"),
    (["train-seq2seq", "PAIRS", "-o", "NEW", "--generated=dates"], "give TSV or --generated, not both"),
    (["train-seq2seq", "PAIRS", "-o", "NEW", "--valid=x", "--val-split=.1"], "give --valid or --val-split, not both"),
    (["train-seq2seq", "-o", "NEW", "--generated=poems"], "--generated: must be one of english-french"),
    (["train-seq2seq", "PAIRS", "-o", "NEW", "--units=bits"], "--units: must be one of words, chars, bpe"),
    (["train-seq2seq", "PAIRS", "-o", "NEW", "--vocab-size=100"], "--vocab-size must be at least 260 for byte pairs"),
    (["train-seq2seq", "PAIRS", "-o", "NEW", "--attention=self"], "--attention: must be one of dot, scaled_dot"),
    (["train-seq2seq", "PAIRS", "-o", "NEW", "--attention=none", "--input-feeding"], "--feed must be nothing without"),
    (
        ["train-seq2seq", "PAIRS", "-o", "NEW", "--input-feeding", "--feed=context"],
        "give --input-feeding or --feed, not",
    ),
    (["train-seq2seq", "PAIRS", "-o", "NEW", "--context=mean"], "--context must be last with attention, got mean"),
    (["train-seq2seq", "PAIRS", "-o", "NEW", "--teacher-forcing=2"], "--teacher-forcing: must be a share from 0 to 1"),
    (["train-seq2seq", "PAIRS", "-o", "NEW", "--teacher-forcing=a:b"], "--teacher-forcing: must be a share"),
    (["train-seq2seq", "PAIRS", "-o", "NEW", "--label-smoothing=1"], "--label-smoothing: must be a number of at"),
    (["train-seq2seq", "PAIRS", "-o", "NEW", "--tie-embeddings", "--embed=3"], "--embed and --hidden"),
    (["train-seq2seq", "PAIRS", "-o", "RUN"], "holds another run"),
    (["translate", "RUN", "hello", "--beam=0"], "--beam: must be an integer of at least 1, got '0'"),
    (["translate", "RUN", "hello", "--length-penalty=-1"], "--length-penalty: must be a number of at least 0"),
    (
        ["translate", "RUN", "hello", "--length-penalty=10"],
        "--length-penalty: must be a number of at least 0",
    ),
    (["translate", "RUN", "hello", "--coverage-penalty=nan"], "--coverage-penalty: must be a number"),
    (["translate", "RUN", "hello", "--n-best=6"], "n_best must be at most beam, which is 5, got 6"),
    (["translate", "RUN", "hello", "--scores", "--json"], "--scores has no effect with --json: every object holds its"),
    (["translate", "RUN", "hello", "--max-length=0"], "--max-length: must be an integer of at least 1"),
    (
        ["translate", "RUN", "hello", "--attention-plot=a.gif"],
        "--attention-plot: must end in .png, .svg, .pdf or",
    ),
    (["translate", "RUN", "hello", "--attention-plot=no/where.png"], "must be in a directory that exists"),
    (["translate", "RUN", "a", "b", "--attention-plot=a.png"], "a picture shows one translation, got 2 texts"),
    (["translate", "BARE", "hello"], "has no vocabulary, so it cannot read text"),
    (["translate", "BLIND", "hello", "--replace-unknown"], "--replace-unknown needs a model that attends"),
    (["translate", "BLIND", "hello", "--coverage-penalty=1"], "--coverage-penalty needs a model that attends"),
    (["translate", "BLIND", "hello", "--attention-plot=a.html"], "--attention-plot needs a model that attends"),
    (["evaluate", "BLIND", "PAIRS", "--coverage-penalty=1"], "--coverage-penalty needs a model that attends"),
    (["evaluate", "RUN"], "name the data"),
    (["evaluate", "RUN", "PAIRS", "--generated=dates"], "give DATA or --generated, not both"),
    (["evaluate", "RUN", "PAIRS", "--unknown=skip"], "--unknown belongs to models of characters"),
    (
        ["evaluate", "TEXTRUN", "PAIRS", "--beam=2"],
        "--beam belongs to models that translate; this one is of characters",
    ),
    (["evaluate", "TEXTRUN", "--generated=dates"], "is a model of characters: give a text"),
    (["evaluate", "BARE", "PAIRS"], "has no vocabulary, so it cannot read text"),
]


@pytest.mark.parametrize("words, message", USAGE)
def test_usage(cli, translator, finished_run, tmp_path, words, message):
    from minirnn import Seq2Seq, save

    model = load(translator)
    save(Seq2Seq(9, 9, 4, 4), tmp_path / "bare.npz")
    save(Seq2Seq(model.source_vocabulary, model.target_vocabulary, 4, 4, attention="none"), tmp_path / "blind.npz")
    places = {"RUN": translator, "TEXTRUN": finished_run, "PAIRS": translator.parent / "pairs.tsv"}
    places |= {"NEW": tmp_path / "new", "BARE": tmp_path / "bare.npz", "BLIND": tmp_path / "blind.npz"}
    before = files_of(translator)
    result = cli(*(places.get(word, word) for word in words))
    assert (result.code, result.out) == (2, "") and message in result.message
    assert files_of(translator) == before and not (tmp_path / "new").exists()


def test_an_empty_text_is_bad_data(cli, translator):
    result = cli("translate", translator, "hello", " ")
    assert (
        result.code == 3
        and "TEXT 2 holds no token: there is nothing to translate in ' '; leave it out" in result.message
    )


@pytest.mark.parametrize(
    "words",
    [
        ["translate", "TEXTRUN", "hello"],
        ["generate", "RUN"],
        ["lens", "flow", "RUN", "--text", "TSV"],
        ["train", "TSV", "-o", "RUN", "--resume"],
        ["train-seq2seq", "TSV", "-o", "TEXTRUN", "--resume"],
    ],
)
def test_a_checkpoint_of_another_kind(cli, translator, finished_run, words):
    places = {"RUN": translator, "TEXTRUN": finished_run, "TSV": translator.parent / "pairs.tsv"}
    before = files_of(translator), files_of(finished_run)
    result = cli(*(places.get(word, word) for word in words))
    assert result.code == 4 and ".npz: of kind " in result.message and "is wanted" in result.message
    assert (files_of(translator), files_of(finished_run)) == before

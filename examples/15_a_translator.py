# %% [markdown]
# # A translator
#
# One network reads a sentence, another writes its translation: an encoder, a decoder, and attention between them. Here
# all parts are those of the library. What is left to say is which pairs there are, what a token is, and how to search.
#
# **You will see** eight phrases learned by heart in seconds. Then, of a small grammar of English and French, more than
# 400 of 500 sentences translated without a mistake, though their adjectives never stood beside these nouns in training.
# And what the decoder looks at: French puts colours behind the noun, and whenever one is written, its eyes jump back to
# where it stood in English, 99 times of 100 at least.

# %%
import os

import numpy as np

import minirnn as mr
from minirnn import lens
from minirnn.training import cosine

# %% [markdown]
# A pair is two strings. A vocabulary gives tokens numbers, words here (`"chars"` and byte pairs, `"bpe"`, are the
# other units), and a stream makes batches of sentences of about one length. The decoder is told each true word before
# it guesses the next (teacher forcing), so that a batch is one pass there and one back, as for any other network.


# %%
def trained(pairs, size, epochs, batch_size=64, lr=8e-3, **options):
    sources, targets = (mr.TokenVocabulary.learn(texts, "words") for texts in zip(*pairs, strict=True))
    stream = mr.PairStream(pairs, sources, targets, batch_size)
    model = mr.Seq2Seq(sources, targets, embedding_size=size, hidden_size=size, seed=1, **options)
    steps = epochs * stream.batches_per_epoch
    mr.fit(model, stream, steps=steps, lr=lr, clip_norm=1.0, schedule=cosine(steps, floor=0.02))
    return model


phrases = mr.generated("article").train
small = trained(phrases, size=32, epochs=120, batch_size=8, lr=1e-2)
written = [translation.text for translation in mr.translate(small, [source for source, _ in phrases], beam=3)]
for (source, target), text in zip(phrases, written, strict=True):
    print(f"{source:13} -> {text:18} {'right' if text == target else f'WRONG: {target}'}")
by_heart = sum(text == target for (_, target), text in zip(phrases, written, strict=True))

# %% [markdown]
# Learning by heart proves little. The grammar generates some thousands of sentences, and its test asks for pairs of
# noun and adjective that never occurred in training: "voitures bleues" can only be written by a model that knows that
# cars are feminine, that there are several, and that the colour follows the noun. What the decoder has put out is fed
# to its next step (`feed="output"`, Luong et al. 2015), so that it knows what it has looked at already.

# %%
data = mr.generated("english-french")
model = trained(data.train, size=48, epochs=4, feed="output")
translations = mr.translate(model, [source for source, _ in data.test], beam=1)
right = [translation.text == target for translation, (_, target) in zip(translations, data.test, strict=True)]
print(f"{sum(right)} of {len(right)} sentences right to the last letter")
for translation, (_, target), ok in list(zip(translations, data.test, right, strict=True))[:6]:
    print(f"{translation.source}\n  {translation.text}{'' if ok else f'   WRONG: {target}'}")

# %% [markdown]
# Each step of the decoder has a row of weights over the words that were read. Where is the largest one when a colour
# is written?

# %%
COLOURS = {"blue": "bleu", "white": "blanc", "black": "noir", "red": "roug"}
found = []
for translation in translations:
    read, wrote = translation.source.split(), translation.text.split()
    for colour, beginning in COLOURS.items():
        at = [t for t, word in enumerate(wrote) if word.startswith(beginning)]
        if read.count(colour) == len(at) == 1:
            found.append(translation.hypothesis.attention[at[0]].argmax() == read.index(colour))
looked = np.mean(found)
print(f"{looked:.0%} of {len(found)} colours were looked at when they were written")
crossing = next(t for t, ok in zip(translations, right, strict=True) if ok and " red " in t.source)
seen = lens.attention(model, crossing)
print(seen)

# %%
if pictures := os.environ.get("MINIRNN_PICTURES"):
    lens.plot(seen, f"{pictures}/15_attention.png")

# %% [markdown]
# **To try.** Leave `feed="output"` away: the decoder is no longer told where it has looked. Guess first: how many
# sentences are right now? (The words of this grammar come in almost the order of English.) And how many more does a
# beam of 4 bring?

# %% [markdown]
# # A character model, trained by the plain loop
#
# Loss, backward, clip, step: this is all that training is. `mr.fit` does the same and adds validation, checkpoints and
# a log.
#
# **You will see** a model write noise before it is trained, and its two sentences after thirty epochs. Its loss falls
# from 4.6 bits per character, as many as a guess among all 25 characters costs, to less than 0.05.

# %%
import math

import minirnn as mr

text = (
    "Deep learning is a subset of machine learning that uses neural networks with many layers. These networks can "
    "learn hierarchical representations of data. "
) * 20
stream = mr.TextStream(text, seq_len=40, batch_size=8)
lm = mr.CharLM(stream.vocabulary, embedding_size=32, hidden_size=96, seed=1)
print(f"{len(text)} characters, {len(stream.vocabulary)} different ones")
before = mr.generate(lm, "Deep learning", length=60, seed=1)
untrained = lm.loss(*stream.batch(epoch=0, k=0))[0].item() / math.log(2)
print(f"before, at {untrained:.2f} bits per character:", repr(before))

# %% [markdown]
# The text is cut into eight lanes, one for each column of the batch. The state is carried from one window of a lane to
# the next, but detached from the tape: gradients flow back through 40 steps at most, while the state remembers more.
# That is truncated BPTT (lesson 9).

# %%
optimizer, curve = mr.Adam(lm.parameters(), lr=5e-3), []
for epoch in range(30):
    state, total = None, 0.0
    for k in range(stream.batches_per_epoch):
        inputs, targets = stream.batch(epoch, k)
        loss, state = lm.loss(inputs, targets, state)
        optimizer.zero_grad()
        loss.backward()
        norm = mr.clip_grad_norm_(lm.parameters(), 5.0)
        optimizer.step()
        total += loss.item()
    curve.append(total / stream.batches_per_epoch / math.log(2))
    if epoch in (0, 1, 4, 9, 19, 29):
        print(f"epoch {epoch + 1:2d}  {curve[-1]:.2f} bits per character  gradient norm {norm:.2f}")

# %%
after = mr.generate(lm, "Deep learning", length=100, temperature=0.5, seed=1)
print(f"after, at {curve[-1]:.2f} bits per character:", repr(after))

# %% [markdown]
# So it has learned its text by heart: there is nothing else to learn from two sentences. With a longer text, what
# counts is the loss on a part that it has not read, and `mr.fit(..., val_split=0.05)` keeps one aside.

# %% [markdown]
# **To try.** Do not carry the state: `loss, _ = lm.loss(inputs, targets)`. How far does the curve come down now, and
# what can nobody know at the beginning of a window? And write with `temperature=3.0`: what has become of the words?

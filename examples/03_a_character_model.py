# %% [markdown]
# # A character model, trained by the plain loop
#
# Loss, backward, clip, step: this is all that training is. `mr.fit` does the same and adds validation, checkpoints and
# a log.

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
print("before:", repr(mr.generate(lm, "Deep learning", length=60, seed=1)))

# %% [markdown]
# The text is cut in eight lanes. The state is carried from one window of a lane to the next, detached: gradients flow
# through 40 steps, the memory reaches further.

# %%
optimizer = mr.Adam(lm.parameters(), lr=5e-3)
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
    bits = total / stream.batches_per_epoch / math.log(2)
    if epoch % 5 == 4:
        print(f"epoch {epoch + 1:2d}  {bits:.2f} bits per character  gradient norm {norm:.2f}")
assert bits < 1, "thirty epochs teach it this text"

# %%
print("after: ", repr(mr.generate(lm, "Deep learning", length=100, temperature=0.5, seed=1)))

# %% [markdown]
# # A time series, online
#
# A meter is read every hour, and each time we must say what the next hour brings. The future is not known, and the past
# need not be looked up again: all that a recurrent network keeps of it is its state.
#
# **You will see** that one step at a time gives the very forecasts that the whole series gives at once, to the last
# digits. A GRU of 32 units errs less than six tenths as much as *persistence* ("as it is now"), and less than a fifth
# as much as the *seasonal naive* forecast ("as yesterday at this hour"). A line fitted to the last two days is a harder
# opponent: it is beaten, but not by much. Nobody could be better than the noise, and we know how large that is.

# %%
import numpy as np

import minirnn as mr
from minirnn import nn

DAYS, TRAINING_DAYS, NOISE = 150, 120, 0.4

# %% [markdown]
# The series is made up, so that the best possible error is known. It is low at night, rises in the morning to a
# plateau, high on a working day and low on a quiet one, and falls in the evening. Which day it is, is drawn at random,
# and the first hours of the morning tell. On top lies a drift that forgets a tenth of itself every hour and gains some
# noise. A forecast that knew everything but this noise would have the least error there can be.

# %%
rng = np.random.default_rng(0)
hours = np.arange(24 * DAYS)
height = np.where(rng.random(DAYS) < 0.6, 12.0, 2.0)
noise = NOISE * rng.standard_normal(hours.size)
drift = np.zeros(hours.size)
for t in hours[1:]:
    drift[t] = 0.9 * drift[t - 1] + noise[t]
series = 20 + height[hours // 24] * np.clip(0.5 - 1.5 * np.cos(2 * np.pi * hours / 24), 0, 1) + drift

split = 24 * TRAINING_DAYS  # forecasts for later hours are judged; all that is learned is learned before
mean, std = series[:split].mean(), series[:split].std()  # of the training days alone: the rest is the future
scaled = (series - mean) / std

# %% [markdown]
# Training: eight lanes of fifteen days, windows of three days, the state carried on and detached (lesson 9).


# %%
gru, readout = nn.GRU(1, 32, dtype="float64", seed=1), nn.Linear(32, 1, dtype="float64", seed=2)
parameters = [*gru.parameters(), *readout.parameters()]
optimizer = mr.Adam(parameters, lr=1e-2)
lanes = scaled[:split].reshape(8, -1).T[:, :, None]  # (hours, lanes, 1)
for _ in range(60):
    state = None
    for start in range(0, len(lanes) - 1, 72):
        window = lanes[start : start + 73]
        out, state = gru(window[:-1], state)
        loss = mr.ops.mean_squared_error(readout(out), window[1:])
        state = state.detach()
        optimizer.zero_grad()
        loss.backward()
        mr.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

# %% [markdown]
# Now the meter runs. Each hour the network reads one number, keeps its state, and says what comes next.

# %%
online, state = [], None
with mr.no_grad():
    for value in scaled[:-1]:
        out, state = gru(np.full((1, 1, 1), value), state)
        online.append(readout(out).item() * std + mean)
    whole, _ = gru(scaled[:-1].reshape(-1, 1, 1))
    at_once = readout(whole).numpy().ravel() * std + mean
apart = np.abs(np.array(online) - at_once).max()
print(f"{len(online)} forecasts, one at a time and all at once: at most {apart:.1e} apart")

# %% [markdown]
# The opponents. The line is least squares: a weight for each of the last 48 hours, fitted to the training days.

# %%
past = np.lib.stride_tricks.sliding_window_view(series[:-1], 48)  # row k: the 48 hours before hour k + 48
past = np.column_stack([past, np.ones(len(past))])
line, *_ = np.linalg.lstsq(past[: split - 48], series[48:split], rcond=None)
forecasts = {
    "as yesterday at this hour": series[split - 24 : -24],
    "as it is now": series[split - 1 : -1],
    "a line through two days": past[split - 48 :] @ line,
    "the GRU, online": online[split - 1 :],
    "whoever knows all but the noise": series[split:] - noise[split:],
}
errors = {name: float(np.abs(series[split:] - forecast).mean()) for name, forecast in forecasts.items()}
print(f"mean error over the last {DAYS - TRAINING_DAYS} days")
for name, error in errors.items():
    print(f"  {name:32s}{error:6.3f}  {'#' * round(20 * error)}")

# %% [markdown]
# **To try.** Learn in windows of six hours, `window = lanes[start : start + 7]`, with 6 for the step of the range. The
# gradient reaches back no further than that, the state does. What is lost? And what, if each window begins with a
# state of zeros, `gru(window[:-1])`?

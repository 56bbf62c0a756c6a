"""The lens: what flows backward through time, in numbers, words and pictures.

`record` keeps one backward pass of a recurrent model, step by step, and every other function reads a recording. A
result prints as a text, becomes plain data by ``to_dict()``, and a picture by `plot` (matplotlib, the extra ``plot``).

| instrument | question |
|---|---|
| `flow` | how large is the gradient of the loss at every state on its way back: does it vanish or explode? |
| `lags` | over how many steps does the loss teach each weight? |
| `jacobian` | what does a change of the state become some steps later? |
| `gates` | which gates are open, closed, saturated? |
| `truncation` | where does the gradient point when BPTT is cut into windows? |
| `clipping` | how often, and in which direction, does clipping change a gradient? |
| `step` | what are the numbers in each formula of the backward pass, step by step? `step_page` makes a page of them |

Three pictures need no recording: `learning_curve`, of a training run, `v_curves`, of a gradient check, and `attention`,
of a translation: where did the model look while it wrote each token? `attention_page` makes a page of it.
"""

from minirnn.lens.attention import Attention, attention, attention_page
from minirnn.lens.clipping import Clipping, clipping
from minirnn.lens.flow import Flow, flow
from minirnn.lens.gates import Gates, gates
from minirnn.lens.jacobian import Jacobian, jacobian
from minirnn.lens.lags import Lags, lags
from minirnn.lens.learning_curve import learning_curve
from minirnn.lens.plotting import plot
from minirnn.lens.recording import Place, Recording, record
from minirnn.lens.specimens import specimen
from minirnn.lens.steps import Steps, step
from minirnn.lens.steps_page import step_page
from minirnn.lens.truncation import Truncation, truncation
from minirnn.lens.v_curves import v_curves

__all__ = [
    "Attention",
    "Clipping",
    "Flow",
    "Gates",
    "Jacobian",
    "Lags",
    "Place",
    "Recording",
    "Steps",
    "Truncation",
    "attention",
    "attention_page",
    "clipping",
    "flow",
    "gates",
    "jacobian",
    "lags",
    "learning_curve",
    "plot",
    "record",
    "specimen",
    "step",
    "step_page",
    "truncation",
    "v_curves",
]

"""Training: clipping, optimizers, schedules, the loop, and runs that can be stopped and gone on with."""

from minirnn.training.array_stream import ArrayStream
from minirnn.training.callbacks import Callback, EarlyStopping, PrintProgress
from minirnn.training.checkpoint import Checkpoint, RunDirectoryError
from minirnn.training.clipping import NonFiniteGradientError, clip_grad_norm_, clip_grad_value_
from minirnn.training.data_parallel import DataParallel
from minirnn.training.evaluating import evaluate
from minirnn.training.loop import DivergenceError, Trainer, fit
from minirnn.training.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from minirnn.training.protocol import Stream
from minirnn.training.saving import load, save
from minirnn.training.schedules import Plateau, cosine, exponential, inverse_sigmoid, linear, step_decay, warmup
from minirnn.training.sealed import CheckpointError

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "ArrayStream",
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "DataParallel",
    "DivergenceError",
    "EarlyStopping",
    "NonFiniteGradientError",
    "Optimizer",
    "Plateau",
    "PrintProgress",
    "RMSprop",
    "RunDirectoryError",
    "Stream",
    "Trainer",
    "clip_grad_norm_",
    "clip_grad_value_",
    "cosine",
    "evaluate",
    "exponential",
    "fit",
    "inverse_sigmoid",
    "linear",
    "load",
    "save",
    "step_decay",
    "warmup",
]

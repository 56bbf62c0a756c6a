"""The version of minirnn, for the package, for checkpoints, and for whoever asks."""

__version__ = "0.1.0"

"""Looking at training: pictures of what happened. They need matplotlib, the extra ``plot``."""

from minirnn.lens.learning_curve import learning_curve

__all__ = ["learning_curve"]

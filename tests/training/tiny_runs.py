"""What the tests of training train: a tiny model on a small text, five batches long."""

from minirnn import CharLM, TextStream

TEXT = "the cat sat on the mat; a dog ate the rat. " * 2


def tiny_stream(text=TEXT, seq_len=5, batch_size=3, **settings):
    return TextStream(text, seq_len, batch_size, **settings)


def tiny_model(stream, embedding_size=3, hidden_size=4, num_layers=2, seed=1, **settings):
    return CharLM(stream.vocabulary, embedding_size, hidden_size, num_layers, seed=seed, **settings)


def bits(holder):
    """Every bit of a model or an optimizer, by name."""
    return {name: array.tobytes() for name, array in holder.state_dict().items()}

"""The recorded graph: deep without recursion, freed at once without the garbage collector, and drawn as a picture."""

import gc
import re
import subprocess
import sys
import textwrap
import tracemalloc
import weakref

import numpy as np
import pytest

from minirnn import ops
from minirnn.tape import Node, Tensor, differentiable


@pytest.fixture
def without_gc():
    """The garbage collector off: what is freed is freed by reference counts alone."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


DEEP = """
import sys
from minirnn.tape import Tensor
from minirnn.nn import Module
x = Tensor(1.0, requires_grad=True)
sys.setrecursionlimit(200)
y = x
for _ in range({nodes}):
    {step}
y.backward(retain_graph=True)
assert float(x.grad) == {gradient}, x.grad
assert y.to_dot().count("->") == {edges}
del y
print("freed")
"""


@pytest.mark.parametrize(
    ("step", "nodes", "gradient", "edges"),
    [("y = -y", 100_000, "1.0", 100_000), ("y = y + x", 10_000, "10_001.0", 20_000)],
    ids=["a hundred thousand in a chain", "every node also uses the leaf"],
)
def test_deep_graphs_with_a_recursion_limit_of_200(step, nodes, gradient, edges):
    """In a process of its own, since what would go wrong is a crash of the interpreter."""
    code = textwrap.dedent(DEEP).format(step=step, nodes=nodes, gradient=gradient, edges=edges)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "freed\n"), done.stderr


def recurrence(x, W, steps=4):
    """A little recurrent net; its loss, and weak references to every array its pullbacks need."""
    h, made = x, []
    for _ in range(steps):
        h = (h @ W).tanh()
        made.append(weakref.ref(h.array))
    loss = ops.stack(h, h).sum()
    return loss, made


def test_dropping_the_loss_frees_the_graph_at_once(backend, without_gc):
    x, W = Tensor(np.ones((2, 3))), Tensor(np.eye(3), requires_grad=True)
    loss, made = recurrence(x, W)
    assert all(ref() is not None for ref in made)
    del loss
    assert [ref() for ref in made] == [None] * len(made)


def test_backward_frees_the_graph_even_while_the_loss_lives(backend, without_gc):
    x, W = Tensor(np.ones((2, 3))), Tensor(np.eye(3), requires_grad=True)
    loss, made = recurrence(x, W)
    loss.backward()
    assert [ref() for ref in made] == [None] * len(made)
    assert loss.item() != 0


def test_retained_graphs_stay_until_the_loss_goes(without_gc):
    x, W = Tensor(np.ones((2, 3))), Tensor(np.eye(3), requires_grad=True)
    loss, made = recurrence(x, W)
    loss.backward(retain_graph=True)
    assert all(ref() is not None for ref in made)
    del loss
    assert [ref() for ref in made] == [None] * len(made)


def test_what_a_pullback_saved_goes_with_it(without_gc):
    saved = []

    @differentiable
    def keeps(x):
        residual = np.ones(1000)

        def keeps_pullback(dy):
            return (dy * residual[0],)

        saved.append(weakref.ref(residual))
        return x * 1, keeps_pullback

    loss = keeps(Tensor(1.0, requires_grad=True))
    assert saved[0]() is not None
    loss.backward()
    assert saved[0]() is None


def test_2000_steps_do_not_grow_memory(without_gc):
    x, W = Tensor(np.ones((4, 8))), Tensor(np.eye(8), requires_grad=True)

    def steps(n):
        for _ in range(n):
            W.grad = None
            recurrence(x, W, steps=3)[0].backward()

    tracemalloc.start()
    steps(600)  # until free lists and caches are full
    before, _ = tracemalloc.get_traced_memory()
    steps(2000)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 10_000  # one step's tensors alone are more than that
    assert peak - before < 200_000


def test_no_node_points_at_its_outputs():
    x = Tensor([1.0], requires_grad=True)
    y = x * 2.0
    assert y.node.inputs[0].leaf is x
    assert not any(isinstance(ref, Tensor) and ref is y for ref in gc.get_referents(y.node))
    assert not any(isinstance(part, Node) for part in gc.get_referents(y.node))


# Pictures


def statements(dot):
    """The lines of a DOT file, checked against the little of its grammar that to_dot uses."""
    lines = dot.splitlines()
    assert lines[0] == "digraph {" and lines[-1] == "}"
    text = r'"(?:[^"\\]|\\.)*"'
    grammar = re.compile(rf"  (rankdir=LR|\w+ \[(shape=box, )?label={text}\]|\w+ -> \w+)")
    for line in lines[1:-1]:
        assert grammar.fullmatch(line), line
    return lines[1:-1]


def test_to_dot_shows_every_node_and_edge(backend):
    x, W = Tensor(np.ones((2, 3)), name="x"), Tensor(np.eye(3), requires_grad=True, name="W")
    y = x @ W
    lines = statements((y + y.tanh()).to_dot())
    labels = sorted(re.findall(r'label="(.*)"', "\n".join(lines)))
    assert labels == ["W (3, 3)", "add", "matmul", "tanh", "x (2, 3)"]
    assert sum("->" in line for line in lines) == 5
    defined = {line.split()[0] for line in lines if "label" in line}
    assert {end for line in lines if "->" in line for end in line.split(" -> ")} <= {
        f"  {d}" for d in defined
    } | defined


@pytest.mark.parametrize("name", ['say "W"', "back\\slash", 'end\\"', "ends in \\"])
def test_names_are_escaped(name):
    y = Tensor([1.0], requires_grad=True, name=name) * 2.0
    (line,) = [line for line in statements(y.to_dot()) if "(1,)" in line]
    shown = re.search(r'label="(.*)"\]', line)[1].replace('\\"', '"').replace("\\\\", "\\")
    assert shown == f"{name} (1,)"


def test_to_dot_of_a_leaf_and_of_a_freed_graph():
    x = Tensor([1.0], requires_grad=True)
    assert len(statements(x.to_dot())) == 2
    y = x * 2.0
    y.backward()
    assert len(statements(y.to_dot())) == 2


def test_the_tape_keeps_no_array_that_no_pullback_asked_for():
    x = Tensor(np.ones(3), requires_grad=True)
    between = x * 2.0  # the pullback of a sum needs a shape and no numbers
    array = weakref.ref(between.array)
    y = between.sum()
    del between
    assert array() is None
    y.backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]

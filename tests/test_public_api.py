"""The front door: every public name is there and explained, and importing them all costs little."""

import ast
import inspect
import subprocess
import sys
from importlib import import_module

import pytest

import minirnn
from minirnn import lens

HEAVY = ("torch", "cupy", "matplotlib", "hypothesis", "tqdm", "pytest", "IPython", "pandas", "scipy")
NAMES = [name for name in minirnn.__all__ if name != "__version__"]


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True, timeout=60).stdout


def test_the_list_of_names_has_no_double_and_no_private_one():
    assert len(set(minirnn.__all__)) == len(minirnn.__all__)
    assert not [name for name in NAMES if name.startswith("_")]


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_exists_and_has_a_docstring(name):
    thing = getattr(minirnn, name)
    assert inspect.getdoc(thing) and inspect.getdoc(thing) != inspect.getdoc(type(thing))
    if inspect.isclass(thing):
        assert thing.__doc__, f"{name} only inherits its docstring"


@pytest.mark.parametrize("package", [minirnn.nn, minirnn.training, minirnn.decoding, minirnn.checking, lens])
def test_what_the_packages_list_is_there_and_documented(package):
    for name in package.__all__:
        assert inspect.getdoc(getattr(package, name)), name


def test_the_index_of_operations_shows_them_and_nothing_else():
    assert dir(minirnn.ops) == sorted(minirnn.rules.__all__) == sorted(minirnn.ops.__all__)


@pytest.mark.parametrize("name", ["reshape", "transpose", "tanh", "sum", "any", "argmax"])
def test_help_of_a_method_says_its_own_name(name):
    method = getattr(minirnn.Tensor, name)
    assert method.__name__ == name and inspect.getdoc(method)
    assert method.__doc__ == getattr(minirnn.ops, name, method).__doc__


OBVIOUS = {  # their names and signatures say it all
    "eval", "forward", "load_state_dict", "parameters", "state_dict", "zero_grad",
    "on_start", "on_epoch", "on_step", "on_end", "update", "numpy",
}  # fmt: skip


@pytest.mark.parametrize("kind", [getattr(minirnn, n) for n in NAMES if inspect.isclass(getattr(minirnn, n))])
def test_public_methods_are_documented(kind):
    own = {name for name, f in vars(kind).items() if inspect.isfunction(f) and f.__module__ == kind.__module__}
    undocumented = {name for name in own if not name.startswith("_") and not inspect.getdoc(getattr(kind, name))}
    assert undocumented <= OBVIOUS


def test_every_name_that_the_package_promises_from_the_first_day_is_public():
    promised = (
        "Tensor use_backend no_grad differentiable gradcheck GradcheckError nn CharLM fit generate load save "
        "CheckpointError SGD RMSprop Adam AdamW clip_grad_norm_ clip_grad_value_"
    )
    assert set(promised.split()) <= set(minirnn.__all__)


def test_importing_brings_numpy_and_nothing_else_that_is_heavy():
    loaded = python("-c", "import sys, minirnn; print(*{name.partition('.')[0] for name in sys.modules})").split()
    assert "numpy" in loaded
    assert not set(HEAVY) & set(loaded)
    foreign = set(loaded) - set(sys.stdlib_module_names) - {"numpy", "minirnn"}
    assert not {name for name in foreign if not name.startswith(("_", "sitecustomize", "usercustomize"))}


def test_importing_loads_few_modules_besides_its_own():
    """What an import costs beside NumPy's, counted rather than timed: modules of the standard library."""
    count = "import sys, numpy; before = set(sys.modules); import minirnn; print(*(set(sys.modules) - before))"
    foreign = {name for name in python("-c", count).split() if not name.startswith("minirnn")}
    assert len(foreign) <= 25, sorted(foreign)
    slow = {"argparse", "tomllib", "asyncio", "unittest", "http", "xml", "hashlib", "zipfile", "secrets", "difflib"}
    assert not slow & foreign


AT_ONCE = {  # files and packages of the house: what a model is made of
    *(
        "arguments",
        "arrays",
        "calling",
        "devices",
        "explaining",
        "kernels",
        "memory",
        "models",
        "nn",
        "ops",
        "rules",
        "seeds",
        "starting",
        "tape",
        "text",
    ),
    *("version", "workers"),
}


AS_PYTHON_HAS_IT = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # and no shell's background
)
IN_A_THREAD = "import threading as t; made = t.Thread(target=__import__, args=['minirnn']); made.start(); made.join()"


@pytest.mark.parametrize(
    ("how", "argv", "ends_at_once"),
    [
        ("import minirnn", ["minirnn", "train"], True),
        ("import minirnn", ["program.py", "minirnn"], False),
        (IN_A_THREAD, ["minirnn"], False),
    ],
    ids=["a command", "another program", "a thread"],
)
def test_a_signal_ends_at_once_only_the_command_that_is_being_imported(how, argv, ends_at_once):
    told = python(
        "-c",
        f"{AS_PYTHON_HAS_IT}; import sys; sys.argv = {argv}; {how}; "
        "print(signal.getsignal(signal.SIGINT) is not signal.default_int_handler, 'minirnn' in sys.modules)",
    )
    assert told.split() == [str(ends_at_once), "True"]


def test_another_module_that_is_given_this_name_as_an_argument_keeps_its_signals(tmp_path, monkeypatch):
    package = tmp_path / "other"
    package.mkdir()
    (package / "__init__.py").write_text(f"{AS_PYTHON_HAS_IT}; import minirnn")
    (package / "__main__.py").write_text("import signal; print(signal.getsignal(signal.SIGINT).__module__)")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{minirnn.__path__[0]}/..")
    assert python("-m", "other", "--engine", "minirnn").strip() == "_signal"


def test_importing_loads_what_a_model_is_made_of_and_the_rest_comes_with_its_first_use():
    told = python("-c", LOADED).splitlines()
    assert set(told[0].split()) == AT_ONCE
    assert told[1:4] == ["functional checking", "training", "decoding"]
    assert "lens" in told[4].split() and "testing" in told[5].split()


LOADED = """
import sys, minirnn
house = lambda: {name.split(".")[1] for name in sys.modules if name.startswith("minirnn.")}
loaded = house()
print(*loaded)
for name in ("gradcheck", "fit", "generate", "lens", "testing"):
    assert name in dir(minirnn) and name not in vars(minirnn)
    getattr(minirnn, name)
    assert vars(minirnn)[name] is getattr(minirnn, name)
    print(*sorted(house() - loaded, reverse=True))
    loaded = house()
"""


def test_names_that_are_loaded_at_first_use_are_those_of_their_packages():
    for name, home in minirnn.AT_FIRST_USE.items():
        assert getattr(minirnn, name) is getattr(import_module(f"minirnn.{home}"), name)
    for home in minirnn.PACKAGES:
        assert home in dir(minirnn) and getattr(minirnn, home) is import_module(f"minirnn.{home}")


def test_who_reads_types_is_told_of_the_same_names_in_the_same_places():
    block, _ = [node for node in ast.parse(inspect.getsource(minirnn)).body if isinstance(node, ast.If)]
    told = {alias.name: node.module.removeprefix("minirnn.") for node in block.body for alias in node.names}
    homes = dict.fromkeys(minirnn.PACKAGES, "minirnn")
    assert told == minirnn.AT_FIRST_USE | homes


def test_everything_can_be_imported_by_a_star():
    told = python("-c", "from minirnn import *; import minirnn; print(set(minirnn.__all__) <= set(globals()))")
    assert told.strip() == "True"


def test_a_wrong_name_is_an_error_with_a_hint():
    with pytest.raises(AttributeError, match=r"^module 'minirnn' has no attribute 'gradchek'$") as caught:
        minirnn.gradchek  # noqa: B018
    assert (caught.value.name, caught.value.obj) == ("gradchek", minirnn)  # by which Python finds what was meant
    with pytest.raises(ImportError, match="cannot import name 'gradchek' from 'minirnn'"):
        from minirnn import gradchek  # noqa: F401
    told = subprocess.run([sys.executable, "-c", "import minirnn; minirnn.gradchek"], capture_output=True, text=True)
    assert "Did you mean: 'gradcheck'?" in told.stderr


def test_the_version_is_that_of_the_project():
    assert minirnn.__version__.count(".") == 2

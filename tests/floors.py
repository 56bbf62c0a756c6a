"""What the architecture tests ask of source files, as functions of a folder that answer in words."""

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter

parsed = cache(ast.parse)  # several questions are asked of one house

FLOORS = (
    {
        "version",
        "starting",
        "devices",
        "arguments",
        "explaining",
        "calling",
        "arrays",
        "seeds",
        "memory",
        "workers",
        "kernels",
        "text",
    },
    {"rules", "checking"},
    {"tape"},
    {"ops"},
    {"nn"},
    {"models", "decoding", "functional"},
    {"training", "testing", "lens"},
    {"cli"},
    {"__init__", "__main__"},
)
SIDE_DOORS = {  # on one floor, but open
    *((above, "arguments") for above in ("arrays", "seeds", "text", "kernels")),
    ("arrays", "devices"),
    ("seeds", "arrays"),
    ("text", "arrays"),
    ("workers", "arrays"),
    *(("kernels", door) for door in ("arrays", "memory", "workers")),
}
UNREAD = {"__init__", "__main__", "starting", "version"}  # names, numbers and first words: nothing to read
CLOSED = {("checking", "tape"), ("checking", "ops")}  # a rule can be checked before the tape exists
BANNED_MODULES = {
    *("pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"),  # their files can run code
    *("subprocess", "multiprocessing", "pty", "code", "codeop", "runpy", "ctypes"),  # other programs, and other code
    *("socket", "socketserver", "ssl", "select", "selectors", "asyncio", "urllib", "http", "ftplib", "smtplib"),
    *("poplib", "imaplib", "xmlrpc", "wsgiref", "webbrowser", "requests", "httpx", "aiohttp", "urllib3"),
}
BANNED_CALLS = {"eval", "exec", "compile", "__import__", "breakpoint"}
BANNED_IN = {
    "builtins": BANNED_CALLS,
    "os": {"system", "popen", "fork", "forkpty", "startfile", "posix_spawn", "posix_spawnp"}
    | {f"{verb}{how}" for verb in ("exec", "spawn") for how in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")},
}
# Of the banned modules, by file. The emulator has g++ compile the library's own CUDA sources, and calls what comes of
# it: nothing but the fake device and tests reaches it.
MAY_IMPORT = {"testing.cuda_emulator.__init__": {"subprocess", "ctypes"}}
MAY_IMPORT_BY_NAME = {"__init__", "cli.bench", "cli.doctor"}  # names from tables of their own
MAKE_RULES = {"combinators", "rtrl"}  # files of rules/ whose functions return rules
DTYPES = {
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "int8",
    "int32",
    "int64",
    "uint8",
    "single",
    "double",
}
DEVICES = {"cupy", "cuda", "device", "Device", "numpy", "np"}


def modules(house):
    """Dotted name below the house, and syntax tree, of every file."""
    for path in sorted(house.rglob("*.py")):
        yield ".".join(path.relative_to(house).with_suffix("").parts), parsed(path.read_text(encoding="utf-8"))


def imports(name, tree, names):
    """Modules of the house that a file imports, wherever in the file; a package stands for its ``__init__``."""
    package = name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ["minirnn", *package[: len(package) - node.level + 1]] if node.level else []
            base = ".".join([*base, node.module] if node.module else base)
            # what is imported may be a module itself, else it is a name in one
            targets = [
                inner if f"{base}.{alias.name}".removeprefix("minirnn.") in names else base
                for alias in node.names
                for inner in [f"{base}.{alias.name}"]
            ]
        elif isinstance(node, ast.Call) and called(node) == "import_module" and isinstance(node.args[0], ast.Constant):
            targets = [node.args[0].value]
        else:
            continue
        for target in targets:
            if target.partition(".")[0] == "minirnn":
                inner = target.removeprefix("minirnn").removeprefix(".")
                yield inner if inner in names and names[inner] != "package" else f"{inner}.__init__".removeprefix(".")


def called(node):
    return getattr(node.func, "attr", getattr(node.func, "id", None))


def floor_of(top):
    return next((k for k, floor in enumerate(FLOORS) if top in floor), None)


def broken_floors(house):
    """Every import that goes up, sideways or round in a circle, in words."""
    trees = dict(modules(house))
    names = dict.fromkeys(trees, "file")
    names |= {name.removesuffix(".__init__"): "package" for name in trees if name.endswith(".__init__")}
    found, graph = [], {}
    for name, tree in trees.items():
        graph[name] = set()
        top = name.partition(".")[0]
        if floor_of(top) is None:
            found.append(f"{name} stands on no floor")
            continue
        for target in imports(name, tree, names):
            below = target.partition(".")[0]
            if below == top:
                graph[name].add(target)
            elif (top, below) in CLOSED:
                found.append(f"{name} must not import {below}")
            elif floor_of(below) is None or (floor_of(below) >= floor_of(top) and (top, below) not in SIDE_DOORS):
                found.append(f"{name} imports {target}, which is not below it")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append(f"imports go in a circle: {' -> '.join(reversed(error.args[1]))}")
    return found


def against_the_order(house, readme):
    """Imports from further down in the README's reading order, and files that it leaves out, in words."""
    rows = [re.findall(r"`([\w/]+(?:\.py|/))`", line.split("|")[1]) for line in readme.splitlines() if "| `" in line]
    places = {}
    for row, (first, *others) in enumerate(row for row in rows if row and row[0].startswith("minirnn/")):
        beside = [f"{first.rpartition('/')[0]}/{other}" for other in others]
        for path in (first, *beside):
            places[path.removeprefix("minirnn/").removesuffix(".py").rstrip("/").replace("/", ".")] = row

    def place(name):
        above = [name, *(name.rsplit(".", k)[0] for k in range(1, name.count(".") + 1))]
        return next((places[part] for part in above if part in places), None)

    trees = dict(modules(house))
    names = dict.fromkeys(trees, "file")
    names |= {name.removesuffix(".__init__"): "package" for name in trees if name.endswith(".__init__")}
    for name, tree in trees.items():
        if place(name) is None:
            if name not in UNREAD:
                yield f"{name} is missing from the reading order"
        elif name != "rules.__init__":
            for target in sorted({*imports(name, tree, names)} - UNREAD):
                kernel = name.startswith("rules.") and target.startswith("kernels.")
                if not kernel and (place(target) is None or place(target) > place(name)):
                    yield f"{name} is read before {target}, which it imports"


def banned_constructs(house):
    """Star imports, pickles, strings run as code, other programs and the network, in words."""
    return [f"{name} {what}" for name, tree in modules(house) for node in ast.walk(tree) for what in bans(name, node)]


def bans(name, node):
    """What is not allowed in one place of a file."""
    if isinstance(node, ast.ImportFrom):
        imported = {alias.name for alias in node.names}
        if "*" in imported:
            yield f"imports everything from {node.module}"
        yield from (f"names {node.module}.{each}" for each in sorted(imported & BANNED_IN.get(node.module, set())))
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        whole = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        allowed = MAY_IMPORT.get(name, set())
        yield from (f"imports {each}" for each in whole if each.partition(".")[0] in BANNED_MODULES - allowed)
    if isinstance(node, ast.Attribute) and node.attr in BANNED_IN.get(getattr(node.value, "id", None), set()):
        yield f"names {node.value.id}.{node.attr}"
    if isinstance(node, ast.Call):
        if getattr(node.func, "id", None) in BANNED_CALLS:
            yield f"calls {node.func.id}"
        if (
            called(node) == "import_module"
            and name not in MAY_IMPORT_BY_NAME
            and not isinstance(node.args[0], ast.Constant)
        ):
            yield "imports what a variable names"
    if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and getattr(node.value, "value", True):
        yield "allows pickles"
    if isinstance(node, ast.keyword) and node.arg == "shell":
        yield "asks for a shell"


def named_in_rules(folder):
    """Every dtype and device that rules name, as (file, name): in code and in strings, docstrings left out."""
    for name, tree in modules(folder):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                words = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                words = [node.module or "", *(alias.name for alias in node.names)]
            else:
                words = [getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "value", None)]
            yield from ((name, word) for word in words if isinstance(word, str) and word in DTYPES | DEVICES)


def badly_formed_rules(folder):
    """Functions with a pullback inside whose name or whose return is not what the contract asks for."""
    found = []
    for name, tree in modules(folder):
        for rule in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
            inner = [node.name for node in rule.body if isinstance(node, ast.FunctionDef) and "pullback" in node.name]
            expected = f"{rule.name.lstrip('_')}_pullback"
            if not inner:
                continue
            if inner != [expected]:
                found.append(f"{name}.{rule.name} defines {inner}, not {expected}")
            for node in own_returns(rule):
                ends = node.value.elts if isinstance(node.value, ast.Tuple) else []
                if len(ends) != 2 or getattr(ends[1], "id", None) != expected:
                    found.append(f"{name}.{rule.name} must return (value, {expected}), line {node.lineno}")
    return found


def own_returns(function):
    """The return statements of a function, those of functions inside it left out."""
    waiting = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Return):
            yield node
        elif not isinstance(node, ast.FunctionDef):
            waiting.extend(ast.iter_child_nodes(node))


def rules_defined(folder):
    """Names of the public functions that return a pullback, their own or that of a helper in the same file."""
    for name, tree in modules(folder):
        if name.partition(".")[0] in MAKE_RULES:
            continue
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        helpers = {f.name for f in functions if any(getattr(n, "name", "").endswith("_pullback") for n in f.body)}
        for f in functions:
            handed_on = (node.value for node in own_returns(f) if isinstance(node.value, ast.Call))
            if not f.name.startswith("_") and (f.name in helpers or any(called(c) in helpers for c in handed_on)):
                yield f.name

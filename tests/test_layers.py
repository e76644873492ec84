"""The layers of ggt_tools: imports go down only, no package imports another in a circle, and a command starts light."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ggt_tools

ROOT = Path(ggt_tools.__file__).parent
# From the top. A module imports modules of its own package and of the lines below it.
LAYERS = (
    ("cli",),
    ("demo",),
    ("__init__",),
    ("api",),
    ("review", "viewing"),
    ("web",),
    ("stages",),
    ("training",),
    ("executors",),
    ("policy",),
    ("restorers",),
    ("providers",),
    ("metrics",),
    ("imaging",),
    ("workspace",),
    ("reasons",),
    ("pages", "tables", "toml", "summary"),
    ("files", "processes", "events", "clock", "retries", "configs"),
    ("records",),
    ("evidence", "choices"),
    ("errors",),
)
RANK = {name: number for number, names in enumerate(LAYERS) for name in names}
HEAVY = ("datasets", "pandas", "torch", "cv2", "openai", "google.genai", "pyarrow.dataset", "ray", "scipy")


def modules() -> dict[str, Path]:
    """Every module of ggt_tools by its name below the package; a package's own module has the package's name."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def imported(path: Path, names: frozenset[str]) -> Iterator[tuple[int, str]]:
    """The line and the module of each import of ggt_tools in a file, also where it is lazy or for types alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ggt_tools":
            below = ".".join(str(node.module).split(".")[1:])
            for alias in node.names:
                full = f"{below}.{alias.name}" if below else alias.name
                yield node.lineno, full if full in names else below or "__init__"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("ggt_tools."):
                    yield node.lineno, alias.name.partition(".")[2]


EDGES = [
    (module, line, target)
    for module, path in sorted(modules().items())
    for line, target in imported(path, frozenset(modules()))
]


def test_every_package_has_its_layer() -> None:
    assert {module.split(".")[0] for module in modules()} == RANK.keys()


def test_imports_go_down() -> None:
    upward = [
        f"{module}:{line} imports {target}"
        for module, line, target in EDGES
        if module.split(".")[0] != target.split(".")[0] and RANK[module.split(".")[0]] >= RANK[target.split(".")[0]]
    ]
    assert upward == []


def test_an_upward_import_is_detected(tmp_path: Path) -> None:
    file = tmp_path / "errors.py"
    file.write_text("def later():\n    from ggt_tools.stages.align import align\n    return align\n")
    ((line, target),) = imported(file, frozenset(modules()))
    assert (line, target) == (2, "stages.align") and RANK["errors"] > RANK["stages"]


def test_no_package_imports_another_in_a_circle() -> None:
    """Stages are packages of their own here."""

    def package(module: str) -> str:
        return ".".join(module.split(".")[: 2 if module.startswith("stages.") else 1])

    below: dict[str, set[str]] = {}
    for module, _, target in EDGES:
        if package(module) != package(target):
            below.setdefault(package(module), set()).add(package(target))
    while leaves := [name for name, targets in below.items() if not targets & below.keys()]:
        for name in leaves:
            del below[name]
    assert below == {}, "what is left imports itself by way of others"


SQL = re.compile(
    r"\b(?:SELECT .+ FROM|INSERT (?:OR \w+ )?INTO|DELETE FROM|UPDATE \w+ SET|(?:CREATE|ALTER|DROP) TABLE)\b|^PRAGMA ",
    re.S,
)


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """The line and the text of each string in a file, also of the parts of f-strings."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


@pytest.mark.slow
def test_only_the_workspace_package_has_sql() -> None:
    found = [
        f"{module}:{line}"
        for module, path in sorted(modules().items())
        for line, text in strings(path)
        if SQL.search(text) and not module.startswith("workspace")
    ]
    assert found == [], "make it a function of workspace/queries.py with a name and a type"
    ledger = [text for _, text in strings(ROOT / "workspace" / "queries.py") if SQL.search(text)]
    assert len(ledger) > 5, "the search finds what there is"


def test_modules_are_short_or_say_why_not() -> None:
    import ggt_format

    paths = [*ROOT.rglob("*.py"), *Path(ggt_format.__file__).parent.glob("*.py"), ROOT.parents[1] / "ggt100k.py"]
    texts = {path: path.read_text("utf-8") for path in paths}
    long = {path for path, text in texts.items() if len(text.splitlines()) > 350}
    assert len(long) <= 2, long
    assert all("module is long because" in " ".join(texts[path].split()) for path in long)


def test_the_command_line_is_thin() -> None:
    """A verb parses, builds its Config, calls the stage and prints; besides `run`, shared.py takes the options."""
    lines, takers = 0, set()
    for path in (ROOT / "cli").glob("*.py"):
        text = path.read_text("utf-8")
        lines += len(text.splitlines())
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and "argparse.Namespace" in ast.unparse(node.args):
                takers.add(node.name if path.stem != "shared" else "run")
    assert lines <= 1600
    assert takers == {"run", "__call__"}, "__call__ is of an argparse.Action"


NAMED_TUPLE = ("_replace", "_asdict", "_fields")  # public, whatever they are named
OF_OTHERS = ("ggt_format._native",)  # the C extension, which ggt_format/native.py alone imports


def private_uses(path: Path) -> Iterator[tuple[int, str]]:
    """The line and the name of each private name of another module of ours that a file uses."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    aliases = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("ggt_tools", "ggt_format"):
            for alias in node.names:
                aliases.add(alias.asname or alias.name)
                if alias.name.startswith("_") and not alias.name.startswith("__"):
                    yield node.lineno, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            aliases |= {a.asname or a.name for a in node.names if a.name.startswith(("ggt_tools", "ggt_format"))}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.match("_(?!_)", node.attr) and node.attr not in NAMED_TUPLE:
            if ast.unparse(node.value) in aliases:
                yield node.lineno, ast.unparse(node)
            elif not isinstance(node.value, ast.Name) or node.value.id not in ("self", "cls"):
                yield node.lineno, f"?.{node.attr}"


@pytest.mark.slow
def test_private_names_are_not_used_across_packages() -> None:
    import ggt_format

    paths = [*ROOT.rglob("*.py"), *Path(ggt_format.__file__).parent.glob("*.py")]
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    definition = re.compile(r"(?:\b(?:self\.|cls\.|def |class )|^ *)(_[a-z]\w*)(?=[:(]| = |, _\w+.* = )", re.M)
    defined = {path: set(definition.findall(text)) for path, text in texts.items()}
    found = []
    for path in sorted(paths):
        for line, name in private_uses(path):
            attribute = name[2:]
            # An object of a class of the same module may be looked into; private names of other projects are not ours.
            is_own = attribute in defined[path] or not any(attribute in names for names in defined.values())
            if not (name.startswith("?.") and is_own) and name not in OF_OTHERS:
                found.append(f"{path.relative_to(ROOT.parent.parent)}:{line} {name}")
    assert found == []


def test_use_of_a_private_name_across_packages_is_detected(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text("from ggt_tools.a import _b\nimport ggt_tools.c as c\nc._d()\nledger._db\nself._own\nx.__name__\n")
    assert sorted(private_uses(file)) == [(1, "ggt_tools.a._b"), (3, "c._d"), (4, "?._db")]


def test_the_format_imports_nothing_of_the_tools() -> None:
    import ggt_format

    for path in Path(ggt_format.__file__).parent.glob("*.py"):
        roots = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
        }
        assert not roots & {"ggt_tools", "ggt100k", "datasets", "pandas"}, path.name


@pytest.mark.parametrize("argv", [["--help"], ["align", "--help"], ["status", "WORKSPACE"]])
def test_a_command_that_only_prints_loads_nothing_heavy(argv: list[str], tmp_path: Path) -> None:
    from ggt_tools.workspace.ledger import Ledger

    with Ledger(tmp_path, create=True):
        pass
    argv = [str(tmp_path) if word == "WORKSPACE" else word for word in argv]
    code = (
        "import sys, json, contextlib, io\nfrom ggt_tools.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n    main(sys.argv[1:])\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert loaded & set(HEAVY) == set()
    assert "ggt_tools.cli" in loaded

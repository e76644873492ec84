"""README and docs: snippets run, commands parse, links resolve, lists are complete, terms are plain."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ggt_tools.cli import VERBS, _parser
from ggt_tools.errors import ConfigError
from ggt_tools.policy.verdicts import DEFAULT_GATE, load_gate
from ggt_tools.reasons import explain, load_reasons

from .making import run_python

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
IDS = [page.name for page in PAGES]


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text(page), re.DOTALL | re.MULTILINE)


SNIPPETS = [
    pytest.param(snippet, id=f"{page.name}-{number}")
    for page in PAGES
    for number, snippet in enumerate(blocks(page, "python"))
]
COMMANDS = [
    pytest.param(line, id=f"{page.name}: {line[:60]}")
    for page in PAGES
    for block in blocks(page, "sh")
    for line in block.splitlines()
    if line.startswith("ggt100k ")
]


@pytest.mark.slow
@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_snippet_runs_as_it_stands(snippet: str, tmp_path: Path) -> None:
    result = run_python(snippet, tmp_path / "cwd")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_arguments_that_the_parser_takes(command: str) -> None:
    _parser().parse_args(shlex.split(command, comments=True)[1:])  # SystemExit where it does not


def test_every_command_is_shown_in_the_docs() -> None:
    shown = {command.values[0].split()[1] for command in COMMANDS}  # type: ignore[union-attr,attr-defined]
    assert VERBS.keys() <= shown


def test_readme_is_short_and_begins_with_its_title() -> None:
    lines = text(README).splitlines()
    assert lines[0] == "# ggt-100k" and len(lines) <= 200


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_a_page_has_fewer_than_250_lines_and_valid_links(page: Path) -> None:
    assert len(text(page).splitlines()) < 250
    for target in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in {slug(title) for title in re.findall(r"^#+ (.*)$", text(linked), re.MULTILINE)}, target


def slug(title: str) -> str:
    """The anchor that GitHub gives a heading."""
    title = title.replace("`", "")
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


# what shared vocabulary replaced; each was used for something that has a plain name
REPLACED = (
    "witness|witnesses|docket|tally|tallies|mend|mends|mended|astray|reckon|reckoned|reckons|doors?|purse|planted|house|"
    "rooms?|told|tells|whoever|maker"
)
# as the name of a parameter, these say nothing of the value
VAGUE = {"found", "said", "told", "one", "each", "at", "there", "some", "maker", "wanted"}
# a remedy is a sentence of its own: "x.toml: rules: is missing. Add it.", not "x.toml: rules: is missing; add it"
REMEDY = re.compile(r"; (?:run|see|give|name|set|add|use|write|remove|rename|install|download|fetch|pack|restore)\b")
CARD = sorted((ROOT / "dataset_card/card").glob("*.md"))
MODULES = [
    ROOT / "ggt100k.py",
    *sorted(path for folder in ("ggt_format", "tools", "examples") for path in (ROOT / folder).rglob("*.py")),
]
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def replaced_terms(prose: str) -> list[str]:
    prose = re.sub(r"```.*?```|`[^`]*`|<!--.*?-->|\w+-\w+", "", prose, flags=re.DOTALL)
    return re.findall(rf"\b(?:{REPLACED})\b", prose, re.IGNORECASE)


def messages(tree: ast.AST) -> list[str]:
    """Return the texts of the errors that a module makes, with {} in place of values."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    made = [call for call in calls if re.search(r"Error$", ast.unparse(call.func))]
    return [
        "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)
        for call in made
        for text in call.args
        if (parts := text.values if isinstance(text, ast.JoinedStr) else [text])
        if all(isinstance(part, ast.Constant | ast.FormattedValue) for part in parts)
    ]


@pytest.mark.parametrize("page", [*PAGES, *CARD], ids=lambda page: page.name)
def test_a_page_uses_plain_terms(page: Path) -> None:
    assert replaced_terms(text(page)) == []


@pytest.mark.slow
def test_code_uses_plain_terms_and_states_remedies_in_sentences() -> None:
    wrong = []
    message_count = 0
    for path in MODULES:
        tree = ast.parse(text(path))
        nodes = [node for node in ast.walk(tree) if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTION))]
        stated = messages(tree)
        message_count += len(stated)
        for prose in [*(ast.get_docstring(node) or "" for node in nodes), *stated]:
            wrong += [f"{path}: {term!r} in: {prose[:80]}" for term in replaced_terms(prose)]
        wrong += [f"{path}: remedy after a semicolon: {message}" for message in stated if REMEDY.search(message)]
        for node in nodes:
            if isinstance(node, FUNCTION):
                arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                names = VAGUE & {argument.arg for argument in arguments}
                wrong += [f"{path}:{node.lineno}: {node.name}(): parameter {name!r}" for name in names]
    assert wrong == []
    assert message_count > 400


@pytest.mark.slow
def test_tests_have_plain_names() -> None:
    names = [
        node.name
        for path in TESTS
        for node in ast.parse(text(path)).body
        if isinstance(node, FUNCTION) and node.name.startswith("test_")
    ]
    assert len(names) > 1000
    assert [name for name in names if replaced_terms(name.replace("_", " "))] == []


def literals(call: ast.Call) -> list[str]:
    """The reason codes that a call states: PairError("code", ...), or reason="code"."""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    values = [keyword.value for keyword in call.keywords if keyword.arg == "reason"]
    values += call.args[:1] if name == "PairError" else call.args[1:2] if name == "finding" else []
    return [node.value for node in values if isinstance(node, ast.Constant) and node.value]


@pytest.mark.slow
def test_every_reason_code_of_the_code_and_the_gate_is_explained() -> None:
    reasons = load_reasons()
    explained = {reason.code for reason in reasons}
    assert all(reason.meaning.endswith(".") and reason.hint.endswith(".") for reason in reasons)
    assert len({reason[:2] for reason in reasons}) == len(reasons)
    stated = {
        code
        for path in (*(ROOT / "tools").rglob("*.py"), *(ROOT / "ggt_format").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        for code in literals(node)
    }
    assert len(stated) > 40
    assert stated | set(load_gate(DEFAULT_GATE).reasons) <= explained
    assert [reason.stage for reason in explain("no_image")] == ["adopt", "restore", "verdict"]
    assert [reason.code for reason in explain("unmeasured_lpips")] == ["unmeasured_METRIC"]
    with pytest.raises(ConfigError, match="nothing: is not a reason code"):
        explain("nothing")


def test_the_generated_references_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("make_references", ROOT / "docs/make_references.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, page in module.reference().items():
        assert text(ROOT / "docs" / name) == page, f"run: python docs/make_references.py ({name})"


@pytest.mark.slow
def test_the_site_builds_without_warnings_or_network(tmp_path: Path) -> None:
    pytest.importorskip("furo", reason="wants Sphinx and Furo: pip install 'ggt100k[docs]'")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.html")}
    assert "PairDataset" in pages["api.html"] and "--budget" in pages["cli.html"]
    for name, page in pages.items():
        assert re.findall(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=.https?:[^>]*", page) == [], name


def test_both_papers_are_cited_with_title_and_authors() -> None:
    for page in (README, ROOT / "dataset_card/card/cite.md"):
        cited = text(page)
        for title in (
            "GGT-100K: Generative Ground Truth for Generalizable Real-World Image Restoration",
            "A Preliminary Study for GPT-4o on Image Restoration",
        ):
            assert title in cited
        for number in ("2605.31039", "2505.05621"):
            assert f"arXiv:{number}" in cited
        assert "Kong, Xiangtao" in cited and "Yang, Hao" in cited

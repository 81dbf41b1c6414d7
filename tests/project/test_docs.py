"""The documentation is whole, its links lead somewhere, and what it says to type works."""

from __future__ import annotations

import dataclasses
import html
import importlib.util
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pydantic
import pytest
from apache_beam.options.pipeline_options import StandardOptions
from small_road import EMOJI, Road, emoji_rows, write_manifest

import mmstream
from beam_jobs import running
from mmstream import cli
from mmstream.config.loading import TINY, load_config
from mmstream.config.open_config import load_open_config
from mmstream.config.open_values import occurring
from mmstream.config.schema import Config
from mmstream.config.yaml_lines import read_yaml
from mmstream.options.introspection import arguments_of, commands_of
from mmstream.plugins import catalogue, components, hookspecs, registry

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WRITTEN = sorted(path.name for path in DOCS.glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.S | re.M)
END = "end of block"
NOT_RUN = ("make ", "pip install", "--runner=", "--watch")  # an installation, the demo, a cluster, what has no end


def blocks(page: str, language: str) -> list[str]:
    return [text for found, text in BLOCK.findall((DOCS / page).read_text()) if found == language]


def every_block(language: str) -> list[Any]:
    """All blocks of a language that were written by hand, as parameters of a test."""
    return [
        pytest.param(page, text, id=f"{page.removesuffix('.md')}-{number}")
        for page in WRITTEN
        for number, text in enumerate(blocks(page, language), 1)
    ]


@pytest.fixture(scope="session")
def hooks() -> ModuleType:
    """docs/hooks.py, which makes some of the pages."""
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a dead link or anchor, or a page that nothing leads to, is an error."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def text_of(page: Path) -> str:
    """What a page says, without its tags."""
    body = page.read_text().partition("<article")[2].partition("</article>")[0]
    return html.unescape(re.sub(r"<[^>]*>", "", body))


def test_every_hook_is_named_with_its_signature(site):
    hooks = {name: one for name, one in vars(hookspecs).items() if name.startswith("register_")}
    assert len(hooks) == len(registry.KINDS)
    said = "".join(text_of(page) for page in (site / "components").glob("*.html"))
    for name, function in hooks.items():
        signature = str(inspect.signature(function)).replace("'", "")
        assert f"{name}{signature}" in said


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_component_and_parameter_is_described(kind, site):
    page = (site / "components" / f"{kind}s.html").read_text()
    for name in registry.names(kind):
        start = page.index(f'<h2 id="{name}">')
        section = page[start : page.find("<h2 ", start + 1)]
        for parameter in components.configurable(registry.find(kind, name)):
            assert f"<td><code>{parameter}</code></td>" in section, f"{kind} {name}: {parameter}"


def test_every_command_and_flag_is_described(site):
    from mmstream import cli

    said = text_of(site / "commands.html")
    commands = {command.parser.prog: command.parser for command in commands_of(cli.parser())}
    assert {"mmstream init", "mmstream label", "mmstream plugins show"} <= set(commands)
    starts = {name: said.index(f"\n{name}¶") for name in commands}
    for name, parser in commands.items():
        end = min((start for start in starts.values() if start > starts[name]), default=len(said))
        section = said[starts[name] : end]
        for action in arguments_of(parser):
            for flag in action.option_strings:
                assert f"{flag}\n" in section, f"{name} {flag}"


def config_keys(model: type[pydantic.BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of the config with its declaration, names that a user chooses as <name> or <field>."""
    for key, declared in model.model_fields.items():
        path = f"{prefix}{declared.alias or key}"
        yield path, declared
        for kind in (declared.annotation, *typing.get_args(declared.annotation)):
            if inspect.isclass(kind) and issubclass(kind, pydantic.BaseModel):
                named = typing.get_origin(declared.annotation) is dict
                place = ".<field>" if path == "model.encoders" else ".<name>"
                yield from config_keys(kind, f"{path}{place if named else ''}.")


def key_rows() -> dict[str, str]:
    """{key: default} of the tables in the page on configuration."""
    rows = re.findall(r"^\| `([^`]+)` \| [^|]+ \| ([^|]+) \| [^|]+ \|$", (DOCS / "configuration.md").read_text(), re.M)
    assert len({key for key, _ in rows}) == len(rows)
    return dict(rows)


def test_every_key_of_the_config_is_described_with_its_default():
    described = key_rows()
    keys = {path: one for path, one in config_keys(Config) if path not in ("source", "split", "training")}
    assert sorted(described) == sorted(keys)
    for path, declared in keys.items():
        if declared.is_required():
            assert described[path] == "needed", path
        elif declared.default == "":
            assert described[path] == "its name", path
        else:
            default = declared.get_default(call_default_factory=True)
            value = default.model_dump() if isinstance(default, pydantic.BaseModel) else default
            assert described[path] == f"`{catalogue.flow(value)}`", path


def test_what_tiny_sets_is_described():
    rows = re.findall(r"^\| `([^`]+)` \| `([^`|]+)` \|$", (DOCS / "configuration.md").read_text(), re.M)
    assert dict(rows) == {key: catalogue.flow(value) for key, value in TINY.items()}


def test_every_public_name_is_described(site):
    said = text_of(site / "python_api.html")
    assert [name for name in mmstream.__all__ if not re.search(rf"\b(mmstream\.)?{name}\b", said)] == []


@pytest.mark.parametrize("name", ["Label", "Preprocess", "ModelHandler"])
def test_every_parameter_of_a_transform_is_described(name, site):
    said = text_of(site / "beam_jobs.html")
    parameters = inspect.signature(getattr(mmstream, name)).parameters
    assert [key for key in parameters if key not in said] == []


def test_every_key_of_a_dead_letter_is_described(site):
    page = (site / "concepts.html").read_text()
    for field in dataclasses.fields(mmstream.DeadLetter):
        assert f"<td><code>{field.name}</code></td>" in page


def test_every_internal_link_leads_to_a_page_and_an_anchor(site):
    pages = {path: path.read_text() for path in site.rglob("*.html") if path.name != "404.html"}
    anchors = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in pages.items()}
    checked = 0
    for path, text in pages.items():
        for link in map(html.unescape, re.findall(r'<a\b[^>]*?\bhref="([^"]*)"', text)):
            if re.match(r"[a-z]+:", link):
                continue
            where, _, anchor = link.partition("#")
            target = (path.parent / where).resolve() if where not in ("", ".") else path
            assert target.is_file(), f"{path.name}: {link}"
            assert not anchor or anchor in anchors[target] or anchor == "__skip", f"{path.name}: {link}"
            checked += 1
    assert checked > 100


def test_the_site_loads_nothing_from_elsewhere(site):
    for page in site.rglob("*.html"):
        assert re.findall(r'<(?:script|link|img)\b[^>]*?(?:src|href)="(?:https?:)?//', page.read_text()) == []


def merged(base: Any, over: Any) -> Any:
    """A config with a piece of another laid over it; a component is replaced as a whole, and so is the split."""
    if not isinstance(base, Mapping) or not isinstance(over, Mapping) or "use" in over:
        return over
    laid = {key: value if key == "split" else merged(base.get(key), value) for key, value in over.items()}
    return {**base, **laid}


@pytest.mark.parametrize(("page", "text"), every_block("yaml"))
def test_every_config_is_sound(page, text, tmp_path):
    path = tmp_path / "config.yaml"
    if not re.search(r"^source:", text, re.M):  # a piece: it fits into the whole config of its page
        whole = next(block for block in blocks(page, "yaml") if re.search(r"^source:", block, re.M))
        text = json.dumps(merged(read_yaml(whole).data, read_yaml(text).data))
    path.write_text(text)
    load = load_open_config if any(occurring(read_yaml(text).data)) else load_config
    load(str(path))


@pytest.mark.parametrize("kind", [kind for kind in registry.KINDS if kind not in ("sink", "publisher", "tokenizer")])
def test_the_example_of_every_component_is_sound(kind, hooks):
    page = hooks.component_page(kind)
    examples = re.findall(r"^## (\w+)\n.*?^```yaml\n(.*?)^```$", page, re.S | re.M)
    assert [name for name, _ in examples] == registry.names(kind)
    for name, text in examples:
        piece = read_yaml(text).data
        while "use" not in piece:
            (piece,) = piece.values()
        parameters = {key: value for key, value in piece.items() if key not in ("use", "path")}
        assert piece["use"] == name
        assert components.check(kind, name, parameters) == []


@pytest.mark.parametrize(("page", "text"), [p for p in every_block("sh") if "--runner=" in p.values[1]])
def test_flags_for_a_cluster_are_flags_of_mmstream_or_of_beam(page, text):
    flags, for_beam = cli.parser().parse_known_args(shlex.split(text.replace("\\\n", " "))[1:])
    assert flags.output
    runner = running.beam_options(for_beam).view_as(StandardOptions).runner
    assert runner in ("FlinkRunner", "SparkRunner", "DataflowRunner")


def run_shell(text: str, folder: Path) -> str:
    """What some commands print; those that are not run are passed over."""
    if any(word in text for word in NOT_RUN):
        return ""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["bash", "-euc", text]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{text}\n{done.stderr}"
    return done.stdout + done.stderr


def run_python(texts: list[str], folder: Path) -> list[str]:
    """What blocks print, each as a program of its own but all in one process, for TensorFlow takes long to load."""
    driver = f"""
import json
for text in json.loads({json.dumps(json.dumps(texts))}):
    exec(compile(text, "block", "exec"), {{"__name__": "__main__"}})
    print({END!r})
"""
    done = subprocess.run([sys.executable, "-c", driver], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split(f"{END}\n")[:-1]


@pytest.fixture
def workplace(road: Road, tmp_path: Path) -> Path:
    """A folder with the files that the pages on jobs and on Python name: a model, pictures, and what was labelled."""
    rows = emoji_rows(100)
    write_manifest(tmp_path / "pictures.jsonl", rows)
    shutil.copytree(EMOJI / "train" / Path(rows[0]["image"]).parent, tmp_path / Path(rows[0]["image"]).parent)
    (tmp_path / "work").mkdir()
    shutil.copytree(road.model, tmp_path / "work" / "model")
    (tmp_path / "more_pictures").mkdir()
    for number, row in enumerate(rows[:3], 1):
        shutil.copy(EMOJI / "train" / row["image"], tmp_path / "more_pictures" / f"{number}.png")
    letters = tmp_path / "work" / "labelled" / "dead_letters"
    letters.mkdir(parents=True)
    letter = mmstream.DeadLetter(
        origin="1.png",
        stage="decode",
        field="image",
        component="field:image",
        error="ValueError",
        message="no picture",
        row={},
        digest="",
    )
    (letters / "part-00000.jsonl").write_text(f"{letter.to_json()}\n")
    config = re.sub(r"path: \S+,", "path: pictures.jsonl,", road.config.read_text(), count=1)
    (tmp_path / "pictures.yaml").write_text(config)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", ["beam_jobs.md", "python_api.md"])
def test_python_blocks_run(page, workplace):
    texts = blocks(page, "python")
    for text, printed in zip(texts, run_python(texts, workplace), strict=True):
        if "not_there.png" in text:  # one is labelled, one is a dead letter
            assert "cannot open" in printed
            assert len(printed.splitlines()) == 2
        if "ConfigError" in text:
            assert printed == blocks(page, "text")[0]
        if "own_examples" in text:
            assert json.loads((workplace / "work/own_examples/preprocess.json").read_text())["read"] == 100


@pytest.mark.slow
def test_an_exported_model_serves(workplace):
    for text in blocks("serving.md", "sh"):
        assert "golden records that come out equal" in run_shell(text, workplace)
    (printed,) = run_python(blocks("serving.md", "python"), workplace)
    assert "group" in (workplace / "work/served/mmstream.json").read_text()
    assert "dtype=string" in printed


@pytest.mark.slow
def test_the_commands_on_jobs_run(workplace):
    shutil.rmtree(workplace / "work" / "labelled")
    for page in ("configuration.md", "beam_jobs.md"):
        for text in blocks(page, "sh"):
            run_shell(text, workplace)
    about = json.loads((workplace / "work/labelled/label.json").read_text())
    assert (about["read"], about["labelled"]) == (3, 3)


@pytest.mark.slow
def test_every_key_of_the_books_is_described(site, road):
    page = (site / "beam_jobs.html").read_text()
    for key in json.loads((road.examples / "preprocess.json").read_text()):
        assert f"<code>{key}</code>" in page
    for key in ("labelled", "rows", "of_other_inputs"):
        assert f"<code>{key}</code>" in page


@pytest.mark.slow
def test_the_start_page_runs(tmp_path):
    (tmp_path / "examples").symlink_to(EMOJI.parent)
    printed = "".join(run_shell(text, tmp_path) for text in blocks("index.md", "sh"))
    assert "is valid" in printed
    about = json.loads((tmp_path / "work/labelled/label.json").read_text())
    assert about["read"] == about["labelled"] + about["dead_lettered"] + about["skipped"]


@pytest.mark.slow
def test_own_pictures_are_labelled_from_top_to_bottom(tmp_path):
    page = "label_your_own_pictures.md"
    rows = [row for row in emoji_rows(2000) if row["style"] == "twemoji"]
    for group in sorted({row["group"] for row in rows} - {"flags"})[:4]:  # of these there are fewer than 60
        (tmp_path / "pictures" / group).mkdir(parents=True)
        for row in [row for row in rows if row["group"] == group][:60]:
            shutil.copy(EMOJI / "train" / row["image"], tmp_path / "pictures" / group)
    (tmp_path / "more_pictures").mkdir()
    for number, row in enumerate(rows[:3]):
        shutil.copy(EMOJI / "train" / row["image"], tmp_path / "more_pictures" / f"{number}.png")
    (tmp_path / "more_pictures" / "broken.png").write_bytes(b"no picture")

    printed = ""
    for language, text in BLOCK.findall((DOCS / page).read_text()):
        if language == "sh":
            printed += run_shell(text, tmp_path)
        elif language == "python":
            printed += "".join(run_python([text], tmp_path))
        if "mmstream init" in text:
            config = (tmp_path / "pictures.yaml").read_text()
            assert config.endswith(blocks(page, "yaml")[0])
            (tmp_path / "pictures.yaml").write_text(config.replace("epochs: 40", "epochs: 1"))
    assert "broken.png image ValueError" in printed
    about = json.loads((tmp_path / "work/labelled/label.json").read_text())
    assert (about["read"], about["labelled"], about["dead_lettered"]) == (4, 3, 1)

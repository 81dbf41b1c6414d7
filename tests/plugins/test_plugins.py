"""Plugins are found, listed, and isolated when broken."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import textwrap

import pytest

from mmstream import cli
from mmstream.config.loading import load_config
from mmstream.errors import ConfigError, MmstreamError
from mmstream.plugins import components, registry

FIRST_PARTY = {"align", "fusion", "image", "io", "tabular", "text"}
HEAVY = ("tensorflow", "keras", "apache_beam", "tensorflow_transform", "PIL", "pyarrow", "numpy")

GOOD = """
    from mmstream.plugins.hookspecs import hookimpl

    @hookimpl
    def register_fields():
        return {"mood": "%s.parts:Mood"}
"""
MOOD = """
    from mmstream.interfaces import Field, TensorSpec

    class Mood(Field):
        def __init__(self, *, scale=1, strict: bool = False):
            self.scale = scale
            if scale == "boom":
                raise RuntimeError("no such scale")

        def decode(self, value):
            return {"mood": [float(value)]}

        def spec(self, fitted):
            return {"mood": TensorSpec((), "float32")}
"""
CONFIG = """
    source: {use: jsonl, path: manifest.jsonl}
    fields:
      face: {use: FIELD}
      text: {use: text, length: 8}
    model:
      encoders:
        text: {use: gru}
      heads:
        face: {use: classification, reads: text}
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a made-up distribution as pip would: a package `<name>_plugin` and its dist-info."""
    site = tmp_path / "site"
    site.mkdir()
    written = []

    def install(name, code, *, requires="mmstream>=0.1", metadata=None, point=None, **modules):
        package = f"{name}_plugin"
        written.append(package)
        (site / package).mkdir()
        for module, text in {"__init__": code, **modules}.items():
            (site / package / f"{module}.py").write_text(textwrap.dedent(text))
        info = site / f"{name}_plugin-1.0.dist-info"
        info.mkdir()
        about = f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.0\nRequires-Dist: {requires}\n"
        (info / "METADATA").write_text(about if metadata is None else metadata)
        (info / "entry_points.txt").write_text(f"[mmstream]\n{point or name} = {package}\n")
        importlib.invalidate_caches()
        registry.load.cache_clear()
        return site

    monkeypatch.syspath_prepend(str(site))
    yield install
    registry.load.cache_clear()
    for module in [m for m in sys.modules if m.split(".")[0] in written]:
        del sys.modules[module]


def plugin(name):
    return next(one for one in registry.load()[0] if one.name == name)


def returning(value, hook="register_fields"):
    return f"from mmstream.plugins.hookspecs import hookimpl\n@hookimpl\ndef {hook}():\n    return {value}\n"


def check(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(textwrap.dedent(text))
    return load_config(str(path), network=False)


def test_every_first_party_plugin_loads():
    loaded, _ = registry.load()
    assert {plugin.name for plugin in loaded} >= FIRST_PARTY
    assert not [plugin.problem for plugin in loaded if plugin.error]


def test_an_unknown_name_is_answered_with_the_nearest_one():
    with pytest.raises(MmstreamError, match=r"no encoder is called 'cn'. Did you mean 'cnn'\? Available: .*gru"):
        registry.find("encoder", "cn")


def test_a_plugin_of_a_stranger_is_found_and_used_like_any_other(install, tmp_path):
    install("good", GOOD % "good_plugin", parts=MOOD)
    good = plugin("good")
    assert (good.distribution, good.version, good.components) == ("good-plugin", "1.0", {"field": ("mood",)})
    assert "good_plugin.parts" not in sys.modules
    assert check(tmp_path, CONFIG.replace("FIELD", "mood, scale: 3")).fields["face"].use == "mood"
    assert components.build("field", "mood", {"scale": 3}).scale == 3


BROKEN = {
    "SyntaxError": ("def f(:\n", "SyntaxError: invalid syntax (__init__.py, line 1)"),
    "ImportError": ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
    "SystemExit": ("import sys\nsys.exit('leaving')\n", "SystemExit: leaving"),
    "SystemExit without a message": ("raise SystemExit\n", "SystemExit"),
    "an error without a message": ("raise ValueError\n", "ValueError"),
    "an error of blanks": ("raise ValueError(' \\n ')\n", "ValueError"),
    "an error of several lines": ("raise OSError('\\n first \\nsecond')\n", "OSError: first"),
    "an error that names an address": ("raise ValueError(f'{object()}')\n", "ValueError: <object object at 0x…>"),
    "endless recursion": ("def f():\n    f()\nf()\n", "RecursionError: maximum recursion depth exceeded"),
    "no hook": ("x = 1\n", "LookupError: it implements no hook. Available: register_encoders, register_fields"),
    "a hook without its mark": (
        "def register_fields():\n    return {}\n",
        "LookupError: register_fields is not marked with @mmstream.hookimpl",
    ),
    "a misspelt hook": (
        returning({}, "register_encoder"),
        "LookupError: unknown hook 'register_encoder'. Did you mean 'register_encoders'? Available: ",
    ),
    "a hook with a parameter": (
        returning({}).replace("fields()", "fields(width)"),
        "TypeError: Argument(s) {'width'} are declared in the hookimpl but can not be found in the hookspec",
    ),
    "a hook that raises": (
        returning("1 / 0"),
        "ZeroDivisionError: division by zero",
    ),
    "a hook that gives nothing": (
        returning(None),
        "TypeError: register_fields returns None; expected a dict such as {'name': 'module:Class'}",
    ),
    "a hook that gives a list": (returning(["a:B"]), "TypeError: register_fields returns ['a:B']; expected a dict"),
    "a hook that gives a class": (
        returning("{'mood': int}"),
        "TypeError: register_fields returns 'mood': <class 'int'>; expected text such as 'module:Class'",
    ),
    "a hook that gives a module": (
        returning({"mood": "mood_plugin"}),
        "TypeError: register_fields returns 'mood': 'mood_plugin'; expected text such as 'module:Class'",
    ),
    "a name that is no text": (returning({3: "a:B"}), "TypeError: register_fields returns the name 3; expected text"),
    "an empty name": (returning({"": "a:B"}), "TypeError: register_fields returns the name ''; expected text"),
}


@pytest.mark.parametrize(("code", "problem"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_a_record_and_the_others_go_on(install, tmp_path, code, problem):
    install("broken", code)
    broken = plugin("broken")
    assert broken.problem.startswith(problem)
    assert "\n" not in broken.problem
    assert broken.components == {}
    assert {one.name for one in registry.load()[0] if not one.error} >= FIRST_PARTY
    assert check(tmp_path, CONFIG.replace("FIELD", "category")).fields["face"].use == "category"


def test_a_plugin_for_another_mmstream_is_refused_before_its_code_runs(install):
    site = install("old", "raise AssertionError('it ran')", requires="mmstream<0.1")
    assert plugin("old").problem == "ImportError: old-plugin 1.0 needs mmstream<0.1, but 0.1.0 is installed"
    assert "old_plugin" not in sys.modules
    assert site.is_dir()


@pytest.mark.parametrize("requires", ["mmstream<0.1; extra == 'test'", "mmstream-image<0.0.1", "MMStream>=0.1"])
def test_other_requirements_do_not_matter(install, requires):
    install("good", GOOD % "good_plugin", requires=requires)
    assert not plugin("good").error


def test_a_development_version_of_mmstream_counts_as_new_enough(install, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.2.0.dev1")
    install("good", GOOD % "good_plugin", requires="mmstream>=0.1")
    assert not plugin("good").error


@pytest.mark.parametrize("metadata", ["", "Name: good-plugin\n", "Metadata-Version: 2.1\nName: g\nVersion: one\n"])
def test_a_plugin_whose_metadata_say_little_is_still_listed(install, metadata, capsys):
    install("good", GOOD % "good_plugin", metadata=metadata)
    assert plugin("good").components == {"field": ("mood",)}
    assert cli.main(["plugins", "list"]) == 0
    assert "good" in capsys.readouterr().out


def test_a_name_that_two_plugins_claim_belongs_to_neither(install, tmp_path):
    install("strange", returning({"image": "strange_plugin:A", "mood": "strange_plugin:B"}))
    why = (
        "the field 'image' is registered by 'image' (mmstream-image 0.1.0) and by 'strange' (strange-plugin 1.0): "
        "neither is used; uninstall one, or rename its component"
    )
    for name in ("image", "strange"):
        assert list(plugin(name).refused.values()) == [why]
        assert not plugin(name).error
    with pytest.raises(MmstreamError) as error:
        registry.find("field", "image")
    assert str(error.value) == why
    with pytest.raises(ConfigError, match=r"line 4, fields\.face\.use: the field 'image' is registered by 'image'"):
        check(tmp_path, CONFIG.replace("FIELD", "image, size: [8, 8]"))


def test_a_claimed_name_leaves_the_other_components_of_both_plugins_usable(install, tmp_path):
    install("strange", returning({"image": "strange_plugin:A", "mood": "strange_plugin.parts:Mood"}), parts=MOOD)
    assert plugin("image").components == {"encoder": ("cnn", "resnet", "vit")}
    assert plugin("strange").components == {"field": ("mood",)}
    assert registry.component("encoder", "cnn").distribution == "mmstream-image"
    assert check(tmp_path, CONFIG.replace("FIELD", "mood")).fields["face"].use == "mood"


def test_two_plugins_may_share_the_name_of_their_entry_point(install):
    install("strange", returning({"mood": "strange_plugin:A"}), point="image")
    assert registry.component("field", "mood").distribution == "strange-plugin"
    assert registry.component("field", "image").distribution == "mmstream-image"
    assert [one.distribution for one in registry.load()[0] if one.name == "image"] == [
        "mmstream-image",
        "strange-plugin",
    ]


def test_a_config_that_names_a_component_of_a_broken_plugin_is_told_why(install, tmp_path):
    install("broken", "import no_such_module")
    with pytest.raises(ConfigError) as error:
        check(tmp_path, CONFIG.replace("FIELD", "mood"))
    assert "line 4, fields.face.use: no field is called 'mood'. Available: " in str(error.value)
    broken = "broken-plugin (ModuleNotFoundError: No module named 'no_such_module')"
    assert f"Plugins that failed to load: {broken}." in str(error.value)


LATE = {
    "ImportError": ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    "SystemExit": ("raise SystemExit(3)", "SystemExit: 3"),
    "SyntaxError": ("def", "SyntaxError: invalid syntax (parts.py, line 1)"),
    "no such class": ("", "AttributeError: module 'late_plugin.parts' has no attribute 'Mood'"),
}


@pytest.mark.parametrize(("code", "problem"), LATE.values(), ids=LATE)
def test_a_component_that_cannot_be_imported_fails_only_the_config_that_names_it(install, tmp_path, code, problem):
    install("late", GOOD % "late_plugin", parts=code)
    assert plugin("late").components == {"field": ("mood",)}
    assert check(tmp_path, CONFIG.replace("FIELD", "category")).fields["face"].use == "category"
    with pytest.raises(ConfigError) as error:
        check(tmp_path, CONFIG.replace("FIELD", "mood"))
    assert (
        "line 4, fields.face.use: the field 'mood' of late-plugin 1.0 cannot be imported from "
        f"'late_plugin.parts:Mood': {problem}"
    ) in str(error.value)


def test_a_component_that_is_no_class_is_refused(install):
    install("good", GOOD % "good_plugin", parts="def Mood(): pass")
    with pytest.raises(MmstreamError, match=r"the field 'mood' of good-plugin 1\.0 is not a class: .* type 'function'"):
        registry.find("field", "mood")


def test_a_parameter_without_an_annotation_takes_anything(install, tmp_path):
    install("good", GOOD % "good_plugin", parts=MOOD)
    for value in ("3", "[a, {b: null}]", "text"):
        assert check(tmp_path, CONFIG.replace("FIELD", f"mood, scale: {value}"))
    with pytest.raises(ConfigError, match=r"fields\.face\.strict: expected true or false; found 'yes'"):
        check(tmp_path, CONFIG.replace("FIELD", "mood, strict: yes"))


@pytest.mark.parametrize("annotation", ["NoSuchName", "'NoSuchName'", "open('x')", "threading.Lock()", "[int]"])
def test_an_annotation_that_cannot_be_checked_takes_anything(install, tmp_path, annotation):
    lazily = "from __future__ import annotations\nimport threading\n"
    install("good", GOOD % "good_plugin", parts=lazily + textwrap.dedent(MOOD.replace("bool", annotation)))
    assert check(tmp_path, CONFIG.replace("FIELD", "mood, strict: 3")).fields["face"].parameters == {"strict": 3}


def test_a_constructor_that_raises_is_a_problem_of_the_config(install, tmp_path):
    install("good", GOOD % "good_plugin", parts=MOOD)
    with pytest.raises(ConfigError, match=r"line 4, fields\.face: RuntimeError: no such scale"):
        check(tmp_path, CONFIG.replace("FIELD", "mood, scale: boom"))


def test_the_list_shows_what_works_what_is_refused_and_what_is_broken(install, capsys):
    install("broken", "raise ValueError('first\\nsecond')")
    install("strange", returning({"image": "strange_plugin:A", "mood": "strange_plugin:B"}))
    assert cli.main(["plugins", "list"]) == 0
    listed = capsys.readouterr().out
    assert (
        "image 0.1.0 (mmstream-image)\n  encoder: cnn, resnet, vit\n  REFUSED: the field 'image' is registered by"
        in listed
    )
    assert "strange 1.0 (strange-plugin)\n  field: mood\n  REFUSED: the field 'image' is registered by" in listed
    assert "broken 1.0 (broken-plugin)\n  BROKEN: ValueError: first\n" in listed
    assert "second" not in listed


def test_the_list_as_json_stays_json_when_a_plugin_prints(install, capsys):
    install("loud", "print('hello')\n" + returning({"image": "loud_plugin:A"}).replace("return", "print(1); return"))
    assert cli.main(["plugins", "list", "--json"]) == 0
    out, err = capsys.readouterr()
    rows = {row["name"]: row for row in json.loads(out)}
    assert rows["loud"]["refused"] == rows["image"]["refused"] != []
    assert rows["io"] == {
        "name": "io",
        "distribution": "mmstream-io",
        "version": "0.1.0",
        "components": {key: list(names) for key, names in plugin("io").components.items()},
        "refused": [],
        "error": None,
    }
    assert err == "hello\n1\n"


def test_plugins_that_fail_in_every_way_together_cost_a_fresh_process_nothing(install, tmp_path):
    for number, (code, _) in enumerate(BROKEN.values()):
        site = install(f"broken{number}", code)
    code = f"""
        import sys
        from mmstream import cli
        exit_code = cli.main(["plugins", "list"])
        print(exit_code, [name for name in {HEAVY} if name in sys.modules])
    """
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, env=environment, check=True
    )
    *listed, last = done.stdout.splitlines()
    assert last == "0 []"
    assert sum(line.startswith("  BROKEN: ") for line in listed) == len(BROKEN)
    assert "text 0.1.0 (mmstream-text)" in listed


def test_a_head_of_an_earlier_mmstream_is_refused_with_the_new_names(monkeypatch):
    class Old:
        forced = True

        def known(self, target): ...

    class Silent:
        pass

    for head, advice in (
        (Old, "rename its `forced` to `autoregressive`, `known` to `target_mask`"),
        (Silent, "declare it"),
    ):
        monkeypatch.setattr(registry, "find", lambda kind, name, head=head: head)
        ((key, message),) = components.check("head", "old", {})
        assert key == "use"
        assert "does not say whether it is `autoregressive`" in message
        assert message.endswith(advice)

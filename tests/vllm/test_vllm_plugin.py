"""How laconic comes into vLLM's places, and where it does not."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from laconic.vllm import plugin, workers
from laconic.vllm.holder import Holder
from laconic.vllm.plugin import HOLDER, PluginError, Seam, register, version
from tests.vllm_fakes import Params, configuration, think

SEAMS = list(plugin.SEAMS)


class Invalid(ValueError):
    """vLLM's own error for requests that cannot be."""


def placed(function: Any, module: str) -> Any:
    function.__module__ = module
    return function


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Stand-ins of all modules with a place for laconic."""
    monkeypatch.setattr(workers, "_LATEST", [])
    monkeypatch.setattr(workers, "_LISTENERS", [])
    owners: dict[tuple[str, str], Any] = {}
    names = {seam.module for seam in SEAMS} | {"vllm", "vllm.config", "vllm.exceptions", "vllm.worker"}
    names |= {name.rsplit(".", up)[0] for name in names for up in range(1, name.count(".") + 1)}
    for name in sorted(names - {""}):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    modules: Any = sys.modules
    modules["vllm"].__version__ = "0.32.1+cpu"
    modules["vllm.config"].get_current_vllm_config = configuration
    modules["vllm.exceptions"].VLLMValidationError = Invalid
    for seam in SEAMS:
        place = modules[seam.module]
        if seam.owner:
            key = seam.module, seam.owner
            place = owners.setdefault(key, type(seam.owner, (), {"vllm_config": configuration()}))
            setattr(modules[seam.module], seam.owner, place)

        def there(*args: Any, **kwargs: Any) -> Any:
            return args, kwargs

        placed(there, seam.module)
        setattr(place, seam.name, classmethod(there) if seam is plugin.STATE else there)
    return modules["vllm"]


def places() -> list[Any]:
    return [seam.find()[1] for seam in SEAMS]


def test_all_places_are_taken_once(vllm: ModuleType) -> None:
    before = places()
    register()
    taken = places()
    assert not set(map(id, before)) & set(map(id, taken))
    register()
    assert list(map(id, places())) == list(map(id, taken))


def test_what_stands_there_is_called_as_vllm_calls_it(vllm: ModuleType) -> None:
    register()
    modules: Any = sys.modules
    batch = modules[HOLDER.module]
    holder = batch.maybe_create_thinking_budget_state_holder("reasoning", max_num_seqs=4)
    assert isinstance(holder, Holder)
    assert holder.theirs == (("reasoning",), {"max_num_seqs": 4})
    processor = modules[plugin.PROCESS.module].InputProcessor()
    others = Params()
    assert processor.process_inputs("id", [1], others, priority=3) == ((processor, "id", [1], others), {"priority": 3})
    with pytest.raises(Invalid, match="Did you mean"):
        processor.process_inputs("id", [1], think("bugdet:3"))
    engine = modules[plugin.GENERATE.module].AsyncLLM()
    assert engine.generate([1], others, "id") == ((engine, [1], others, "id"), {})
    expand = modules[plugin.EXPAND.module].expand_batch_to_tokens
    x = torch.zeros(1, device="meta")
    assert expand(x, 3) == ((x, 3), {})


def test_a_class_method_is_called_on_its_class(vllm: ModuleType) -> None:
    state = sys.modules[plugin.STATE.module].RequestState  # type: ignore[attr-defined]
    seen: list[Any] = []

    def wrap(function: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            seen.append(args)
            return function(*args, **kwargs)

        return placed(wrapped, "laconic.somewhere")

    plugin.STATE.replace(wrap)
    plugin.STATE.replace(wrap)
    assert state.from_new_request(1, request=2) == ((state, 1), {"request": 2})
    assert state().from_new_request(3) == ((state, 3), {})
    assert seen == [(1,), (3,)]


@pytest.mark.parametrize("seam", SEAMS, ids=str)
def test_a_place_that_is_missing_is_named_and_nothing_is_taken(seam: Seam, vllm: ModuleType) -> None:
    place = sys.modules[seam.module]
    before = {other: other.find()[1] for other in SEAMS if other is not seam}
    delattr(getattr(place, seam.owner) if seam.owner else place, seam.name)
    with pytest.raises(PluginError, match=rf"no {seam}\.") as raised:
        register()
    assert "VLLM_PLUGINS" in str(raised.value)
    assert {other: other.find()[1] for other in before} == before


def test_modules_and_classes_that_are_missing(vllm: ModuleType) -> None:
    for seam in (Seam("vllm.gone", "name"), Seam("vllm.config", "name", "Owner"), Seam("vllm.v1.gone.far", "name")):
        with pytest.raises(PluginError, match=rf"no {seam}\."):
            seam.find()
    child = type("Child", (sys.modules[plugin.PROCESS.module].InputProcessor,), {})  # type: ignore[attr-defined]
    sys.modules["vllm.config"].Child = child  # type: ignore[attr-defined]
    with pytest.raises(PluginError, match=r"no vllm\.config\.Child\.process_inputs\."):
        Seam("vllm.config", "process_inputs", "Child").find()


@pytest.mark.parametrize("seam", SEAMS, ids=str)
def test_another_plug_in_there_is_named(seam: Seam, vllm: ModuleType) -> None:
    place = sys.modules[seam.module]
    owner = getattr(place, seam.owner) if seam.owner else place
    other = placed(lambda *args: args, "vllmish.patches")
    setattr(owner, seam.name, staticmethod(other) if seam is plugin.STATE else other)
    before = [getattr(sys.modules[one.module], one.owner or one.name) for one in SEAMS]
    with pytest.raises(PluginError, match=r"another plug-in \(vllmish.patches\) has taken the place of") as raised:
        register()
    assert str(seam) in str(raised.value)
    assert [getattr(sys.modules[one.module], one.owner or one.name) for one in SEAMS] == before
    assert getattr(owner, seam.name) is other


@pytest.mark.parametrize("given", ["0.31.2", "1.32.0", "0.34.0rc1", "unknown", "dev"])
def test_versions_that_are_not_known_are_refused(given: str, vllm: ModuleType) -> None:
    vllm.__version__ = given  # type: ignore[attr-defined]
    before = places()
    with pytest.raises(PluginError, match=rf"0\.32 and 0\.33, not {given}"):
        register()
    assert places() == before


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0.32.1+cpu", (0, 32)), ("0.33.0rc1.dev4+g1", (0, 33)), ("0.33", (0, 33)), ("dev", (-1,)), ("0.x.1", (0, -1))],
)
def test_numbers_of_a_version(text: str, numbers: tuple[int, ...]) -> None:
    assert version(text) == numbers

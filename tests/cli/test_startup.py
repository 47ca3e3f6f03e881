"""What is asked before any model is needed answers at once: nothing heavy is imported for it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import laconic.methods
from laconic.cli.describe import INDEX, describe, known
from laconic.models.specimen.place import Specimen, place
from laconic.policy import FAMILIES, Card, Policy, Registry, registry

assert laconic.methods

SRC = Path(laconic.methods.__file__).parent.parent
CPU_SECONDS, MEGABYTES = 1.0, 100
MEASURED = """
import resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "laconic", *sys.argv[1:]], capture_output=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
print(done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss / unit)
"""


def measured(*arguments):
    """Exit code, CPU seconds and peak memory in MB of ``laconic`` with these arguments."""
    environment = os.environ | {"PYTHONPATH": str(SRC)}
    said = subprocess.run(
        [sys.executable, "-c", MEASURED, *arguments], env=environment, capture_output=True, check=True
    )
    code, seconds, megabytes = said.stdout.split()
    return int(code), float(seconds), float(megabytes)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["methods"], 0),
        (["methods", "--json"], 0),
        (["methods", "--family", "drafters"], 2),
        (["run", "--help"], 0),
        (["methds"], 2),
        (["run", "--lenght", "svip", "hello"], 2),
    ],
)
def test_what_needs_no_model_is_quick_and_small(arguments, code):
    runs = [measured(*arguments) for _ in range(2)]
    assert {run[0] for run in runs} == {code}
    # The faster of two: the first may have compiled the modules.
    assert min(run[1] for run in runs) < CPU_SECONDS
    assert max(run[2] for run in runs) < MEGABYTES


@pytest.mark.parametrize("name", ["smollm2", "smollm2-reasoner"])
def test_a_specimen_that_is_there_is_said_so_at_once(tmp_path, monkeypatch, name):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place("smollm2").mkdir(parents=True)
    Specimen(str(tmp_path), "a wheel", "MIT", 1, {"F32": 1}, "float32", 4).write(place("smollm2"))
    runs = [measured("specimen", name) for _ in range(2)]
    assert {run[0] for run in runs} == {0}
    assert min(run[1] for run in runs) < CPU_SECONDS
    assert max(run[2] for run in runs) < MEGABYTES


@pytest.mark.parametrize("module", ["typer", "laconic.cli.fit", "torch"])
def test_ctrl_c_while_importing_ends_quietly(tmp_path, module):
    stop = f"""
import sys
class Interrupt:
    def find_spec(self, name, *rest):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
"""
    (tmp_path / "sitecustomize.py").write_text(stop)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(SRC)])}
    done = subprocess.run(
        [sys.executable, "-m", "laconic", "run", "hello"], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_the_index_says_what_the_classes_say():
    kept = json.loads(INDEX.read_text(encoding="utf-8"))
    assert kept == [describe(family, name, cls) for family, name, cls in registry.all()]


class Foreign(Policy):
    """A method of somebody else."""

    card = Card(paper="none", lossless=True)


def test_a_method_that_the_index_lacks_is_described_from_its_class(monkeypatch):
    names = Registry()
    names.register("think", "foreign", f"{__name__}:Foreign")
    monkeypatch.setattr("laconic.cli.describe.registry", names)
    (about,) = known(FAMILIES)
    assert (about["name"], about["summary"]) == ("foreign", "A method of somebody else.")

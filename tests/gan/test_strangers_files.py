"""What a stranger hands over, a run or a store or data, is read and never run."""

import ast
import pickle
import sqlite3
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from subsel.gan import checkpoint, config, features, record
from subsel.lab import cells
from subsel.lab.errors import RunError, UsageError
from subsel.lab.store import Store

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("src/**/*.py"), *ROOT.glob("experiments/*.py")])
RUN = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "code"}
METHODS = {"import_module", "read_pickle", "enable_load_extension"}
CALLS = {"eval", "exec", "compile", "__import__"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_source_reads_what_can_bring_code_along(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None), *(a.name for a in node.names)]
            assert not RUN & {str(name).partition(".")[0] for name in names}
        elif isinstance(node, ast.Call):
            said = ast.unparse(node.func)
            assert said not in CALLS and said.rpartition(".")[2] not in METHODS
            if said in ("np.load", "numpy.load", "torch.load"):
                assert "allow_pickle=False" in ast.unparse(node)


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.mkdir, (self.path,)


@pytest.fixture
def trap(tmp_path):
    """The bytes of a pickle; when the test is over, nothing must have run them."""
    sprung = tmp_path / "sprung"
    content = pickle.dumps(Trap(sprung))
    pickle.loads(content)
    sprung.rmdir()  # so it works
    yield content
    assert not sprung.exists()


def test_a_configuration(trap, tmp_path):
    (tmp_path / "config.json").write_bytes(trap)
    with pytest.raises(UsageError, match="cannot be read"):
        config.load(tmp_path)


def test_a_record(trap, tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(trap + b"\n")
    with pytest.raises(UsageError, match="line 1 of .* is damaged"):
        record.truncate(tmp_path, 1)


def test_results_of_an_experiment(trap, tmp_path):
    (tmp_path / "out.json").write_bytes(trap)
    with pytest.raises(UsageError, match="is no file of results"):
        cells.run(tmp_path / "out.json", {}, {"a": dict})


def test_a_store(trap, tmp_path):
    (tmp_path / "all.db").write_bytes(trap)
    with pytest.raises(UsageError, match="--store"):
        Store(tmp_path / "all.db", {})
    store = Store(tmp_path / "one.db", {})
    with sqlite3.connect(store.path) as db:
        db.execute("INSERT INTO trials VALUES (?, 'a', ?)", (store.study, trap))
    db.close()
    with pytest.raises(RunError, match="damaged: a has no result"):
        store.results()


class Tiny(NamedTuple):
    step: jax.Array
    weights: jax.Array


# Tensorstore's threads speak to an event loop that orbax has closed over the error.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_checkpoint(trap, tmp_path):
    """Each of its files in turn, with checksums that are right."""
    manager = checkpoint.open(tmp_path)
    state = Tiny(jnp.int32(1), jnp.arange(10.0))
    checkpoint.save(manager, state)
    checkpoint.close(manager)
    folder = tmp_path / "checkpoints" / "1"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        before = path.read_bytes()
        path.write_bytes(trap)
        if path.name != "crc32.json":
            checkpoint._seal(folder)
        try:
            found = checkpoint.restore(tmp_path, state)
        except UsageError as error:
            assert "is damaged; no older one" in str(error)
        else:  # nobody reads that file
            np.testing.assert_array_equal(found.weights, state.weights)
        path.write_bytes(before)
    checkpoint._seal(folder)
    checkpoint.restore(tmp_path, state)


def test_the_cache_of_a_feature_network(tmp_path, trap):
    file = tmp_path / "features.npz"
    held = np.array([Trap(tmp_path / "sprung")])
    np.savez(file, held)
    assert b"mkdir" in file.read_bytes()
    assert features._unpacked(file.read_bytes(), {"a": jnp.zeros(1)}) is None

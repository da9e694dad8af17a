"""A store of trials that survives kill -9, and that several processes may share."""

import contextlib
import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from subsel.lab import owners
from subsel.lab.errors import RunError, UsageError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS studies (study TEXT PRIMARY KEY, protocol TEXT);
CREATE TABLE IF NOT EXISTS trials (
    study TEXT, trial TEXT, result TEXT, PRIMARY KEY (study, trial)
);
CREATE TABLE IF NOT EXISTS claims (
    study TEXT, job TEXT, owner TEXT, until REAL, PRIMARY KEY (study, job)
);
CREATE TABLE IF NOT EXISTS kept (
    study TEXT, name TEXT, value TEXT, PRIMARY KEY (study, name)
);
"""
LEASE = 60.0  # seconds without a sign of life after which a claim is another's


class Store:
    """Results of trials in an SQLite file, in studies that never mix.

    A study is named by a digest of its protocol: everything that results depend on
    beside what a trial's own name says. A job is a few trials that are run, and
    written, together. Whoever runs one claims it first. The claim ends with its owner:
    at once if that was a process of this host that is no more, and else when this
    process has seen no sign of life for a minute. No clock but one's own is asked, and
    that only for how long it was: one that is set, or differs, takes no claim away.

    A new file is in WAL mode, and one that is there in the mode that it has: what was
    written stays written through kill -9. Not for network file systems, whose locks
    SQLite cannot trust.

    Every method raises `RunError` when the file cannot be read or written any more.
    """

    def __init__(
        self,
        path: str | Path,
        protocol: dict,
        lease: float = LEASE,
        read_only: bool = False,
    ):
        """Opens the file, or creates it; ``read_only`` leaves it as it is.

        Raises:
            UsageError: it cannot be written, or read, or is not such a file.
        """
        text = json.dumps(protocol, sort_keys=True)
        self.study = hashlib.sha256(text.encode()).hexdigest()[:12]
        self.path, self.lease = Path(path), lease
        self.owner = owners.name()
        self._seen = {}  # job -> its claim, and since when it has been like that
        self._uri = (
            f"{self.path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        )
        try:
            if read_only:
                with self._connected() as db:
                    for table in ("trials", "kept"):
                        db.execute(f"SELECT study FROM {table} LIMIT 1")
                return
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._connected() as db:
                if not _is_ready(db):
                    _use_wal(db)
                    for line in _SCHEMA.split(";"):
                        db.execute(line)
                db.execute(
                    "INSERT OR IGNORE INTO studies VALUES (?, ?)", (self.study, text)
                )
        except (OSError, sqlite3.Error) as error:
            raise UsageError(
                f"the store {path} cannot be used: {error}; name another with --store"
            ) from None

    def results(self) -> dict[str, dict]:
        """All trials of the study, by name."""
        with self._open() as db:
            rows = db.execute(
                "SELECT trial, result FROM trials WHERE study = ?", (self.study,)
            )
            return {trial: _result(trial, text) for trial, text in rows}

    def names(self) -> set[str]:
        """Of the trials that are there."""
        with self._open() as db:
            rows = db.execute("SELECT trial FROM trials WHERE study = ?", (self.study,))
            return {name for (name,) in rows}

    def keep(self, name: str, value: dict) -> dict:
        """What every trial of the study shares: what is there, or else this."""
        with self._open() as db:
            db.execute(
                "INSERT OR IGNORE INTO kept VALUES (?, ?, ?)",
                (self.study, name, json.dumps(value)),
            )
        return self.kept(name)

    def kept(self, name: str) -> dict | None:
        """What was kept under a name; None before that."""
        with self._open() as db:
            row = db.execute(
                "SELECT value FROM kept WHERE study = ? AND name = ?",
                (self.study, name),
            ).fetchone()
        return row and _result(name, *row)

    def claim(self, job: str, trials: Sequence[str]) -> bool:
        """Whether the job is now this process's to run.

        Not if all its trials are there, or somebody who is alive has claimed it.
        """
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            marks = ", ".join("?" * len(trials))
            (there,) = db.execute(
                f"SELECT count(*) FROM trials WHERE study = ? AND trial IN ({marks})",
                (self.study, *trials),
            ).fetchone()
            if there == len(trials):
                return False
            claim = db.execute(
                "SELECT owner, until FROM claims WHERE study = ? AND job = ?",
                (self.study, job),
            ).fetchone()
            if claim is not None and not self._is_over(job, claim):
                return False
            db.execute(
                "INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?)",
                (self.study, job, self.owner, time.time() + self.lease),
            )
            return True

    def _is_over(self, job, claim) -> bool:
        if owners.is_dead(claim[0]):
            return True
        now = time.monotonic()
        before, since = self._seen.setdefault(job, (claim, now))
        if before != claim:
            self._seen[job] = claim, now
            return False
        return now - since > self.lease

    def finish(self, job: str, results: dict[str, dict]) -> None:
        """Writes all trials of a job, or none, and gives up the claim.

        A trial that is there already stays as it is.
        """
        rows = [(self.study, k, json.dumps(v)) for k, v in results.items()]
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT OR IGNORE INTO trials VALUES (?, ?, ?)", rows)
            db.execute(
                "DELETE FROM claims WHERE study = ? AND job = ? AND owner = ?",
                (self.study, job, self.owner),
            )

    @contextlib.contextmanager
    def alive(self) -> Iterator[Callable]:
        """While the block runs, this process's claims do not end; then they do."""
        ended = threading.Event()

        def beat():
            while not ended.wait(self.lease / 4):
                with contextlib.suppress(RunError), self._open() as db:
                    # Another value each time, whatever the clock does.
                    db.execute(
                        "UPDATE claims SET until = max(until + 1, ?) "
                        "WHERE study = ? AND owner = ?",
                        (time.time() + self.lease, self.study, self.owner),
                    )

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            with self._open() as db:
                db.execute("DELETE FROM claims WHERE owner = ?", (self.owner,))

    @contextlib.contextmanager
    def _open(self):
        try:
            with self._connected() as db:
                yield db
        except sqlite3.Error as error:
            raise RunError(
                f"the store {self.path} cannot be used any more: {error}. Mend it "
                "(free the disk, or put a copy of the file back): what it holds is "
                "kept, and the same command goes on"
            ) from error

    @contextlib.contextmanager
    def _connected(self):
        # A connection a call: one may not be shared by threads, and none is worth it.
        db = sqlite3.connect(self._uri, timeout=60, uri=True)
        try:
            with db:
                yield db
        finally:
            db.close()


def _is_ready(db):
    """Whether nothing has to be written to the file before it can be used."""
    there = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {"studies", "trials", "claims", "kept"} <= {name for (name,) in there}


def _use_wal(db):
    """SQLite does not wait for others here, who may be opening the same new file."""
    deadline = time.monotonic() + 10
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _result(name, text):
    try:
        result = json.loads(text)
        if isinstance(result, dict):
            return result
        problem = type(result).__name__
    except (TypeError, ValueError, RecursionError) as error:
        problem = error
    raise RunError(
        f"the store is damaged: {name} has no result, but {problem}; put a copy "
        "of the file back, or name another with --store"
    )

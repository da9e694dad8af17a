"""A store of trials that survives kill -9, and that several processes may share."""

import contextlib
import hashlib
import json
import os
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from subsel.lab.errors import UsageError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS studies (study TEXT PRIMARY KEY, protocol TEXT);
CREATE TABLE IF NOT EXISTS trials (
    study TEXT, trial TEXT, result TEXT, PRIMARY KEY (study, trial)
);
CREATE TABLE IF NOT EXISTS claims (
    study TEXT, job TEXT, owner TEXT, until REAL, PRIMARY KEY (study, job)
);
"""
LEASE = 60.0  # seconds after its last sign of life that a process keeps its claim


class Store:
    """Results of trials in an SQLite file, in studies that never mix.

    A study is named by a digest of its protocol: everything that results depend on
    beside what a trial's own name says. A job is a few trials that are run, and
    written, together. Whoever runs one claims it first; the claim ends a minute after
    its owner's last sign of life, so that what a killed process had begun is taken up
    by another.

    The file is in WAL mode: what was written stays written through kill -9. Not for
    network file systems, whose locks SQLite cannot trust.
    """

    def __init__(self, path: str | Path, protocol: dict, lease: float = LEASE):
        """Opens the file, or creates it.

        Raises:
            UsageError: it cannot be written, or is not such a file.
        """
        text = json.dumps(protocol, sort_keys=True)
        self.study = hashlib.sha256(text.encode()).hexdigest()[:12]
        self.path, self.lease = Path(path), lease
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._open() as db:
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
            return {trial: json.loads(result) for trial, result in rows}

    def names(self) -> set[str]:
        """Of the trials that are there."""
        with self._open() as db:
            rows = db.execute("SELECT trial FROM trials WHERE study = ?", (self.study,))
            return {name for (name,) in rows}

    def claim(self, job: str, trials: Sequence[str]) -> bool:
        """Whether the job is now this process's to run.

        Not if all its trials are there, or somebody who is alive has claimed it.
        """
        now = time.time()
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            marks = ", ".join("?" * len(trials))
            (there,) = db.execute(
                f"SELECT count(*) FROM trials WHERE study = ? AND trial IN ({marks})",
                (self.study, *trials),
            ).fetchone()
            if there == len(trials):
                return False
            claimed = db.execute(
                "INSERT INTO claims VALUES (:study, :job, :owner, :until) "
                "ON CONFLICT (study, job) DO UPDATE SET owner = :owner, until = :until "
                "WHERE until < :now",
                {
                    "study": self.study,
                    "job": job,
                    "owner": self.owner,
                    "until": now + self.lease,
                    "now": now,
                },
            )
            return claimed.rowcount == 1

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
                with contextlib.suppress(sqlite3.Error), self._open() as db:
                    db.execute(
                        "UPDATE claims SET until = ? WHERE study = ? AND owner = ?",
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
        # A connection a call: one may not be shared by threads, and none is worth it.
        db = sqlite3.connect(self.path, timeout=60)
        try:
            with db:
                yield db
        finally:
            db.close()


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

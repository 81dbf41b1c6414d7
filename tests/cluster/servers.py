"""A real Flink session cluster on this machine, from package registries alone: PyPI has Flink, Maven the job server."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FLINK = "1.19.3"
SLOTS = 2
HOME = Path(__file__).parents[2] / "build" / "cluster"
"""Where the servers are installed, once for all runs."""
_PATIENCE_SECONDS = 60
_LOGGING = "-Dorg.apache.logging.log4j.level=INFO"
_OPENED = ("lang", "lang.reflect", "net", "io", "nio", "text", "time", "util", "util.concurrent")
_JAVA = (
    *(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in _OPENED),
    "--add-opens=java.base/java.util.concurrent.atomic=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent.locks=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-exports=java.base/sun.net.util=ALL-UNNAMED",
)
_CONFIG = """
jobmanager.rpc.address: localhost
jobmanager.rpc.port: {rpc}
jobmanager.bind-host: 127.0.0.1
rest.address: localhost
rest.bind-address: 127.0.0.1
rest.port: {rest}
taskmanager.host: localhost
taskmanager.bind-host: 127.0.0.1
taskmanager.numberOfTaskSlots: {slots}
parallelism.default: {slots}
taskmanager.cpu.cores: {slots}
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.framework.off-heap.size: 128m
taskmanager.memory.task.heap.size: 512m
taskmanager.memory.task.off-heap.size: 64m
taskmanager.memory.managed.size: 128m
taskmanager.memory.network.min: 256m
taskmanager.memory.network.max: 256m
taskmanager.network.sort-shuffle.min-buffers: 64
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 192m
taskmanager.memory.jvm-overhead.max: 192m
heartbeat.interval: 2000
heartbeat.timeout: 20000
restart-strategy.type: fixed-delay
restart-strategy.fixed-delay.attempts: 100
restart-strategy.fixed-delay.delay: 2 s
state.checkpoints.dir: file://{folder}/checkpoints
state.savepoints.dir: file://{folder}/savepoints
io.tmp.dirs: {folder}/tmp
blob.storage.directory: {folder}/tmp
web.tmpdir: {folder}/tmp
classloader.check-leaked-classloader: false
"""


def missing() -> str:
    """What this machine lacks to run the servers; "" if nothing."""
    return ", ".join(name for name in ("java", "mvn") if shutil.which(name) is None)


def install() -> None:
    """Fetch Flink and build the job server, unless that has been done; about a minute."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (HOME / "flink" / "lib").exists():
            _install_flink()
        if not (HOME / "job-server.jar").exists():
            _build_job_server()


class Flink:
    """A session cluster with one TaskManager, on ports that were free.

    Args:
        folder: for what it writes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rest, self._rpc = free_ports(2)
        (folder / "tmp").mkdir(parents=True)
        about = {"folder": folder, "rest": self._rest, "rpc": self._rpc, "slots": SLOTS}
        (folder / "flink-conf.yaml").write_text(_CONFIG.format(**about))
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the JobManager and a TaskManager."""
        self._start("org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint", ("-Xmx768m",))
        self.start_task_manager()

    def start_task_manager(self) -> None:
        """Start one more, and wait until it has registered."""
        before: set[str] = set()
        self._wait_until(lambda: before.update(self._task_managers()) or True, "the JobManager does not answer")
        memory = ("-Xmx640m", "-XX:MaxDirectMemorySize=512m", "-XX:MaxMetaspaceSize=256m")
        self._start("org.apache.flink.runtime.taskexecutor.TaskManagerRunner", memory)
        self._wait_until(lambda: self._task_managers() - before, "no TaskManager has registered")

    def kill_task_manager(self) -> None:
        """SIGKILL to the youngest, while it runs and a job does."""
        assert self._processes[-1].poll() is None, "it has ended before"
        assert self.running(), "no job is running"
        _kill(self._processes.pop())

    def options(self) -> list[str]:
        """Beam options that run a pipeline here, its Python workers being threads of the driver."""
        return [
            "--runner=FlinkRunner",
            f"--flink_version={FLINK.rpartition('.')[0]}",
            f"--flink_master=localhost:{self._rest}",
            f"--flink_job_server_jar={HOME / 'job-server.jar'}",
            f"--parallelism={SLOTS}",
            "--environment_type=LOOPBACK",
        ]

    def get(self, path: str) -> Any:
        """What the REST interface says."""
        with urllib.request.urlopen(f"http://localhost:{self._rest}/{path}", timeout=10) as answer:
            return json.load(answer)

    def running(self) -> list[str]:
        """The ids of jobs that have not ended."""
        ended = ("FINISHED", "CANCELED", "FAILED")
        return [job["id"] for job in self.get("jobs")["jobs"] if job["status"] not in ended]

    def cancel(self) -> None:
        """Cancel all jobs, and wait until their slots are free."""
        for job in self.running():
            url = f"http://localhost:{self._rest}/jobs/{job}?mode=cancel"
            urllib.request.urlopen(urllib.request.Request(url, method="PATCH"), timeout=10).close()
        self._wait_until(lambda: not self.running(), "the jobs are not cancelled")

    def stop_with_savepoint(self, folder: Path) -> str:
        """Stop the job that is running, keeping its state; where that lies."""
        (job,) = self.running()
        body = json.dumps({"drain": False, "targetDirectory": f"file://{folder}"}).encode()
        request = urllib.request.Request(
            f"http://localhost:{self._rest}/jobs/{job}/stop", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            ticket = json.load(answer)["request-id"]
        about: dict[str, Any] = {}

        def done() -> bool:
            about.update(self.get(f"jobs/{job}/savepoints/{ticket}"))
            return about["status"]["id"] == "COMPLETED"

        self._wait_until(done, "no savepoint is written")
        return str(about["operation"]["location"])

    def close(self) -> None:
        """End all of its processes."""
        while self._processes:
            _kill(self._processes.pop())

    def _start(self, main: str, memory: tuple[str, ...]) -> None:
        number = len(self._processes)
        log = self._folder / f"{number}-{main.rpartition('.')[2]}-{time.monotonic_ns()}.log"
        (self._folder / "plugins").mkdir(exist_ok=True)
        command = [
            *ending_with_this_process(),
            *("java", *memory, *_JAVA, _LOGGING, f"-Djava.io.tmpdir={self._folder / 'tmp'}"),
            *("-cp", f"{HOME / 'flink' / 'lib'}/*", main, "--configDir", str(self._folder)),
        ]
        environment = {**os.environ, "FLINK_PLUGINS_DIR": str(self._folder / "plugins")}
        with log.open("wb") as file:
            self._processes.append(
                subprocess.Popen(command, stdout=file, stderr=file, env=environment, start_new_session=True)
            )

    def _task_managers(self) -> set[str]:
        return {each["id"] for each in self.get("taskmanagers")["taskmanagers"]}

    def _wait_until(self, fact: Any, otherwise: str) -> None:
        end = time.monotonic() + _PATIENCE_SECONDS
        while True:
            with contextlib.suppress(OSError):
                if fact():
                    return
            if time.monotonic() > end:
                raise TimeoutError(f"{otherwise}; see {self._folder}")
            time.sleep(0.2)


@contextlib.contextmanager
def flink(folder: Path) -> Iterator[Flink]:
    """A cluster, while the block runs."""
    install()
    cluster = Flink(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


def ending_with_this_process() -> list[str]:
    """What makes a process end when this one is killed, where that is possible."""
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


def job_servers(folder: Path) -> list[str]:
    """The job servers of commands whose temporary files lie in a folder: their artifacts lie there, too."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().decode(errors="replace")
            if "job-server.jar" in line and str(folder) in line:
                found.append(line)
    return found


def _install_flink() -> None:
    with tempfile.TemporaryDirectory(dir=HOME) as scratch:
        source = f"apache-flink-libraries=={FLINK}"
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, source]
        subprocess.run(pip, check=True)
        (archive,) = Path(scratch).glob("*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(scratch, filter="data")
        (jars,) = Path(scratch).glob("*/deps/lib")
        (HOME / "flink").mkdir(exist_ok=True)
        jars.rename(HOME / "flink" / "lib")


def _build_job_server() -> None:
    with tempfile.TemporaryDirectory(dir=HOME) as scratch:
        shutil.copy(Path(__file__).with_name("job_server_pom.xml"), Path(scratch, "pom.xml"))
        subprocess.run(["mvn", "-B", "-q", "package"], cwd=scratch, check=True)
        Path(scratch, "target", "job-server.jar").rename(HOME / "job-server.jar")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as all_of_them:
        sockets = [all_of_them.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

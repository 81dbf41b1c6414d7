"""A real Kafka broker on this machine, from Maven alone."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from servers import HOME, ending_with_this_process, free_ports

_PATIENCE_SECONDS = 60
_CLUSTER_ID = "bW1zdHJlYW0tdGVzdHMhIQ"
READER, PASSWORD = "agnes-the-reader", "hunter2-geheim"
"""Who may use the broker over TLS, as far as `Kafka.allow` says so."""
_JAVA = ("java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{HOME / 'kafka'}/*")
_CONFIG = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{broker},SASL_SSL://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker},SASL_SSL://127.0.0.1:{secure}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL
listener.name.sasl_ssl.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
    org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.location={folder}/broker.p12
ssl.keystore.password={password}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
"""


def install() -> None:
    """Fetch the broker, unless that has been done; some seconds."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (HOME / "kafka").exists():
            return
        with tempfile.TemporaryDirectory(dir=HOME) as scratch:
            shutil.copy(Path(__file__).with_name("kafka_pom.xml"), Path(scratch, "pom.xml"))
            copy = ("dependency:copy-dependencies", f"-DoutputDirectory={scratch}/jars")
            subprocess.run(["mvn", "-B", "-q", *copy], cwd=scratch, check=True)
            Path(scratch, "jars").rename(HOME / "kafka")


class Kafka:
    """A broker that is its own controller, on ports that were free; they stay the same when it is started again.

    Args:
        folder: for its data and its log.

    Attributes:
        bootstrap: where it listens, "127.0.0.1:port"; whoever comes here may do anything.
        secure: where it listens over TLS, for READER.
        authority: the certificate that vouches for it there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        broker, secure, controller = free_ports(3)
        self.bootstrap, self.secure = f"127.0.0.1:{broker}", f"127.0.0.1:{secure}"
        self.authority = make_certificate(folder)
        self._config = folder / "server.properties"
        ports = {"broker": broker, "secure": secure, "controller": controller}
        self._config.write_text(_CONFIG.format(folder=folder, password=PASSWORD, **ports))
        _format(self._config)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._folder / "broker.log").open("ab") as log:
            command = [*ending_with_this_process(), *_JAVA, "kafka.Kafka", str(self._config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self._wait_until_it_answers()

    def stop(self) -> None:
        """End it in an orderly way."""
        assert self._process is not None, "it has not been started"
        self._process.terminate()
        self._process.wait(_PATIENCE_SECONDS)
        self._process = None

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None, "it has not been started"
        self._process.kill()
        assert self._process.wait() == -signal.SIGKILL, "it has ended before"
        self._process = None

    def close(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self.kill()

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Create a topic, and wait until it is there."""
        client = self.admin()
        client.create_topics([NewTopic(name, partitions, 1)], operation_timeout=_PATIENCE_SECONDS)[name].result()

    def allow(self, operation: AclOperation, topic: str) -> None:
        """Let READER do something to a topic, and wait until the broker knows it."""
        about = (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL)
        about += (f"User:{READER}", "*", operation, AclPermissionType.ALLOW)
        rule, client = AclBinding(*about), self.admin()
        client.create_acls([rule])[rule].result()
        while not client.describe_acls(AclBindingFilter(*about)).result():
            time.sleep(0.1)

    def allow_nothing(self) -> None:
        """Take back all that `allow` has allowed, and wait until the broker knows it."""
        about = (ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY)
        rules, client = AclBindingFilter(*about), self.admin()
        client.delete_acls([rules])[rules].result()
        while client.describe_acls(rules).result():
            time.sleep(0.1)

    def admin(self) -> AdminClient:
        """A client for whatever else is to be done."""
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def _wait_until_it_answers(self) -> None:
        end, client = time.monotonic() + _PATIENCE_SECONDS, self.admin()
        while True:
            with contextlib.suppress(KafkaException):
                if client.list_topics(timeout=1).brokers:
                    return
            assert self._process is not None
            if time.monotonic() > end or self._process.poll() is not None:
                raise TimeoutError(f"the Kafka broker does not answer; see {self._folder}")


@contextlib.contextmanager
def kafka(folder: Path) -> Iterator[Kafka]:
    """A broker, while the block runs."""
    install()
    broker = Kafka(folder)
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


def make_certificate(folder: Path) -> Path:
    """Make a key for 127.0.0.1 (broker.p12) that vouches for itself; returns its certificate."""
    about = ("-keystore", f"{folder}/broker.p12", "-storepass", PASSWORD, "-alias", "broker")
    made = ("-keyalg", "EC", "-dname", "CN=127.0.0.1", "-ext", "san=ip:127.0.0.1", "-storetype", "PKCS12")
    subprocess.run(["keytool", "-genkeypair", *about, *made], check=True, capture_output=True)
    pem = folder / "authority.pem"
    subprocess.run(["keytool", "-exportcert", "-rfc", *about, "-file", str(pem)], check=True, capture_output=True)
    return pem


def _format(config: Path) -> None:
    tool = [*_JAVA, "kafka.tools.StorageTool", "format", "--cluster-id", _CLUSTER_ID, "--config", str(config)]
    user = ["--add-scram", f"SCRAM-SHA-512=[name={READER},password={PASSWORD}]"]
    subprocess.run([*tool, *user], check=True, capture_output=True)

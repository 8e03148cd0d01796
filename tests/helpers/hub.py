"""A JupyterHub that runs, as autograde/HUB.md sets it up, and a user's way through it by HTTP."""

import contextlib
import json
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import requests
import websocket
from hub_site import PROXY, Site, make_site, need, page, plain_environment
from small_course import NAME

START_SECONDS = 300.0
TEST_ONLY = """
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {hub_port}
c.ConfigurableHTTPProxy.command = ["{proxy}"]
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_port}"
c.Spawner.start_timeout = c.Spawner.http_timeout = 300
"""


@dataclass
class Hub:
    """A hub over a site; `address` is where it answers."""

    site: Site
    address: str
    users: dict[str, "User"] = field(default_factory=dict)

    def user(self, name: str) -> "User":
        """One who is signed in, with a server that runs."""
        if name not in self.users:
            self.users[name] = User(self, name)
            self.users[name].sign_in()
            self.users[name].start()
        return self.users[name]


@dataclass
class User:
    """A user of the hub, as their browser is."""

    hub: Hub
    who: str
    session: requests.Session = field(default_factory=requests.Session)

    @property
    def name(self) -> str:
        return self.hub.site.name(self.who)

    @property
    def base(self) -> str:
        return f"{self.hub.address}/user/{self.name}"

    def token(self, path: str) -> str:
        """The page's own mark against forged requests, for a path of the hub's."""
        return next(
            cookie.value for cookie in self.session.cookies if cookie.name == "_xsrf" and cookie.path == path
        )

    def sign_in(self) -> None:
        """By the form of the hub's page."""
        self.session.get(f"{self.hub.address}/hub/login").raise_for_status()
        form = {"username": self.name, "password": self.hub.site.password, "_xsrf": self.token("/hub/")}
        self.session.post(
            f"{self.hub.address}/hub/login", data=form, allow_redirects=False
        ).raise_for_status()

    def start(self) -> None:
        """Start the server, and wait until its page is there."""
        end = time.monotonic() + START_SECONDS
        answer = self.session.get(f"{self.hub.address}/hub/spawn")
        while not (answer.ok and answer.url.startswith(self.base)):
            assert time.monotonic() < end, answer.text[-2000:]
            time.sleep(0.5)
            answer = self.session.get(f"{self.base}/lab")

    def ask(self, method: str, path: str, **given: object) -> requests.Response:
        """A request to the user's server, as its page sends it."""
        headers = {"X-XSRFToken": self.token(f"/user/{self.name}/")}
        return self.session.request(method, f"{self.base}/{path}", headers=headers, timeout=600, **given)

    def value(self, method: str, path: str, **given: object) -> object:
        """The answer of a request that must be answered."""
        answer = self.ask(method, path, **given)
        assert answer.ok, (path, answer.status_code, answer.text[:2000])
        return answer.json()

    def assignments(self) -> dict[str, dict]:
        """The Assignment List by the state of each row; it holds one lesson."""
        found = self.value("GET", "assignments", params={"course_id": "genmap"})
        assert found["success"], found
        return {row["status"]: row for row in found["value"]}

    def act(self, what: str) -> dict[str, dict]:
        """A button of the Assignment List: fetch, submit or fetch_feedback; the list after it."""
        found = self.value("POST", f"assignments/{what}", json={"course_id": "genmap", "assignment_id": NAME})
        assert found["success"], found
        return {row["status"]: row for row in found["value"]}

    def validate(self, path: str) -> dict:
        """The button of a notebook."""
        found = self.value("POST", "assignments/validate", json={"path": path})
        assert found["success"], found
        return found["value"]

    def read(self, path: str) -> dict:
        """A file of the user's, as JupyterLab opens it."""
        return self.value("GET", f"api/contents/{path}")

    def save(self, path: str, model: dict) -> None:
        self.value(
            "PUT", f"api/contents/{path}", json={name: model[name] for name in ("type", "format", "content")}
        )

    def run(self, code: str) -> str:
        """What code prints, and its error, in a kernel of the user's server."""
        kernel = self.value("POST", "api/kernels", json={"name": "python3"})["id"]
        cookies = "; ".join(
            f"{one.name}={one.value}"
            for one in self.session.cookies
            if self.name in one.path or one.path == "/"
        )
        address = f"{self.base}/api/kernels/{kernel}/channels".replace("http", "ws", 1)
        channel = websocket.create_connection(
            address, header=[f"Cookie: {cookies}"], origin=self.hub.address, timeout=300
        )
        try:
            return _answer(channel, code)
        finally:
            channel.close()
            self.ask("DELETE", f"api/kernels/{kernel}")


def _answer(channel: websocket.WebSocket, code: str) -> str:
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "username": "",
        "session": uuid.uuid4().hex,
        "version": "5.3",
    }
    content = {
        "code": code,
        "silent": False,
        "store_history": False,
        "user_expressions": {},
        "allow_stdin": False,
    }
    channel.send(
        json.dumps(
            {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        )
    )
    said = []
    while True:
        message = json.loads(channel.recv())
        if message["parent_header"].get("msg_id") != header["msg_id"]:
            continue
        if message["msg_type"] == "stream":
            said.append(message["content"]["text"])
        elif message["msg_type"] == "error":
            said.append(f"{message['content']['ename']}: {message['content']['evalue']}")
        elif message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            return "".join(said)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@contextmanager
def running(site: Site) -> Iterator[Hub]:
    """The page's hub, on ports of its own; every process of its is ended behind it."""
    port, hub_port, proxy_port = free_ports(3)
    place = site.root / "srv" / "jupyterhub"
    more = TEST_ONLY.format(port=port, hub_port=hub_port, proxy_port=proxy_port, proxy=PROXY)
    (place / "jupyterhub_config.py").write_text(site.here(page("hub")) + more)
    program = site.root / "opt" / "genmap" / "bin" / "jupyterhub"
    line = [*site.view(), "--chdir", str(place), str(program), "--config", "jupyterhub_config.py"]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            line, env=plain_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        _wait(f"http://127.0.0.1:{port}/hub/health", process, place / "log")
        yield Hub(site, f"http://127.0.0.1:{port}")
    finally:
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        for child in family[:1]:
            child.terminate()  # the hub, which ends its proxy and the servers
        psutil.wait_procs(family, 60)
        process.kill()
        process.wait()
        for child in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        site.end_processes()


def _wait(url: str, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None and time.monotonic() < end, log.read_text()[-5000:]
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(url, timeout=10).ok:
                return
        time.sleep(0.2)


@contextmanager
def _made() -> Iterator[Hub]:
    site = make_site()
    try:
        site.make()
        with running(site) as found:
            yield found
    finally:
        site.remove()


_shared = list[Hub]()  # with that of the first test that asks for it: setting it up takes longest


@pytest.fixture(scope="session")
def hub(request: pytest.FixtureRequest) -> Hub:
    """A hub of the page's, with its students and the small lesson, one for all test files."""
    need()
    if not _shared:
        stack = ExitStack()
        request.config.add_cleanup(stack.close)
        _shared.append(stack.enter_context(_made()))
    return _shared[0]

"""A real headless Chromium without JavaScript, driven over WebDriver: JSON on HTTP (W3C)."""

import base64
import functools
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.support.ports import HOST, free_port
from tests.support.services import PATIENCE, Process, eventually

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the name of an element's id in the protocol
_NO_SCRIPTS = {"profile.managed_default_content_settings.javascript": 2}


@functools.cache
def reason_unavailable() -> str | None:
    """Why Chromium cannot be had on this machine, or None if it can."""
    for tool in ("chromium", "chromedriver"):
        if shutil.which(tool) is None:
            return f"the command {tool} is missing (Debian packages chromium, chromium-driver)"
    return None


class Browser:
    """One browser with a window of its own; a context manager."""

    def __init__(self, folder: Path) -> None:
        """`folder` takes its log and its profile."""
        self._folder = folder
        self._port = free_port()
        self._http = httpx.Client(
            base_url=f"http://{HOST}:{self._port}", timeout=60, trust_env=False
        )
        self._session = ""

    def __enter__(self) -> Self:
        environ = {"PATH": os.environ.get("PATH", ""), "HOME": str(self._folder)}
        command = ["chromedriver", f"--port={self._port}"]
        log = self._folder / "chromedriver.log"
        self._driver = Process(command, log, environ, cwd=self._folder)
        try:
            self._driver.until(self._is_ready, "chromedriver")
            self._session = f"/session/{self._new_session()['sessionId']}"
        except BaseException:
            self._driver.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._do("DELETE", "")
        self._driver.stop()
        self._http.close()

    def open(self, address: str) -> None:
        """Go to an address; returns when the page is there."""
        self._do("POST", "/url", url=address)

    @property
    def address(self) -> str:
        """Where it is."""
        return str(self._do("GET", "/url"))

    @property
    def title(self) -> str:
        """The title of the page."""
        return str(self._do("GET", "/title"))

    @property
    def source(self) -> str:
        """The page as HTML."""
        return str(self._do("GET", "/source"))

    def text(self, selector: str = "main") -> str:
        """What a person reads in the first element that a CSS selector finds."""
        return str(self._do("GET", f"/element/{self._find(selector)}/text"))

    def fill(self, name: str, text: str) -> None:
        """Type into the field of that name, in place of what stands there; choose a file."""
        element = self._find(f'main [name="{name}"]:not([type=file])')
        self._do("POST", f"/element/{element}/clear")
        self._do("POST", f"/element/{element}/value", text=text)

    def attach(self, name: str, file: Path) -> None:
        """Choose a file for the field of that name."""
        element = self._find(f'main [name="{name}"][type=file]')
        self._do("POST", f"/element/{element}/value", text=str(file))

    def choose(self, name: str, value: str) -> None:
        """Choose in a list."""
        self.click(f'main [name="{name}"] option[value="{value}"]')

    def click(self, selector: str) -> None:
        """Click on the first element that a CSS selector finds."""
        self._do("POST", f"/element/{self._find(selector)}/click")

    def follow(self, selector: str) -> None:
        """Click on what leads to another page; returns when that is there."""
        before = self._find("html")

        def arrived() -> bool:
            try:
                return self._find("html") != before
            except RuntimeError:  # between two pages there is none
                return False

        self.click(selector)
        if not eventually(arrived):
            raise RuntimeError(f"{selector} led to no other page")

    def shows(self, text: str, seconds: float = PATIENCE) -> bool:
        """Whether the page, which may load itself again, comes to hold a text."""
        return eventually(lambda: text in self.source, seconds)

    def resize(self, width: int, height: int) -> None:
        """Make the window so large."""
        self._do("POST", "/window/rect", width=width, height=height)

    def overhang(self) -> float:
        """By how many pixels the page is wider than the window."""
        command = {"cmd": "Page.getLayoutMetrics", "params": {}}
        metrics = self._do("POST", "/goog/cdp/execute", **command)
        content, window = metrics["cssContentSize"], metrics["cssLayoutViewport"]
        return float(content["width"] - window["clientWidth"])

    def screenshot(self) -> bytes:
        """The window as PNG."""
        return base64.b64decode(self._do("GET", "/screenshot"))

    def _find(self, selector: str) -> str:
        found: dict[str, str] = self._do("POST", "/element", using="css selector", value=selector)
        return found[_ELEMENT]

    def _new_session(self) -> Any:
        arguments = ["--headless=new", f"--user-data-dir={self._folder / 'profile'}"]
        if os.getuid() == 0:
            arguments.append("--no-sandbox")  # Chromium's sandbox is not made for root
        options = {"args": arguments, "prefs": _NO_SCRIPTS}
        wanted = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
        return self._do("POST", "/session", capabilities=wanted)

    def _is_ready(self) -> bool:
        try:
            return bool(self._do("GET", "/status")["ready"])
        except httpx.TransportError:
            return False

    def _do(self, method: str, path: str, **body: Any) -> Any:
        content = body if method == "POST" else None
        answer = self._http.request(method, self._session + path, json=content)
        value = answer.json()["value"]
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {value['error']}: {value['message']}")
        return value

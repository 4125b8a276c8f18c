"""A headless Chromium, by default without JavaScript, driven over WebDriver (W3C: JSON, HTTP)."""

import base64
import functools
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.support.ports import HOST, free_port
from tests.support.services import PROCESS_TIMEOUT_SECONDS, Process, eventually

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's key of an element ID
_NO_SCRIPTS = {"profile.managed_default_content_settings.javascript": 2}


@functools.cache
def reason_unavailable() -> str | None:
    """Return the reason why Chromium cannot run on this machine, or None."""
    for tool in ("chromium", "chromedriver"):
        if shutil.which(tool) is None:
            return f"{tool} is missing: install the Debian packages chromium and chromium-driver"
    return None


class Browser:
    """One browser with one window; a context manager."""

    def __init__(self, folder: Path, *, scripts: bool = False) -> None:
        """Prepare the browser; its log and its profile go into `folder`."""
        self._prefs = {} if scripts else _NO_SCRIPTS
        self._folder = folder
        self._port = free_port()
        self._http = httpx.Client(
            base_url=f"http://{HOST}:{self._port}", timeout=150, trust_env=False
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
        """Go to an address and wait until its page is loaded."""
        self._do("POST", "/url", url=address)

    @property
    def address(self) -> str:
        """The address of the page."""
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
        """Return the visible text of the first element that matches a CSS selector."""
        return str(self._do("GET", f"/element/{self._find(selector)}/text"))

    def fill(self, name: str, text: str) -> None:
        """Replace the content of a field with `text`."""
        element = self._find(f'main [name="{name}"]:not([type=file])')
        self._do("POST", f"/element/{element}/clear")
        self._do("POST", f"/element/{element}/value", text=text)

    def attach(self, name: str, file: Path) -> None:
        """Choose a file for a file field."""
        element = self._find(f'main [name="{name}"][type=file]')
        self._do("POST", f"/element/{element}/value", text=str(file))

    def choose(self, name: str, value: str) -> None:
        """Choose a value in a list field."""
        self.click(f'main [name="{name}"] option[value="{value}"]')

    def click(self, selector: str) -> None:
        """Click on the first element that matches a CSS selector."""
        self._do("POST", f"/element/{self._find(selector)}/click")

    def follow(self, selector: str) -> None:
        """Click on a link or button that leads to another page, and wait until that is loaded."""
        before = self._find("html")

        def arrived() -> bool:
            try:
                return self._find("html") != before
            except RuntimeError:  # there is no page at the moment
                return False

        self.click(selector)
        if not eventually(arrived):
            raise RuntimeError(f"a click on {selector} led to no other page")

    def shows(self, text: str, seconds: float = PROCESS_TIMEOUT_SECONDS) -> bool:
        """Return True if the page contains `text` within `seconds`; it may refresh itself."""
        return eventually(lambda: text in self.source, seconds)

    def has(self, selector: str) -> bool:
        """Return True if an element of the page matches a CSS selector."""
        try:
            return bool(self._find(selector))
        except RuntimeError:
            return False

    def resize(self, width: int, height: int) -> None:
        """Set the size of the window in pixels."""
        self._do("POST", "/window/rect", width=width, height=height)

    def overhang(self) -> float:
        """Return the number of pixels by which the page is wider than the window."""
        command = {"cmd": "Page.getLayoutMetrics", "params": {}}
        metrics = self._do("POST", "/goog/cdp/execute", **command)
        content, window = metrics["cssContentSize"], metrics["cssLayoutViewport"]
        return float(content["width"] - window["clientWidth"])

    def screenshot(self) -> bytes:
        """Return a screenshot of the window as PNG."""
        return base64.b64decode(self._do("GET", "/screenshot"))

    def _find(self, selector: str) -> str:
        reply: dict[str, str] = self._do("POST", "/element", using="css selector", value=selector)
        return reply[_ELEMENT]

    def _new_session(self) -> Any:
        arguments = ["--headless=new", f"--user-data-dir={self._folder / 'profile'}"]
        if os.getuid() == 0:
            arguments.append("--no-sandbox")  # Chromium's sandbox does not work for root
        options = {"args": arguments, "prefs": self._prefs}
        capabilities = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
        return self._do("POST", "/session", capabilities=capabilities)

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

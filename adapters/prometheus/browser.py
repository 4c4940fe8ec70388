"""A headless Chromium, steered through a pipe: a page with and without JavaScript, on a screen of any width."""
import base64, fcntl, json, os, select, subprocess, tempfile, time

CHROMIUM = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
            "--remote-debugging-pipe"]
PATIENCE = 60.0


class Browser:
    """`with Browser() as browser:`; ends the browser on the way out."""

    def __enter__(self):
        self.profile = tempfile.TemporaryDirectory(prefix="kevy-browser-", ignore_cleanup_errors=True)
        # Chromium reads commands from 3 and writes answers to 4: ours must not be among these already.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for pipe in (os.pipe(), os.pipe()) for end in pipe]
        theirs_in, self.out, self.answers, theirs_out = ends
        self.process = subprocess.Popen(
            [*CHROMIUM, f"--user-data-dir={self.profile.name}", "about:blank"], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, close_fds=False, start_new_session=True,
            preexec_fn=lambda: (os.dup2(theirs_in, 3), os.dup2(theirs_out, 4)))
        os.close(theirs_in)
        os.close(theirs_out)
        self.number, self.rest, self.events = 0, b"", []
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.out)
        os.close(self.answers)
        self.profile.cleanup()

    def message(self, end):
        while b"\0" not in self.rest:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.answers], [], [], left)[0]:
                raise TimeoutError("chromium does not answer")
            part = os.read(self.answers, 1 << 16)
            if not part:
                raise EOFError("chromium has ended")
            self.rest += part
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, **parameters):
        self.number += 1
        command = {"id": self.number, "method": method, "params": parameters}
        if session:
            command["sessionId"] = session
        os.write(self.out, json.dumps(command).encode() + b"\0")
        end = time.monotonic() + PATIENCE
        while True:
            message = self.message(end)
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"chromium: {method}: {message['error']}")
                return message["result"]
            self.events.append((message.get("sessionId"), message.get("method")))

    def page(self, width, height, scale=1, mobile=False, scripts=True):
        return Page(self, width, height, scale, mobile, scripts)


class Page:
    """A tab of `width` CSS pixels; with `mobile`, as a phone shows it."""

    def __init__(self, browser, width, height, scale, mobile, scripts):
        self.browser, self.width, self.height, self.scale = browser, width, height, scale
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile)
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def open(self, url):
        self.forget()
        self.call("Page.navigate", url=url)
        self.loaded()

    def forget(self):
        self.browser.events = [event for event in self.browser.events if event[0] != self.session]

    def loaded(self, patience=PATIENCE):
        """Waits for the page to load (again)."""
        end = time.monotonic() + patience
        while (self.session, "Page.loadEventFired") not in self.browser.events:
            message = self.browser.message(end)
            self.browser.events.append((message.get("sessionId"), message.get("method")))
        self.forget()

    def value(self, expression):
        """What our own expression gives; works where the page's scripts are off."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def overflow(self):
        """By how many pixels the page is wider than the screen."""
        return self.value("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def picture(self, file):
        """All of the page, also what is below the fold."""
        height = max(self.value("document.documentElement.scrollHeight"), self.height)
        clip = {"x": 0, "y": 0, "width": self.width, "height": height, "scale": 1}
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        with open(file, "wb") as out:
            out.write(base64.b64decode(data))

"""Debian's chromium, driven by playwright, with a watch over what a page says and asks for."""

import contextlib
import json
import shutil

from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit_page import page as render
from conftest import REPOSITORY
from playwright.sync_api import sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
AXE = REPOSITORY / "build" / "node_modules" / "axe-core" / "axe.min.js"
# The policy reports here as well as on the console.
WATCH = """
addEventListener('securitypolicyviolation', (event) => {
  window.violations = [...(window.violations || []), `${event.violatedDirective} ${event.blockedURI} ${event.sample}`];
});
"""


@contextlib.contextmanager
def started():
    found = shutil.which("chromium")
    if not found:
        raise RuntimeError("chromium is missing: tests/setup/setup browser installs it")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page opened from a file, and all that it said and asked for."""

    def __init__(self, browser, path, **options):
        self.path, self.said, self.asked = path, [], []
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.context.add_init_script(WATCH)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.said.append("%s: %s" % (message.type, message.text)))
        self.page.on("pageerror", lambda error: self.said.append("error: %s" % error))
        self.page.on("dialog", lambda dialog: (self.said.append("dialog: " + dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def open(self, address=""):
        self.page.goto(self.path.as_uri() + address)
        return self.page

    def close(self):
        """Nothing said, nothing refused by the policy, nothing asked of anybody."""
        refused = self.page.evaluate("window.violations || []")
        self.context.close()
        assert self.said == []
        assert refused == []
        # What a data: address holds is in the page itself.
        assert {url.split("#")[0] for url in self.asked if not url.startswith("data:")} == {self.path.as_uri()}


def written(document, folder):
    path = folder / "audit.html"
    path.write_text(render(document), encoding="utf-8")
    return path


def axe_violations(page):
    """What axe-core finds, all rules, one line each."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("""async () => (await axe.run(document, {runOnly: {type: 'tag', values: [
        'wcag2a', 'wcag2aa', 'wcag2aaa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']},
        rules: {'color-contrast-enhanced': {enabled: false}, 'target-size': {enabled: true}}})).violations""")
    return ["%s: %s" % (each["id"], json.dumps([node["html"][:160] for node in each["nodes"][:3]])) for each in found]

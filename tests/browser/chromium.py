"""Debian's chromium, driven by playwright, with a watch over what a page says and asks for."""

import base64
import contextlib
import json
import shutil

from ansible_collections.nodeward.cilium.plugins.plugin_utils.audit.page import page as render
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
        self.page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
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
    """What axe-core finds, all rules, one line each; also what it cannot decide, but for the texts of a drawing."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("""async () => {
      const {violations, incomplete} = await axe.run(document, {runOnly: {type: 'tag', values: [
        'wcag2a', 'wcag2aa', 'wcag2aaa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']},
        rules: {'color-contrast-enhanced': {enabled: false}, 'target-size': {enabled: true}}});
      // drawing_contrasts() has those; else an arrow is no letter, and some names are scrolled out of sight.
      const open = ({target}) => !document.querySelector(target).matches('.way-drawing *, .keys kbd, .more bdi');
      const undecided = incomplete.map(({id, nodes}) => ({id: `undecided ${id}`, nodes: nodes.filter(open)}));
      return [...violations, ...undecided].filter(({nodes}) => nodes.length);
    }""")
    return ["%s: %s" % (each["id"], json.dumps([node["html"][:160] for node in each["nodes"][:3]])) for each in found]


# By the definitions of WCAG 2. A text lies on its box or, without one, on the frame; a line on the frame.
DRAWING_CONTRASTS = """() => {
  const luminance = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((each) => each / 255)
      .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };
  const frame = getComputedStyle(document.querySelector('.way-figure')).backgroundColor;
  const style = (each) => getComputedStyle(each);
  const ground = (each) => {
    const box = each.closest('.box');
    return box ? style(box.querySelector('.shape')).fill : frame;
  };
  const all = (selector, of) => [...document.querySelectorAll(`.way-drawing ${selector}`)].map(of);
  return [
    ...all('text', (each) => [each.textContent, contrast(style(each).fill, ground(each)), 4.5]),
    ...all('.shape, .trunk', (each) => [each.parentNode.getAttribute('class'), contrast(style(each).stroke, frame), 3]),
    ...all('.sign .cut', (each) => ['sign', contrast(style(each).stroke, style(each.parentNode.firstChild).fill), 3]),
  ];
}"""


def drawing_contrasts(page):
    """Of the drawing's texts, lines and signs: what it is, its contrast, and the least that it needs."""
    return page.evaluate(DRAWING_CONTRASTS)


def darkness(browser, picture):
    """The share of dark pixels in a picture, without its edge."""
    page = browser.new_page()
    share = page.evaluate(
        """async (picture) => {
          const image = await createImageBitmap(await (await fetch(`data:image/png;base64,${picture}`)).blob());
          const canvas = new OffscreenCanvas(image.width, image.height).getContext('2d');
          canvas.drawImage(image, 0, 0);
          const {data} = canvas.getImageData(3, 3, image.width - 6, image.height - 6);
          return data.filter((value, index) => index % 4 === 0 && value < 128).length / (data.length / 4);
        }""",
        base64.b64encode(picture).decode(),
    )
    page.close()
    return share

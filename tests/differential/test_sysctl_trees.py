"""Generated sysctl.d trees, resolved by us and applied by the real loaders of Debian 11, 12 and 13.

TREES=2000 sets the number of trees for each loader and suite (300), SEED=… repeats a run. One container for each suite
stays up for all trees. A disagreement is shrunk to the smallest tree that shows it.
"""

import json
import os
import random
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.nodeward.cilium.plugins.module_utils import dropin, sysctl_d
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

TREES = int(os.environ.get("TREES", "300"))
SEED = int(os.environ.get("SEED", random.SystemRandom().getrandbits(32)))
SUITES = ("bullseye", "bookworm", "trixie")
LOADERS = ("systemd", "prefix", "procps")
IMAGE = Path(__file__).resolve().parents[2] / "molecule/lab/node-image"

START = -77777  # no tree sets it
LEAVES = ("rp_filter", "tag")  # plain integers both
# Pairs of veth ends. Characters above 127 stand for bytes (latin-1), not for text.
PLAIN = ("lxcabc", "lxcabd", "lxc_health", "lxcbr0", "cilium_host", "cilium_net", "eth0", "eth0.100")
ODD = ("lxc*", "a[b", "{lxc", ".hid", "-d", "b\\c", "x]y", "=e", "\xc3\xa9", "\xff#;")
NAMES = PLAIN + ODD + ("all", "default")


# ---- trees -----------------------------------------------------------------------------------------------------------


def respelt(name, position, spelling):
    """One character of a name, as a glob may spell it."""
    position %= len(name)
    char = name[position]
    return name[:position] + spelling.format(char) + name[position + 1 :]


known_names = st.sampled_from(PLAIN + PLAIN + ODD + ("all", "default", "absent"))
globs = st.one_of(
    st.sampled_from(
        ["*", "lxc*", "[l]xc*", "lxc?*", "cilium_*", "?*", "*.*", "{lxc,cilium_}*", "*{a,b}?", "e*{.100,}"]
    ),
    st.builds(
        respelt,
        known_names,
        st.integers(0, 15),
        st.sampled_from(
            [
                "*",
                "?",
                "[{}]",
                "[!{}]",
                "[^z{}-]",
                "[a-{}]",
                "[]{}]",
                "[[:alpha:]]",
                "[![:punct:]]",
                "[[.{}.]]",
                "[[=a=]{}]",
                "\\{}",
                "{}*\\",
                "[\\{}]",
                "{{{},x}}",
                "{{{}}}",
                "[[:x:]{}]",
                "[{}",
                "**",
            ]
        ),
    ),
    st.builds(lambda name, length: name[:length] + "*", known_names, st.integers(0, 6)),
    st.text("lxcab*?[]!^-{},\\:._0", min_size=1, max_size=8),
)
# Without "..", which procps follows: these tests must not leave net.ipv4.conf.
devices = st.one_of(st.sampled_from(PLAIN), known_names, globs, globs).filter(
    lambda name: ".." not in name and name != "."
)
heads = st.sampled_from(
    ["net/ipv4/conf"] * 12
    + [
        "net/ipv?/conf",
        "net/*/conf",
        "*/ipv4/conf",
        "/net/ipv4/conf",
        "net/ipv4/[c]onf",
        "net/ipv4/{conf,x}",
        "net/ipv6/conf",
    ]
)
leaves = st.sampled_from(["rp_filter"] * 8 + ["tag"] * 2 + ["rp_*", "t[a]g", "*_filter", "{tag,rp_filter}", "tag*"])
numbers = st.sampled_from(["0", "1", "2", "11", "12", "22"])
odd_values = st.sampled_from(
    ["00", "011", "08", "0x10", "-1", "1 # x", '"1"', "", "1=2", "one", "2147483648", "1\t2", "1\r2"]
)


def spelt(key, spelling):
    if spelling == "slashes":
        return key
    if spelling == "naive":  # as many write it: a dot in a name becomes a separator
        return key.replace("/", ".")
    return key.translate({ord("/"): ".", ord("."): "/"})


keys = st.builds(
    lambda head, device, leaf, spelling: spelt(f"{head}/{device}/{leaf}", spelling),
    heads,
    devices,
    leaves,
    st.sampled_from(["slashes", "dots", "dots", "dots", "naive"]),
)
dashes = st.sampled_from(["", "", "-"])
explicit = st.builds(
    lambda dash, name, value: dash + spelt(sysctl_d.conf_key(name), "dots") + "=" + value,
    dashes,
    st.sampled_from(PLAIN),
    numbers,
)
lines = st.one_of(
    explicit,
    explicit,
    st.builds(lambda dash, key, value: f"{dash}{key}={value}", dashes, keys, numbers),
    st.builds(lambda dash, key, value: f"{dash}{key} = {value}", dashes, keys, st.one_of(numbers, odd_values)),
    st.builds(lambda key: f"-{key}", keys),
    st.builds(
        lambda space, key, more, value: f"{space}{key}{more}={value}{space}",
        st.sampled_from(["", " ", "\t", "\r", " - ", "--", "\v", "="]),
        keys,
        st.sampled_from(["", " ", "\t\r", "/", "\v"]),
        numbers,
    ),
    st.builds(lambda mark, key, value: f"{mark}{key}={value}", st.sampled_from(["#", ";", " #", " ;"]), keys, numbers),
    keys,
    st.text("= -#;\0\r\t\xff.x", max_size=4),
)
ends = st.sampled_from(["\n"] * 12 + ["\r\n", "\n\n", "\r", "\0", "\0\n", ""])
texts = st.lists(st.builds(str.__add__, lines, ends), min_size=1, max_size=10).map("".join)

file_names = st.sampled_from(
    [
        "10-a.conf",
        "9-a.conf",
        "50-default.conf",
        "99-Z.conf",
        "99-a.conf",
        "99_a.conf",
        "99-sysctl.conf",
        "99-override_cilium_rp_filter.conf",
        "99-zzz-override_cilium.conf",
        "zz.conf",
        ".conf",
        ".hidden.conf",
        "10-[a].conf",
        "10-*.conf",
        "{9,10}-a.conf",
        "10-\\a.conf",
        "\xff.conf",
        "10-a.cfg",
        "10-a.conf~",
    ]
)
regular = texts.map(lambda text: ("file", text))
contents = st.one_of(
    regular,
    regular,
    regular,
    st.sampled_from(
        [
            ("file", ""),
            ("link", "/dev/null"),
            ("link", "nowhere"),
            ("link", "/etc/sysctl.conf"),
            ("link", "../sysctl.conf"),
            ("link", "10-a.conf"),
            ("link", "/lib/sysctl.d/10-a.conf"),
            ("link", "/usr/lib/sysctl.d/50-default.conf"),
            ("folder", ""),
        ]
    ),
)
folder_files = st.dictionaries(
    st.tuples(st.sampled_from(sysctl_d.FOLDERS), file_names), contents, min_size=1, max_size=6
)
main_files = st.one_of(st.none(), contents.filter(lambda content: "sysctl.conf" not in content[1][-11:]))


class Generated:
    """A tree, printed as a person would write it down."""

    def __init__(self, files):
        self.files = files

    @classmethod
    def of(cls, files, main):
        return cls(
            [[f"{folder}/{name}", *content] for (folder, name), content in files.items()]
            + ([["/etc/sysctl.conf", *main]] if main else [])
        )

    def without_one(self):
        """All trees with one file or one line less."""
        for index, (path, kind, content) in enumerate(self.files):
            before, after = self.files[:index], self.files[index + 1 :]
            yield Generated(before + after)
            rows = content.splitlines(keepends=True)
            for row in range(len(rows) if kind == "file" else 0):
                yield Generated(before + [[path, kind, "".join(rows[:row] + rows[row + 1 :])]] + after)

    def __repr__(self):
        shown = []
        for path, kind, content in self.files:
            shown.append(path + {"link": f" -> {content}", "folder": "/"}.get(kind, ""))
            if kind == "file":
                shown.extend(f"    {line!r}" for line in content.splitlines(keepends=True))
        return "tree:\n" + "\n".join(shown)


trees = st.builds(Generated.of, folder_files, main_files)


# ---- the real thing --------------------------------------------------------------------------------------------------


class Node:
    """The real loaders of one suite, in a container that stays up."""

    def __init__(self, suite):
        self.suite = suite
        self.name = f"nodeward-differential-{suite}-{os.getpid()}"
        image = command([str(IMAGE), "build", suite])
        command(
            [
                "podman",
                "run",
                "--detach",
                "--rm",
                "--name",
                self.name,
                "--network",
                "none",
                "--privileged",
                image,
                "sleep",
                "infinity",
            ]
        )
        driver = Path(__file__).with_name("sysctl_driver.py").read_text()
        self.process = subprocess.Popen(
            ["podman", "exec", "--interactive", self.name, "python3", "-c", driver],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        found = self.ask({"devices": NAMES, "leaves": LEAVES, "start": START})
        self.systemd, self.procps, self.merged = found["systemd"][0], tuple(found["procps"]), found["merged"]
        self.folders = sysctl_d.FOLDERS[:-1] if self.merged else sysctl_d.FOLDERS

    def files(self, tree):
        """Where /lib is /usr/lib, a file there would be written twice."""
        return [file for file in tree.files if not (self.merged and file[0].startswith("/lib/"))]

    def ask(self, question):
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, ValueError):
            pytest.fail("the driver in the container ended; its message stands above", pytrace=False)

    def close(self):
        self.process.kill()
        command(["podman", "rm", "--force", "--time", "0", self.name])


def command(arguments):
    try:
        return subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True, timeout=900).stdout.strip()
    except FileNotFoundError as error:
        pytest.fail(f"{error.filename} is missing: 'make setup' installs what these tests need", pytrace=False)
    except subprocess.CalledProcessError as error:
        pytest.fail(
            f"'{' '.join(arguments[:3])} ...' ended with {error.returncode}; its message stands above. "
            "'make setup' prepares this host, '. build/env' uses what it found out",
            pytrace=False,
        )


@pytest.fixture(scope="module", params=SUITES)
def node(request):
    started = Node(request.param)
    yield started
    started.close()


# ---- the comparison --------------------------------------------------------------------------------------------------


def resolved(root, tree, node, loader):
    """{leaf: {device: value}} as we say."""
    shutil.rmtree(root, ignore_errors=True)
    os.mkdir(root)
    if node.merged:
        os.symlink("usr/lib", os.path.join(root, "lib"))
    os.makedirs(os.path.join(root, "usr/lib"))
    for place, kind, text in node.files(tree):
        path, content = (root + place).encode("latin-1"), text.encode("latin-1")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if kind == "link":
            os.symlink(content, path)
        elif kind == "folder":
            os.mkdir(path)
        else:
            Path(os.fsdecode(path)).write_bytes(content)
    read = sysctl_d.read_tree(root)
    assert read.problems is not None
    procps = loader == "procps"
    resolver = sysctl_d.Procps(read, node.procps) if procps else sysctl_d.SystemdSysctl(read, node.systemd)
    decided = {}
    for leaf in LEAVES:
        for name in NAMES:
            key = sysctl_d.conf_key(name.encode("latin-1").decode("utf-8", "surrogateescape"), leaf)
            winner = resolver.winner(key, prefix_run=True) if loader == "prefix" else resolver.winner(key)
            decided[leaf, name] = START if winner is None else sysctl_d.kernel_integer(winner.value)
            assert winner is None or winner.path in read.paths()
    return decided


def applied(tree, node, loader):
    """The same as the kernel holds it after the real loader's run, and what the loader said."""
    added = PREFIX_NAMES if loader == "prefix" else []
    answer = node.ask({"loader": loader, "added": added, "files": node.files(tree), "folders": node.folders})
    return {(leaf, name): answer["values"][leaf][name] for leaf in LEAVES for name in added or NAMES}, answer["log"]


# A wildcard in the prefix itself reaches other devices too.
PREFIX_NAMES = [name for name in PLAIN + ODD if not set(name) & set("*?[{\\")]


class Disagreement(Exception):
    def __init__(self, tree, wrong, log):
        super().__init__("\n".join([*wrong, repr(tree), "what the loader said:", log[:4000]]))
        self.tree = tree


def compare(root, tree, node, loader):
    """How many values a line decided; raises Disagreement."""
    real, log = applied(tree, node, loader)
    ours = resolved(root, tree, node, loader)
    wrong = [
        f"{name} {leaf}: {value} by the loader, {ours[leaf, name]} by us"
        for (leaf, name), value in real.items()
        if value != ours[leaf, name]
    ]
    if wrong:
        raise Disagreement(tree, wrong, log)
    return sum(value != START for value in real.values())


def smallest(found, attempt):
    """What hypothesis leaves is small in its eyes; take out every file and every line that is not needed."""
    smaller = True
    while smaller:
        smaller = False
        for candidate in found.tree.without_one():
            try:
                attempt(candidate)
            except Disagreement as still:
                found, smaller = still, True
                break
    return found


@pytest.mark.parametrize("loader", LOADERS)
def test_trees(loader, node):
    print(f"\nSEED={SEED} TREES={TREES}")
    seen = SimpleNamespace(trees=0, decided=0)
    with tempfile.TemporaryDirectory() as folder:
        root = os.path.join(folder, "root")

        @seed(f"{SEED} {node.suite} {loader}")  # other trees for each
        @settings(
            max_examples=TREES,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
            print_blob=False,
        )
        @given(trees)
        def all_agree(tree):
            seen.decided += compare(root, tree, node, loader)
            seen.trees += 1

        try:
            all_agree()
        except Disagreement as found:
            pytest.fail(str(smallest(found, lambda tree: compare(root, tree, node, loader))), pytrace=False)
    version = node.systemd if loader != "procps" else ".".join(map(str, node.procps))
    print(f"{node.suite}, {loader} {version}: {seen.trees} trees agree, {seen.decided} values decided by a line")
    assert seen.trees >= TREES
    assert seen.decided > seen.trees / 2, "the trees decide too little to tell anything"


DROPIN = "/etc/sysctl.d/99-override_cilium_rp_filter.conf"
ETH0 = "net.ipv4.conf.eth0.rp_filter = 1"


@pytest.mark.parametrize(
    "row",
    [
        f"# note\u2028{ETH0}",
        f"# note\x85{ETH0}",
        f"# note\x0c{ETH0}",
        f"# note\x0b{ETH0}",
        f"; note\x1c{ETH0}",
        f"--{ETH0}",
        f"---{ETH0}",
        f"-{ETH0}",
        f"- {ETH0}",
        ETH0,
        f"{ETH0} # strict",
        f"# note\r{ETH0}",
        "-net.ipv4.conf.eth0.rp_filter",
        "net.ipv4.conf.eth0.rp_filter = on",
        f"\x0b{ETH0}",
        f"\u00a0{ETH0}",
    ],
)
def test_a_pin_is_what_the_loader_sets(row, node):
    text = f"{dropin.HEADER}\n{row}\n"
    tree = Generated([[DROPIN, "file", text.encode().decode("latin-1")]])
    value = applied(tree, node, "systemd")[0]["rp_filter", "eth0"]
    assert dropin.parse(text).pins == ({} if value == START else {"eth0": value})

"""Files and folders of a real login node through HTTP: hostile names, distinct errors."""

import base64
import hashlib
import io
import tarfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.centre import output
from tests.support.service import Caller, failure
from tests.support.testbed import Testbed

pytestmark = pytest.mark.timeout(120)

HURTING = [
    *("a'; echo x", "-rf", "--help", "two  words ü", "new\nline\n", 'quo"te', "$(id)`id`", "*?["),
    *("back\\slash \\n", "tab\t", "😀", " around ", "~", "!x", "(x", "#x", "a=b", "x" * 255),
]
NOT_UTF8 = "caf\udce9 \udcff"
"""As Python writes b"caf\xe9 \xff" in an argument."""


@pytest.fixture
def place(bed: Testbed) -> Iterator[str]:
    """Create a folder with a unique name for alice."""
    folder = as_alice(bed, ["mktemp", "-d", "/home/alice/file's test ü.XXXXXX"])
    folder = folder.removesuffix("\n")
    yield folder
    bed.machine.run(["rm", "-rf", folder])


def as_alice(bed: Testbed, command: list[str]) -> str:
    alice = ["setpriv", "--reuid=alice", "--regid=hpcusers", "--init-groups", "--"]
    return bed.machine.run([*alice, *command])


def reason(caller: Caller, action: str, **options: Any) -> str:
    """Why a path fails."""
    error = failure(caller.post(action, options), 424)
    assert error["type"] == "PathFailed", error
    assert error["path"] == options["path"]
    return str(error["reason"])


def names(caller: Caller, path: str) -> list[str]:
    found = output(caller, "utils/opn/list_folder", path=path, hidden=True)
    return [entry["name"] for entry in found["entries"]]


def packed(*members: tarfile.TarInfo, content: bytes = b"") -> str:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for member in members:
            member.size = len(content) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(content))
    return base64.b64encode(archive.getvalue()).decode()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


# -- names


def test_names_that_hurt_are_written_listed_and_read_as_they_are(alice: Caller, place: str) -> None:
    for name in HURTING:
        output(alice, "core/opn/send_file", path=f"{place}/{name}", content=f"it's {name}")
    assert names(alice, place) == sorted(HURTING, key=str.encode)
    for name in HURTING:
        read = output(alice, "core/opn/get_file", path=f"{place}/{name}")
        assert read["content"] == f"it's {name}"


@pytest.mark.parametrize("name", HURTING)
def test_folder_with_a_name_that_hurts_is_listed_measured_and_moved(
    alice: Caller, bed: Testbed, place: str, name: str
) -> None:
    folder = f"{place}/{name[:200]}"
    as_alice(bed, ["mkdir", folder])
    as_alice(bed, ["ln", "-s", "no\nwhere ü", f"{folder}/{name}"])
    (entry,) = output(alice, "utils/opn/list_folder", path=folder, hidden=True)["entries"]
    assert (entry["name"], entry["target"], entry["type"]) == (name, "no\nwhere ü", "link")
    assert output(alice, "utils/opn/disk_usage", path=folder)["inodes"] == 2
    read = output(alice, "core/opn/get_folder", path=folder)
    sent = output(alice, "core/opn/send_folder", path=f"{folder}.2", content=read["content"])
    assert sent == {"files": 1, "bytes": 0}
    assert names(alice, f"{folder}.2") == [name]
    made = output(alice, "utils/opn/temp_file", folder=folder, content=name)
    assert PurePosixPath(made).parent == PurePosixPath(folder)
    assert output(alice, "core/opn/get_file", path=made)["content"] == name


def test_relative_path_starts_at_home_even_when_it_looks_like_an_option(
    alice: Caller, bed: Testbed
) -> None:
    try:
        output(alice, "core/opn/send_file", path="-rf", content="x")
        assert "-rf" in names(alice, ".")
        assert reason(alice, "utils/opn/list_folder", path="-rf") == "not_folder"
        assert output(alice, "utils/opn/disk_usage", path="-rf")["inodes"] == 1
        archive = packed(member("a"))
        output(alice, "core/opn/send_folder", path="--help/", content=archive)
        assert names(alice, "--help") == ["a"]
        assert output(alice, "core/opn/get_folder", path="--help")["size"] > 0
    finally:
        bed.machine.run(["rm", "-rf", "/home/alice/-rf", "/home/alice/--help"])


def test_name_that_is_not_utf8_is_told_byte_by_byte(
    alice: Caller, bed: Testbed, place: str
) -> None:
    as_alice(bed, ["touch", f"{place}/{NOT_UTF8}"])
    (entry,) = output(alice, "utils/opn/list_folder", path=place)["entries"]
    assert entry["name"] == "caf\ufffd \ufffd"
    assert base64.b64decode(entry["name_base64"]) == b"caf\xe9 \xff"
    read = output(alice, "core/opn/get_folder", path=place)
    output(alice, "core/opn/send_folder", path=f"{place}/2", content=read["content"])
    (entry,) = output(alice, "utils/opn/list_folder", path=f"{place}/2")["entries"]
    assert base64.b64decode(entry["name_base64"]) == b"caf\xe9 \xff"


# -- files


@pytest.mark.parametrize("size", [0, 1, 100_000, 700_000])
def test_bytes_come_back_as_they_were_sent(alice: Caller, place: str, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"\xff" * (size % 256)
    path = f"{place}/data"
    sent = output(
        alice,
        "core/opn/send_file",
        path=path,
        content=base64.encodebytes(content).decode(),
        encoding="base64",
        mode="0640",
    )
    assert sent == {"size": size, "sha256": hashlib.sha256(content).hexdigest()}
    read = output(alice, "core/opn/get_file", path=path, encoding="base64")
    assert base64.b64decode(read["content"]) == content
    assert (read["size"], read["sha256"], read["mode"]) == (size, sent["sha256"], "0640")
    age = datetime.now().astimezone() - datetime.fromisoformat(read["modified"])
    assert abs(age.total_seconds()) < 60
    assert names(alice, place) == ["data"]


def test_mode_is_exact_and_stays_when_a_file_is_replaced(
    alice: Caller, bed: Testbed, place: str
) -> None:
    path = f"{place}/start"
    modes = [None, "0777", None, "0444", None]
    found = []
    for mode in modes:
        output(alice, "core/opn/send_file", path=path, content="x", mode=mode)
        found.append(bed.machine.run(["stat", "--format=%a", path]).strip())
    assert found == ["600", "777", "777", "444", "444"]


def test_folder_is_made_copied_moved_and_changed(alice: Caller, place: str) -> None:
    a, b, c = (f"{place}/{name}'; x" for name in "abc")
    output(alice, "utils/cmd/mkdir", input=[a])
    output(alice, "core/opn/send_file", path=f"{a}/-file", content="x")
    output(alice, "utils/cmd/cp", recursive=True, input=[a, b])
    output(alice, "utils/cmd/mv", input=[b, c])
    output(alice, "utils/cmd/chmod", recursive=True, input=["u=rwX,go=", c])
    output(alice, "utils/cmd/rm", recursive=True, input=[a])
    (folder,) = output(alice, "utils/opn/list_folder", path=place)["entries"]
    (file,) = output(alice, "utils/opn/list_folder", path=c)["entries"]
    assert (folder["name"], folder["mode"]) == ("c'; x", "0700")
    assert (file["name"], file["mode"], file["size"]) == ("-file", "0600", 1)


def test_link_stays_one_and_its_target_is_replaced(alice: Caller, bed: Testbed, place: str) -> None:
    as_alice(bed, ["ln", "-s", "there", f"{place}/link"])
    for content in ("one", "two"):
        output(alice, "core/opn/send_file", path=f"{place}/link", content=content)
        assert bed.machine.run(["cat", f"{place}/there"]) == content
    assert bed.machine.run(["readlink", f"{place}/link"]) == "there\n"


def test_reasons_why_a_file_is_not_read(alice: Caller, bed: Testbed, place: str) -> None:
    as_alice(bed, ["mkfifo", f"{place}/pipe"])
    bed.machine.run(["install", "-m", "600", "/etc/hostname", f"{place}/roots"])
    as_alice(bed, ["ln", "-s", "loop", f"{place}/loop"])
    output(alice, "core/opn/send_file", path=f"{place}/odd", content="/w==", encoding="base64")
    wanted = {
        "nowhere": "missing",
        "odd/below": "missing",
        "loop": "missing",
        "": "is_folder",
        "pipe": "not_file",
        "roots": "denied",
        "odd": "not_text",
    }
    found = {name: reason(alice, "core/opn/get_file", path=f"{place}/{name}") for name in wanted}
    assert found == wanted
    options = {"path": f"{place}/odd", "encoding": "base64", "limit": 0}
    assert reason(alice, "core/opn/get_file", **options) == "too_large"
    assert reason(alice, "core/opn/get_file", path="/dev/zero") == "not_file"


def test_reasons_why_a_file_is_not_written_and_nothing_is_left(
    alice: Caller, bed: Testbed, place: str
) -> None:
    bed.machine.run(["mkdir", "-m", "755", f"{place}/roots"])
    bed.machine.run(["mkdir", f"{place}/small"])
    output(alice, "core/opn/send_file", path=f"{place}/there", content="before")
    send = {"content": "x" * 100_000}
    wanted = {
        "nowhere/x": "missing",
        "there/x": "missing",
        "roots/x": "denied",
        "roots": "is_folder",
        "small/x": "full",
    }
    tmpfs = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=1777", "tmpfs", f"{place}/small"]
    bed.machine.run(tmpfs)
    try:
        found = {
            name: reason(alice, "core/opn/send_file", path=f"{place}/{name}", **send)
            for name in wanted
        }
        assert names(alice, f"{place}/small") == []
    finally:
        bed.machine.run(["umount", f"{place}/small"])
    assert found == wanted
    options = {"path": f"{place}/there", "overwrite": False, **send}
    assert reason(alice, "core/opn/send_file", **options) == "exists"
    assert bed.machine.run(["cat", f"{place}/there"]) == "before"
    assert names(alice, place) == ["roots", "small", "there"]
    options = {"path": f"{place}/new", "overwrite": False, **send}
    assert output(alice, "core/opn/send_file", **options)["size"] == 100_000


def test_streamed_file_that_does_not_fit_leaves_nothing_or_what_arrived(
    alice: Caller, bed: Testbed, place: str
) -> None:
    bed.machine.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=1777", "tmpfs", place])
    try:
        address, content = f"/files/{quote(place)}/a", bytes(range(256)) * 8192
        for how in ({"content": content}, {"content": iter([content])}):
            assert failure(alice.http.put(address, **how), 507)["reason"] == "full"
            assert names(alice, place) == []
        part: dict[str, Any] = {
            "headers": {"Content-Range": f"bytes 0-{len(content) - 1}/{len(content)}"},
            "params": {"upload": "u"},
        }
        assert failure(alice.http.put(address, content=content, **part), 507)["reason"] == "full"
        head = alice.http.head(address, params={"upload": "u"})
        at = int(head.headers["upload-offset"])
        assert at > 0
        bed.machine.run(["mount", "-o", "remount,size=4m", place])
        part["headers"]["Content-Range"] = f"bytes {at}-{len(content) - 1}/{len(content)}"
        assert alice.http.put(address, content=content[at:], **part).status_code == 201
        assert alice.http.get(address).content == content
        assert names(alice, place) == ["a"]
    finally:
        bed.machine.run(["umount", place])


# -- folders


def test_folder_comes_back_as_it_was(alice: Caller, bed: Testbed, place: str) -> None:
    make = """mkdir -p "$0/a/b c/.hidden" "$0/a/empty" && cd "$0/a" && echo x >"b c/x" &&
    chmod 750 "b c" && chmod 755 "b c/x" && ln "b c/x" hard && ln -s /etc/passwd absolute &&
    ln -s ../.. up && touch -d 2001-02-03 "b c/.hidden/old" && printf '\\0\\377' >"-binary" """
    as_alice(bed, ["sh", "-c", make, place])
    read = output(alice, "core/opn/get_folder", path=f"{place}/a")
    assert len(base64.b64decode(read["content"])) == read["size"]
    sent = output(alice, "core/opn/send_folder", path=f"{place}/b", content=read["content"])
    assert sent == {"files": 6, "bytes": 6}  # SFTP does not tell that two are hard links
    look = 'cd "$0" && find . -printf "%P %y %m %l %Ts\\n" | sort && md5sum -- *-* "b c"/x'
    before, after = (bed.machine.run(["sh", "-c", look, f"{place}/{name}"]) for name in "ab")
    assert before == after
    assert names(alice, place) == ["a", "b"]


@pytest.mark.parametrize(
    "members",
    [
        [member("/home/alice/x")],
        [member("../x")],
        [member("a/../../x")],
        [member("link", tarfile.SYMTYPE, "/home/alice"), member("link/x")],
        [member("a/link", tarfile.SYMTYPE, ".."), member("./a//link/../x")],
        [member("a/link", tarfile.SYMTYPE, ".."), member("./a//link/x")],
        [member("hard", tarfile.LNKTYPE, "/home/alice/.bashrc")],
        [member("hard", tarfile.LNKTYPE, "../.bashrc")],
        [member("l", tarfile.SYMTYPE, "/etc"), member("hard", tarfile.LNKTYPE, "l/passwd")],
        [
            member("l", tarfile.SYMTYPE, "/home/alice"),
            member("hard", tarfile.LNKTYPE, "l"),
            member("hard/x"),
        ],
        [member("device", tarfile.CHRTYPE)],
        [member("disk", tarfile.BLKTYPE)],
        [member("pipe", tarfile.FIFOTYPE)],
    ],
)
def test_hostile_archive_is_refused_before_anything_is_unpacked(
    alice: Caller, place: str, members: list[tarfile.TarInfo]
) -> None:
    archive = packed(member("innocent"), *members)
    for merge, path in ((True, place), (False, f"{place}/new")):
        options = {"path": path, "content": archive, "merge": merge}
        error = failure(alice.post("core/opn/send_folder", options), 422)
        assert error["faults"][0]["field"] == "content"
    assert names(alice, place) == []


@pytest.mark.parametrize("archive", ["", "bm8gdGFy", "not base64", "H4sIAAAAAAAAAwMAAAAAAAAAAAA="])
def test_what_is_no_archive_is_refused(alice: Caller, place: str, archive: str) -> None:
    options = {"path": f"{place}/new", "content": archive}
    failure(alice.post("core/opn/send_folder", options), 422)
    assert names(alice, place) == []


def test_reasons_why_a_folder_is_not_written(alice: Caller, bed: Testbed, place: str) -> None:
    bed.machine.run(["mkdir", "-m", "755", f"{place}/roots"])
    output(alice, "core/opn/send_file", path=f"{place}/file", content="x")
    archive = packed(member("a/b"), content=b"new")
    wanted = {
        ("nowhere/x", False): "missing",
        ("file/x", False): "missing",
        ("roots/x", False): "denied",
        ("roots", False): "exists",
        ("file", False): "exists",
        ("nowhere", True): "missing",
        ("file", True): "not_folder",
        ("roots", True): "denied",
    }
    found = {}
    for name, merge in wanted:
        options = {"path": f"{place}/{name}", "content": archive, "merge": merge}
        error = failure(alice.post("core/opn/send_folder", options), 424)
        assert error["path"] in (options["path"], "a/b"), "the folder, or what is in it"
        found[name, merge] = error["reason"]
    assert found == wanted
    assert names(alice, place) == ["file", "roots"]


def test_folder_that_does_not_fit_leaves_nothing(alice: Caller, bed: Testbed, place: str) -> None:
    archive = packed(member("a"), content=b"x" * 100_000)
    bed.machine.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=1777", "tmpfs", place])
    try:
        answer = alice.post("core/opn/send_folder", {"path": f"{place}/new", "content": archive})
        error = failure(answer, 424)
        assert (error["reason"], error["needs_repair"]) == ("full", [])
        copied = {"path": "/usr/share/common-licenses", "to": f"{place}/new"}
        answer = alice.post("core/opn/copy", copied)
        assert failure(answer, 424)["reason"] == "full"
        assert names(alice, place) == []
    finally:
        bed.machine.run(["umount", place])


def test_merge_replaces_files_and_leaves_others(alice: Caller, bed: Testbed, place: str) -> None:
    for name in ("a", "other"):
        output(alice, "core/opn/send_file", path=f"{place}/{name}", content="old")
    options = {"path": place, "content": packed(member("a"), content=b"new"), "merge": True}
    assert output(alice, "core/opn/send_folder", **options) == {"files": 1, "bytes": 3}
    assert bed.machine.run(["sh", "-c", 'cat "$0"/*', place]) == "newold"


def test_reasons_why_a_folder_is_not_read(alice: Caller, bed: Testbed, place: str) -> None:
    make = 'cd "$0" && mkdir a big && head -c 3000000 /dev/urandom >big/x && echo x >file'
    as_alice(bed, ["sh", "-c", make, place])
    bed.machine.run(["install", "-m", "600", "/etc/hostname", f"{place}/a/roots"])
    wanted = {"nowhere": "missing", "file": "not_folder", "a": "denied", "big": "too_large"}
    found = {}
    for name in wanted:
        error = failure(alice.post("core/opn/get_folder", {"path": f"{place}/{name}"}), 424)
        assert error["path"] == f"{place}/a/roots" if name == "a" else f"{place}/{name}"
        found[name] = error["reason"]
    assert found == wanted


def test_copy_is_as_the_folder_was_and_tells_its_progress(
    alice: Caller, bed: Testbed, place: str
) -> None:
    make = """mkdir -m 750 "$0/a" && cd "$0/a" && mkdir "b c" &&
    head -c 70000000 /dev/urandom >big &&
    seq 1000 >"b c/-x" && chmod 640 "b c/-x" && ln -s ../.. up && mkfifo pipe && : >"$1" &&
    touch -d 2001-02-03 big "b c" . """
    as_alice(bed, ["sh", "-c", make, place, NOT_UTF8])
    answer = alice.post("core/opn/copy", {"path": f"{place}/a", "to": f"{place}/b"})
    size = 70_000_000 + 3893  # digits and line ends of 1 to 1000
    assert answer.json()["output"] == {"files": 4, "bytes": size}
    task = alice.http.get(f"/tasks/{answer.json()['task']}").json()
    assert task["progress"] == {"done": size, "total": size}
    look = """cd "$0" && find . ! -name pipe -printf "%P %y %m %l %Ts\n" | sort | cat -v
    md5sum -- big "b c/-x" """
    before, after = (bed.machine.run(["sh", "-c", look, f"{place}/{name}"]) for name in "ab")
    assert before == after
    assert names(alice, place) == ["a", "b"]


# -- lists


def test_entries_are_typed(alice: Caller, bed: Testbed, place: str) -> None:
    make = """cd "$0" && mkdir -m 2750 d && printf 12345 >f && chmod 604 f && mkfifo p &&
    ln -s d l && touch -d 2001-02-03T04:05:06.5Z f .h && touch -d @9999999999999 far"""
    as_alice(bed, ["sh", "-c", make, place])
    bed.machine.run(["chown", "12345:54321", f"{place}/p"])
    found = output(alice, "utils/opn/list_folder", path=place)
    entries = {entry.pop("name"): entry for entry in found["entries"]}
    assert found["total"] == 5
    assert list(entries) == ["d", "f", "far", "l", "p"]
    assert entries["f"] == {
        "name_base64": None,
        "type": "file",
        "size": 5,
        "mode": "0604",
        "owner": "alice",
        "group": "hpcusers",
        "modified": "2001-02-03T04:05:06.500000Z",
        "target": None,
    }
    assert (entries["d"]["type"], entries["d"]["mode"]) == ("folder", "2750")
    assert (entries["l"]["type"], entries["l"]["target"]) == ("link", "d")
    assert [entries["p"][key] for key in ("type", "owner", "group")] == ["pipe", "12345", "54321"]
    assert names(alice, place)[0] == ".h"


def test_list_is_sorted_and_paged(alice: Caller, bed: Testbed, place: str) -> None:
    make = 'cd "$0" && for n in 1 2 3; do head -c $n /dev/zero >$n; touch -d @$((9 - n)) $n; done'
    as_alice(bed, ["sh", "-c", make, place])

    def listed(**how: Any) -> str:
        found = output(alice, "utils/opn/list_folder", path=place, **how)
        assert found["total"] == 3
        return "".join(entry["name"] for entry in found["entries"])

    assert listed() == listed(sort="size") == "123"
    assert listed(sort="modified") == listed(descending=True) == "321"
    assert listed(offset=1, limit=1) == "2"
    assert listed(offset=9) == ""


def test_reasons_why_a_folder_is_not_listed(alice: Caller, bed: Testbed, place: str) -> None:
    bed.machine.run(["mkdir", "-m", "700", f"{place}/roots"])
    output(alice, "core/opn/send_file", path=f"{place}/file", content="x")
    wanted = {"nowhere": "missing", "file": "not_folder", "roots": "denied"}
    found = {
        name: reason(alice, "utils/opn/list_folder", path=f"{place}/{name}") for name in wanted
    }
    assert found == wanted


def test_folder_of_100000_files_is_listed_page_by_page(
    alice: Caller, bed: Testbed, place: str
) -> None:
    as_alice(bed, ["sh", "-c", 'cd "$0" && seq -w 0 99999 | xargs touch', place])
    found = output(alice, "utils/opn/list_folder", path=place, offset=99_990, limit=5)
    assert found["total"] == 100_000
    assert [entry["name"] for entry in found["entries"]] == [f"{n}" for n in range(99990, 99995)]
    assert output(alice, "utils/opn/disk_usage", path=place)["inodes"] == 100_001


# -- the rest


QUOTA = """#!/bin/sh
[ "$*" = "--verbose --no-wrap --raw-grace --show-mntpoint --hide-device --user --group" ] || exit 2
[ "$LC_ALL" = C ] || exit 3
cat <<END
Disk quotas for user alice (uid 20001):
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
          /home 1500001* 1000000 2000000 1800000000      12    5000       0       0
END
exit 1
"""


def test_quotas_are_told_where_there_are_some(alice: Caller, bed: Testbed) -> None:
    if bed.machine.succeeds(["sh", "-c", "command -v quota"]):
        assert output(alice, "utils/opn/quota") == []
    else:
        error = failure(alice.post("utils/opn/quota"), 424)
        assert "has no quota program" in error["message"]
    # The machine's kernel may lack quotas: a fake program prints them.
    put = "mount -t tmpfs -o mode=755 tmpfs $0 && cat >$0/quota && chmod 755 $0/quota"
    bed.machine.run(["sh", "-c", put, "/usr/local/bin"], text=QUOTA)
    try:
        (quota,) = output(alice, "utils/opn/quota")
    finally:
        bed.machine.run(["umount", "/usr/local/bin"])
    assert (quota["file_system"], quota["kind"], quota["name"]) == ("/home", "user", "alice")
    assert quota["space"] == {
        "used": 1_536_001_024,
        "soft": 1_024_000_000,
        "hard": 2_048_000_000,
        "grace_ends": "2027-01-15T08:00:00Z",
    }


def test_disk_usage_counts_what_can_be_read_and_says_so(
    alice: Caller, bed: Testbed, place: str
) -> None:
    make = 'cd "$0" && head -c 1048576 /dev/urandom >big && ln big same && mkdir -m 0 shut'
    as_alice(bed, ["sh", "-c", make, place])
    found = output(alice, "utils/opn/disk_usage", path=place)
    assert found["complete"] is False
    bed.machine.run(["rmdir", f"{place}/shut"])
    found = output(alice, "utils/opn/disk_usage", path=place)
    assert 1 << 20 <= found["bytes"] < (1 << 20) + 65536
    assert (found["inodes"], found["complete"]) == (2, True)
    space = found["file_system"]
    assert 0 < space["available"] <= space["size"]
    assert 0 <= space["inodes_available"] <= space["inodes"]
    assert reason(alice, "utils/opn/disk_usage", path=f"{place}/nowhere") == "missing"


def test_temp_file_is_the_callers_own(alice: Caller, bed: Testbed, place: str) -> None:
    made = [output(alice, "utils/opn/temp_file", content="it's ü") for _ in range(2)]
    try:
        assert made[0] != made[1]
        look = ["stat", "--format=%a %U %s", *made]
        assert bed.machine.run(look) == "600 alice 7\n" * 2
    finally:
        bed.machine.run(["rm", "-f", *made])
    path = output(alice, "utils/opn/temp_file", folder=place, mode="0751")
    assert bed.machine.run(["stat", "--format=%a %s", path]) == "751 0\n"
    error = failure(alice.post("utils/opn/temp_file", {"folder": f"{place}/nowhere"}), 424)
    assert (error["type"], error["reason"]) == ("PathFailed", "missing")


def test_environment_is_what_a_step_finds(alice: Caller) -> None:
    found = output(alice, "core/opn/environment")
    assert (found["shell"], found["home"], found["hostname"]) == (
        "/bin/bash",
        "/home/alice",
        "login",
    )
    assert found["variables"]["USER"] == "alice"
    assert found["variables"]["SLURM_CONF"] == "/etc/slurm/slurm.conf"
    assert found["modules"] is False

"""The key file when things go wrong: rows that limit nothing, several writers, a full disk, budgets without a price."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import aiohttp
import pytest
from aiohttp.test_utils import make_mocked_request
from typer.testing import CliRunner, Result

from demur.cli.main import app
from demur.errors import InputError
from demur.gateway.clients.keys import Admission, ClientKey, new_key, read_keys, set_limits
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.operator.admin import admit
from demur.gateway.settings import GatewaySettings, ServedModel, read_settings
from demur.runs.steps import start_command
from demur.serving_file import serving_file
from gateways import Running, gateway, save_router

DIGITS = "0123456789abcdef" * 4
FULL_DISK = """
import resource, sys
from demur.gateway.clients.keys import new_key
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
new_key(sys.argv[1], "bob")
"""


def write(file: Path, **changed: object) -> Path:
    """A key file of two rows, the second with these changes."""
    good = {"name": "ann", "sha256": DIGITS}
    file.write_text(json.dumps([good, good | {"name": "bob"} | changed]))
    return file


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"sha256": "\u00e9"}, "must be 64 digits"),
        ({"sha256": DIGITS.upper()}, "must be 64 digits"),
        ({"sha256": DIGITS[:-1]}, "must be 64 digits"),
        ({"sha256": DIGITS + "\n"}, "must be 64 digits"),
        ({"name": ""}, "cannot be printed"),
        ({"name": "  "}, "cannot be printed"),
        ({"name": "a\x1b[2J"}, "cannot be printed"),
        ({"name": "\ud800"}, "cannot be printed"),
        ({"usd": float("nan")}, "usd is nan; give a finite number, at least 0"),
        ({"usd": float("inf")}, "usd is inf; give a finite number"),
        ({"usd": -1}, "usd is -1.0; it must be at least 0"),
        ({"requests_per_minute": -5}, "requests_per_minute is -5; it must be at least 0"),
        ({"requests_per_minute": 10**400}, "requests_per_minute is 1000"),
    ],
)
def test_a_row_that_limits_nothing_is_refused_by_its_number(
    tmp_path: Path, changed: dict[str, object], says: str
) -> None:
    with pytest.raises(InputError, match=says) as raised:
        read_keys(write(tmp_path / "k.json", **changed))
    assert "key 2" in str(raised.value)


@pytest.mark.parametrize("limits", [{"usd": float("nan")}, {"usd": -0.5}, {"requests_per_minute": -1}])
def test_a_key_that_could_not_be_read_again_is_not_made(tmp_path: Path, limits: dict[str, int]) -> None:
    with pytest.raises(InputError, match="at least 0"):
        new_key(tmp_path / "k.json", "ann", **limits)
    with pytest.raises(InputError, match="cannot be printed"):
        new_key(tmp_path / "k.json", "")
    assert not (tmp_path / "k.json").exists()


def test_any_byte_of_a_header_is_only_a_wrong_key() -> None:
    admission = Admission([ClientKey("ann", DIGITS)])
    for secret in ("\udcff", "\u00e9"):  # aiohttp reads bytes that are no UTF-8 as half characters
        with pytest.raises(ApiError, match="401"):
            admission.admit({"Authorization": f"Bearer {secret}"})


def test_keys_made_at_once_are_all_kept(tmp_path: Path) -> None:
    file, together = tmp_path / "k.json", Barrier(8)

    def make(worker: int) -> None:
        together.wait()
        for i in range(5):
            new_key(file, f"k{worker}-{i}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(8)))
    assert {key.name for key in read_keys(file)} == {f"k{worker}-{i}" for worker in range(8) for i in range(5)}


def test_a_full_disk_and_a_loose_mode_lose_no_key(tmp_path: Path) -> None:
    file = tmp_path / "k.json"
    secret = new_key(file, "ann")
    file.chmod(0o644)
    before = file.read_bytes()
    full = subprocess.run(
        [sys.executable, "-c", FULL_DISK, file, str(len(before) + 10)], capture_output=True, text=True, check=False
    )
    assert full.returncode != 0
    assert file.read_bytes() == before
    assert Admission(read_keys(file)).admit({"Authorization": f"Bearer {secret}"}) == "ann"
    new_key(file, "bob")
    assert file.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("*.part"))


UNKNOWN = ServedModel("nobody-knows-its-price", "http://models.example/v1")  # on a private network it would be free


async def test_a_budget_that_could_never_be_spent_is_refused_at_the_start(tmp_path: Path) -> None:
    new_key(tmp_path / "k.json", "ann", usd=0.01)
    with pytest.raises(InputError, match="'ann' has a budget in USD, and the price of 'nobody-knows-its-price'"):
        async with gateway(tmp_path, keys=str(tmp_path / "k.json"), weak=UNKNOWN):
            pass


async def reload(found: Running) -> tuple[int, str]:
    async with found.session.post(f"{found.operator}/admin/reload") as answer:
        return answer.status, await answer.text()


async def test_a_reload_refuses_what_a_start_refuses(tmp_path: Path) -> None:
    file = tmp_path / "k.json"
    secret = new_key(file, "ann")
    good = file.read_text()
    async with gateway(tmp_path, keys=str(file), weak=UNKNOWN, fallback=False) as found:
        for bad in ({"sha256": "\u00e9"}, {"usd": 1.0}):
            file.write_text(json.dumps([json.loads(good)[0] | bad]))
            status, said = await reload(found)
            assert status == 409, said
            async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {secret}"}) as ann:
                assert (await ann.get(f"{found.address}/v1/models")).status == 200
        file.write_text(good)
        assert (await reload(found))[0] == 200


async def test_a_limit_is_changed_and_the_key_stays(tmp_path: Path) -> None:
    """Who has the key need not be given another one; limits that are not named stay, and what was spent counts."""
    file = tmp_path / "k.json"
    secret = new_key(file, "ann", usd=1.0, requests_per_minute=60)
    new_key(file, "bob", usd=3.0)
    bob, headers = read_keys(file)[1], {"Authorization": f"Bearer {secret}"}
    async with gateway(tmp_path, keys=str(file)) as found:
        found.gateway.admission.charge("ann", 1.5)
        assert (await found.ask("How are you?", headers=headers))[0] == 429
        now = set_limits(file, "ann", usd=2.0)
        assert (now.usd, now.requests_per_minute, now.usd_per_day) == (2.0, 60, None)
        assert read_keys(file) == [now, bob]
        assert (await found.ask("How are you?", headers=headers))[0] == 429
        assert (await reload(found))[0] == 200
        assert (await found.ask("How are you?", headers=headers))[0] == 200


def test_limits_that_cannot_be_set_change_nothing(tmp_path: Path) -> None:
    file = tmp_path / "k.json"
    new_key(file, "ann", usd=1.0)
    before = file.read_bytes()
    with pytest.raises(InputError, match=r"usd is -1\.0; it must be at least 0"):
        set_limits(file, "ann", usd=-1.0)
    with pytest.raises(
        InputError, match="no limit of 'ann' is named; give one, such as `demur key set ann --usd 5 --fi"
    ):
        set_limits(file, "ann")
    with pytest.raises(InputError, match="no key is called 'bob'; `demur key list --file "):
        set_limits(file, "bob", usd=1.0)
    with pytest.raises(InputError, match=r"make one with `demur key add NAME --file .*other.json`"):
        set_limits(tmp_path / "away/other.json", "ann", usd=1.0)
    assert not (tmp_path / "away").exists()
    assert file.read_bytes() == before


def test_a_name_that_is_taken_leads_to_the_command_that_changes_its_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(command: str) -> Result:
        return CliRunner().invoke(app, shlex.split(command)[1:], env={"COLUMNS": "400"})

    add = "demur key add 'my team' --usd 0.01 --usd-per-day 1234567.25 --requests-per-minute 5"
    made = run(add)
    taken = run(add)
    assert made.exit_code == 0
    assert taken.exit_code != 0
    (command,) = re.findall(r"`([^`]+)` gives it these limits", str(taken.exception))
    assert command == "demur key set 'my team' --requests-per-minute 5 --usd 0.01 --usd-per-day 1234567.25"
    assert run("demur key set 'my team' --usd 7 --usd-per-day 8 --requests-per-minute 9").exit_code == 0
    assert run(command).exit_code == 0
    (now,) = read_keys("run/keys.json")
    assert (now.requests_per_minute, now.usd, now.usd_per_day) == (5, 0.01, 1234567.25)
    with pytest.raises(InputError, match="choose another name, or `demur key remove 'my team'`"):
        new_key("run/keys.json", "my team")


def test_after_a_new_key_comes_the_whole_command_that_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of `demur status`, with the file of keys; beside a gateway that has the file, its reload."""
    monkeypatch.chdir(tmp_path)
    save_router(tmp_path / "run/router")

    def step_after(command: str) -> str:
        said = CliRunner().invoke(app, command.split(), env={"COLUMNS": "400"})
        assert said.exit_code == 0, said.output
        (found,) = re.findall(r"^next: (.*)$", said.stderr, flags=re.MULTILINE)
        return str(found)

    start = start_command(Path("run"))
    assert step_after("key add ann") == f"{start} --keys run/keys.json"
    assert step_after("key set ann --usd 2") == "demur key spend"
    settings = read_settings(None, router="run/router", keys="run/keys.json")
    assert [key.name for key in read_keys(settings.keys)] == ["ann"]
    serving = (Path("run"), "http://127.0.0.1:8111", lambda: Path("run/router"), 4711)
    with serving_file(*serving):  # it asks for no keys, and must be started again
        assert step_after("key add bob") == f"{start} --keys run/keys.json"
    with serving_file(*serving, port=8222, keys=lambda: "run/keys.json"):
        for command in ("key add eve", "key set eve --usd 2", "key remove eve"):
            assert step_after(command).startswith("kill -HUP 4711")
    assert step_after("key add tom") == f"{start} --port 8222 --keys run/keys.json"


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, bytes]]:
    """What `hmac.compare_digest`, which has no early end, compares; no test can measure the time that it takes."""
    seen: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        seen.append((one, other))
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    return seen


@pytest.mark.parametrize("secret", ["first", "last", "of nobody"])
def test_a_key_is_compared_with_every_known_one_in_constant_time(
    compared: list[tuple[bytes, bytes]], secret: str
) -> None:
    """Whether the first fits, the last or none: an early end would tell how far a guess came."""
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("first", "second", "last")}
    keys = Admission([ClientKey(name, hashed) for name, hashed in hashes.items()])
    headers = {"Authorization": f"Bearer {secret}"}
    if secret in hashes:
        assert keys.admit(headers) == secret
    else:
        with pytest.raises(ApiError, match="Incorrect API key"):
            keys.admit(headers)
    given = hashlib.sha256(secret.encode()).hexdigest().encode()
    assert compared == [(given, known.encode()) for known in hashes.values()]


@pytest.mark.parametrize("given", ["right", "wrong"])
def test_the_operators_key_is_compared_in_constant_time(
    compared: list[tuple[bytes, bytes]], monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("DEMUR_TEST_ADMIN", "right")
    request = make_mocked_request("GET", "/", headers={"Authorization": f"Bearer {given}"})
    settings = GatewaySettings(admin_key_env="DEMUR_TEST_ADMIN")
    if given == "right":
        admit(settings, request)
    else:
        with pytest.raises(ApiError, match="admin key is wrong"):
            admit(settings, request)
    assert compared == [(given.encode(), b"right")]


def test_keys_are_hashed_at_rest_and_admit_their_holder(tmp_path: Path) -> None:
    secret = new_key(tmp_path / "keys.json", "ann", requests_per_minute=2)
    assert secret not in (tmp_path / "keys.json").read_text()
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0
    admission = Admission(read_keys(tmp_path / "keys.json"))
    assert admission.admit({"Authorization": f"Bearer {secret}"}) == "ann"
    for wrong in ("", "Bearer x", f"Bearer {secret}x"):
        with pytest.raises(ApiError) as raised:
            admission.admit({"Authorization": wrong})
        assert (raised.value.status, raised.value.code) == (401, "invalid_api_key")
        assert raised.value.message.startswith("Incorrect API key provided. Ask whoever runs this gateway for a key")
    admission.admit({"Authorization": f"Bearer {secret}"})
    with pytest.raises(ApiError) as raised:
        admission.admit({"Authorization": f"Bearer {secret}"})
    assert raised.value.status == 429
    assert raised.value.message.startswith("Rate limit reached for this key: 2 requests per minute. Whoever runs")
    assert raised.value.retry_after
    with pytest.raises(InputError, match="a key is called 'ann' already"):
        new_key(tmp_path / "keys.json", "ann")


def test_a_spent_budget_ends_a_key() -> None:
    import hashlib

    admission = Admission([ClientKey("bob", hashlib.sha256(b"s").hexdigest(), usd=0.01)])
    admission.charge("bob", 0.009)
    assert admission.admit({"Authorization": "Bearer s"}) == "bob"
    admission.charge("bob", 0.002)
    with pytest.raises(ApiError) as raised:
        admission.admit({"Authorization": "Bearer s"})
    assert raised.value.code == "insufficient_quota"
    assert Admission(None).admit({}) == ""

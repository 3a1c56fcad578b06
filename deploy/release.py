"""What a release must show, from a clean checkout: `python deploy/release.py [--quick] [--demo]`.

It needs requirements/release.txt. With `--demo` uvx and pipx run the whole demo, each in a HOME of its own, and fetch
the models: about ten minutes. It builds sdist and wheel twice and compares their hashes; installs the wheel, with
each extra, into clean environments of every Python that is here; runs it as `uvx` and `pipx run` do; and writes the
bill of materials and the licences into dist/.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from email import message_from_string
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
WHEEL_MB, INSTALL_MB = 20, 250
SMOKE = """import demur
answers, shipped = ["Paris", "It is Paris.", "Lyon"], demur.shipped_entailment()
found = demur.semantic_entropy(answers, question="Capital of France?", entailment=shipped)
print(demur.__version__, round(found.entropy, 4))"""


def run(*command: str | Path, cwd: Path = ROOT, home: Path | None = None) -> str:
    """What a command prints; raises SystemExit with the end of its errors. ``home``: another HOME."""
    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    plain |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")} if home else {}
    done = subprocess.run(
        [str(one) for one in command], cwd=cwd, env=plain, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.returncode}\n{(done.stderr or done.stdout)[-2000:]}")
    return done.stdout.strip()


def built(at: Path) -> dict[str, str]:
    """Build sdist and wheel of a clone of its own; their hashes by name."""
    clone, out = at / "clone", at / "dist"
    run("git", "clone", "--quiet", ROOT, clone)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, clone)
    return {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in sorted(out.iterdir())}


def build() -> Path:
    """The wheel, left in dist/ beside the sdist; both were built twice with the same hash."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        one, two = built(Path(first)), built(Path(second))
        if one != two:
            raise SystemExit(f"not reproducible: {one} against {two}")
        shutil.rmtree(DIST, ignore_errors=True)
        shutil.copytree(Path(first) / "dist", DIST)
    for name, digest in one.items():
        print(f"{name}  sha256 {digest}  {(DIST / name).stat().st_size / 1e6:.1f} MB, built twice alike")
    wheel = next(DIST.glob("*.whl"))
    if wheel.stat().st_size > WHEEL_MB * 1e6:
        raise SystemExit(f"{wheel.name} is larger than {WHEEL_MB} MB")
    return wheel


def interpreter(version: str) -> str:
    """The path of a Python, of this machine or of pyenv; empty without one."""
    pyenv = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python{version}"))
    return str(pyenv[-1]) if pyenv else shutil.which(f"python{version}") or ""


def megabytes(environment: Path) -> tuple[float, float]:
    """Of an environment: all files, and without compiled bytecode."""
    files = [one for one in environment.rglob("*") if one.is_file() and not one.is_symlink()]
    whole = sum(one.stat().st_size for one in files)
    return whole / 1e6, sum(one.stat().st_size for one in files if one.suffix != ".pyc") / 1e6


def try_install(wheel: Path, version: str, extra: str, environment: Path) -> str:
    """Install the wheel into a clean environment and use it; what came of it."""
    found = interpreter(version)
    wanted = f"{wheel}[{extra}]" if extra else str(wheel)
    if not found:  # what can be told without the interpreter: whether every package has a wheel for it
        listed = environment.with_suffix(".in")
        listed.write_text(f"demur{f'[{extra}]' if extra else ''} @ {wheel.as_uri()}\n", encoding="utf-8")
        run("uv", "pip", "compile", "--quiet", "--python-version", version, "--only-binary", ":all:", listed)
        return "no interpreter here; every package has a wheel for it"
    run("uv", "venv", "--quiet", "--python", found, environment)
    python = environment / "bin" / "python"
    run("uv", "pip", "install", "--quiet", "--python", python, wanted)
    said = run(python, "-c", SMOKE)
    run(environment / "bin" / "demur", "docs")
    whole, sources = megabytes(environment)
    if not extra and sources > INSTALL_MB:
        raise SystemExit(f"{sources:.0f} MB; the base installation is to have at most {INSTALL_MB}")
    return f"ok ({said}); {sources:.0f} MB, {whole:.0f} with what was compiled by these two runs"


def try_pip(wheel: Path, environment: Path) -> str:
    """How large the base installation by pip is, without pip itself and what else a new environment holds."""
    run(sys.executable, "-m", "venv", environment)
    begun = megabytes(environment)
    run(environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    whole, sources = (after - before for after, before in zip(megabytes(environment), begun, strict=True))
    return f"{sources:.0f} MB, {whole:.0f} with the bytecode that pip compiles (--no-compile leaves it out)"


def matrix(wheel: Path, extras: Iterator[str], pythons: tuple[str, ...]) -> None:
    """Print a row per Python and extra."""
    names = ["", *extras]
    for version in pythons:
        for extra in names:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    said = try_install(wheel, version, extra, Path(folder) / "env")
                except SystemExit as error:
                    said = f"FAILED {str(error)[-400:]}"
                print(f"{version} {extra or 'base':<9} {said}", flush=True)


def whole_demo(*tool: str | Path) -> None:
    """Run the demo to its end by a tool that installs the wheel for one command, with nothing kept from before."""
    with tempfile.TemporaryDirectory() as home:
        begun = time.monotonic()
        said = run(*tool, "demur", "demo", cwd=Path(home), home=Path(home)).splitlines()
        line = next((one for one in said if one.startswith("At this threshold")), "no headline")
        print(f"{tool[0]}: the demo in {time.monotonic() - begun:.0f} s from an empty HOME: {line}", flush=True)


def bill_of_materials(wheel: Path) -> None:
    """Write dist/sbom.cdx.json and dist/licences.txt: packages of the base installation and its extras, and weights."""
    extras = ",".join(_extras())
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "env"
        run("uv", "venv", "--quiet", "--python", sys.executable, environment)
        run("uv", "pip", "install", "--quiet", "--python", environment / "bin" / "python", f"{wheel}[{extras}]")
        sbom = DIST / "sbom.cdx.json"
        stated = _stated(environment)
        run("cyclonedx-py", "environment", environment / "bin" / "python", "--output-reproducible", "-o", sbom)
    components = json.loads(sbom.read_text(encoding="utf-8"))["components"]
    rows = sorted(
        f"{one['name']} {one.get('version', '')}: {_licence(one) or stated.get(one['name'], 'unknown')}"
        for one in components
    )
    weights = tomllib.loads((ROOT / "src/demur/models/models.toml").read_text(encoding="utf-8"))
    rows += [
        "",
        "Weights (fetched by name, or in the wheel):",
        *(f"{name}: {_weights(one)}" for name, one in weights.items()),
    ]
    (DIST / "licences.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    unknown = [row for row in rows if row.endswith(": unknown")]
    print(f"{len(components)} packages in {sbom.name}; licences unknown: {', '.join(unknown) or 'none'}")


def _licence(component: dict[str, object]) -> str:
    found = component.get("licenses")
    stated = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    names = [
        one.get("expression") or (one.get("license") or {}).get("id") or (one.get("license") or {}).get("name")
        for one in stated
    ]
    short = [str(name).strip().partition("\n")[0][:60] for name in names if name]
    return ", ".join(dict.fromkeys(short))


def _stated(environment: Path) -> dict[str, str]:
    """The header License of each package, for those whose classifiers name none."""
    pages = [one.read_text(encoding="utf-8") for one in environment.rglob("*.dist-info/METADATA")]
    heads = [message_from_string(page) for page in pages]
    return {head["Name"]: str(head["License"]).partition("\n")[0] for head in heads if head["License"]}


def _weights(model: dict[str, object]) -> str:
    files = model["files"]
    assert isinstance(files, list)
    return f"{model.get('licence', 'unknown')}, {sum(one['size'] for one in files):,} bytes"


def _extras() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["optional-dependencies"])


def main() -> None:
    """Do all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Build, and install without extras on this Python.")
    parser.add_argument("--demo", action="store_true", help="Run the whole demo by uvx and by pipx run.")
    given = parser.parse_args()
    quick = given.quick
    wheel = build()
    this = f"{sys.version_info.major}.{sys.version_info.minor}"
    matrix(wheel, iter([] if quick else _extras()), (this,) if quick else PYTHONS)
    print("uvx:", run("uvx", "--python", sys.executable, "--from", wheel, "demur", "demo", "--help").partition("\n")[0])
    if shutil.which("pipx"):
        print("pipx:", run("pipx", "run", "--spec", wheel, "demur", "--version"))
    with tempfile.TemporaryDirectory() as folder:
        print("base by pip:", try_pip(wheel, Path(folder) / "env"))
    if given.demo:
        wanted = f"demur[demo] @ {wheel.as_uri()}"
        whole_demo("uvx", "--python", sys.executable, "--from", wanted)
        whole_demo("pipx", "run", "--python", sys.executable, "--spec", wanted)
    bill_of_materials(wheel)


if __name__ == "__main__":
    main()

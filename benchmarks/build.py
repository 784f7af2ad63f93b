"""What has to be there before anything can be measured: compiled, or installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
BUILD: Final = HERE / "build"
NODE: Final = HERE / "node"
NCHAN_MODULES: Final = ("/usr/lib/nginx/modules/ngx_nchan_module.so",)
PACKAGES: Final = {"cc": "gcc libc6-dev", "nginx": "nginx", "npm": "npm", "taskset": "util-linux"}


def compile_c(name: str, sources: list[Path]) -> Path:
    """The program ``name``, compiled anew when a source is newer."""
    BUILD.mkdir(exist_ok=True)
    target = BUILD / name
    inputs = [*sources, *(HERE / "load").glob("*.h")]
    if not target.exists() or any(each.stat().st_mtime > target.stat().st_mtime for each in inputs):
        # Under another name first: it may be running.
        fresh = BUILD / f"{name}.{os.getpid()}"
        command = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(fresh)]
        subprocess.run([*command, *map(str, sources)], check=True)
        fresh.replace(target)
    return target


def load_generator() -> Path:
    return compile_c("load-generator", sorted((HERE / "load").glob("*.c")))


def broadcaster() -> Path:
    return compile_c("broadcaster", [HERE / "broadcaster.c"])


def find(program: str) -> str | None:
    """Its path; Debian keeps servers where a user's PATH does not look."""
    return shutil.which(program, path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")


def nchan_module() -> Path | None:
    """Debian's nginx module, if it is installed."""
    return next((Path(path) for path in NCHAN_MODULES if Path(path).exists()), None)


def install_debian() -> None:
    """By apt-get where that is possible. Raises ``SystemExit`` with the line to say otherwise."""
    wanted = [package for tool, package in PACKAGES.items() if not find(tool)]
    if nchan_module() is None:
        wanted.append("libnginx-mod-nchan")
    if not wanted:
        return
    packages = " ".join(wanted).split()
    if os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["-y", "install", "--no-install-recommends", *packages]):
            subprocess.run(["apt-get", "-qq", *command], env=environment, check=True)
    else:
        raise SystemExit(f"First: apt-get install {' '.join(packages)}")


def postgres_answers() -> bool:
    """Whether there is a server where the benchmark's site would look for one."""
    address = (os.environ.get("PGHOST", "127.0.0.1"), int(os.environ.get("PGPORT", "5432")))
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


def install_node() -> None:
    """The npm packages that the lock file names."""
    lock = NODE / "package-lock.json"
    done = NODE / "node_modules" / ".package-lock.json"
    if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
        command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=NODE, check=True)
        done.touch()

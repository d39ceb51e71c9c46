"""The fault proxy (`tests/faults`) as a child process: a way to the server that fails as often as it was told."""

import asyncio
import json
import os
from pathlib import Path
from types import TracebackType

from server import DEADLINE, Address


class Faults:
    """Cuts, delays and silences what passes, `count` times; then all goes well."""

    def __init__(self, upstream: Address, count: int, seed: int) -> None:
        self._binary = Path(os.environ["FAULTS_BIN"]).resolve()
        where = f"{upstream.host}:{upstream.port}"
        self._arguments = ["--upstream", where, "--faults", str(count), "--seed", str(seed)]
        self.kinds: dict[str, int] = {}
        self.done = asyncio.Event()

    async def __aenter__(self) -> "Faults":
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(self._binary, *self._arguments, stdin=pipe, stdout=pipe)
        line = await asyncio.wait_for(self._line(), DEADLINE)
        assert line.startswith("listening on "), line
        self.url = f"http://{line.removeprefix('listening on ').strip()}"
        self._listening = asyncio.create_task(self._listen())
        return self

    async def _line(self) -> str:
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode()

    async def _listen(self) -> None:
        while line := await self._line():
            said = json.loads(line)
            if "done" in said:
                self.done.set()
            else:
                self.kinds[said["kind"]] = self.kinds.get(said["kind"], 0) + 1

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._listening

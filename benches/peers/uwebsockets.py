"""A broadcast server on uWebSockets: what a client sends goes to all, through its own native publish.

uWebSockets itself is in no package index; the PyPI package socketify carries its native library. Python sees each
message that is published once; the fan-out is uWebSockets'. `uwebsockets.py PORT`
"""

import sys
from typing import Any

from socketify import App, AppListenOptions, CompressOptions, OpCode

ALL = "all"


def join(socket: Any) -> None:
    socket.subscribe(ALL)


def main() -> None:
    app = App()

    def broadcast(_: Any, message: str, __: OpCode) -> None:
        app.publish(ALL, message, OpCode.TEXT)

    app.ws(
        "/*",
        {
            "compression": CompressOptions.DISABLED,
            "idle_timeout": 0,
            "max_backpressure": 64 * 1024 * 1024,
            "open": join,
            "message": broadcast,
        },
    )
    app.listen(AppListenOptions(port=int(sys.argv[1]), host="127.0.0.1"), lambda _: None)
    app.run()


main()

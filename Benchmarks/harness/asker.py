# SPDX-License-Identifier: Apache-2.0
"""How long an agent takes to answer: `python3 asker.py SOCKET`, until the end of standard input.

A process of its own with real-time priority, if it may have that: what is measured is the agent's time, and not how long
the one that measures has to wait for a CPU. Prints a JSON object.
"""

import json
import os
import select
import socket
import sys
import time

INTERVAL = 0.25


def ask(path, request=b'{"command":"status"}'):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(path)
        client.sendall(request + b"\n")
        answer = bytearray()
        while not answer.endswith(b"\n"):
            chunk = client.recv(1 << 16)
            if not chunk:
                raise OSError("the agent closed the connection without an answer")
            answer += chunk
    return bytes(answer)


def main(path):
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        os.nice(-10)
    answers = []
    running = 0
    while not select.select([0], [], [], INTERVAL)[0]:
        begin = time.monotonic()
        answer = ask(path)
        answers.append(time.monotonic() - begin)
        running = max(running, json.loads(answer)["counts"]["running"])
    print(json.dumps({"seconds": answers, "running": running}))


if __name__ == "__main__":
    main(sys.argv[1])

"""A CY-LLM worker on grpcio (C-core): a Unix socket, ten threads, messages of up to 100 MiB.

`worker.py SOCKET_PATH`. What a stream does is told by its prompt, a JSON object:
tokens, gap_ms, chunk (bytes of each token), end (false: no end_of_stream), code, details, headers, trailers,
hang (true: waits after its tokens until it is cancelled), gate (true: before anything it sleeps, and does not hear of a
cancel, until a line comes on standard input). What happens is told in JSON lines on standard output.

`worker.py SOCKET_PATH [THREADS [GRACE_SECONDS [CHANNEL_ARG=NUMBER ...]]]`: on SIGTERM it stops with that grace.
"""

import concurrent.futures
import hashlib
import json
import os
import signal
import sys
import threading
import time

import grpc

import wire

_said = threading.Lock()
_gate = threading.Event()


def say(event, **more):
    with _said:
        sys.stdout.write(json.dumps({"event": event, **more}) + "\n")
        sys.stdout.flush()


def pairs(items):
    return [(k, bytes.fromhex(v) if k.endswith("-bin") else v) for k, v in items]


def predict(requests, context):
    metadata = {k: v.hex() if isinstance(v, bytes) else v for k, v in context.invocation_metadata()}
    first = next(requests, None)
    if first is None:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Empty request stream")
    prompt = dict(wire.fields(first)).get(2, b"{}").decode()
    plan = json.loads(prompt.split("\n", 1)[0])
    mark = plan.get("mark", "")
    gone = threading.Event()
    finished = threading.Event()

    # Said here and not below: grpcio drops a generator whose call is cancelled while a message of it is being sent.
    def ended():
        gone.set()
        if not finished.is_set() and not plan.get("quiet"):
            say("cancelled", mark=mark, at=time.monotonic())

    context.add_callback(ended)
    if not plan.get("quiet"):
        say(
            "call",
            mark=mark,
            metadata=metadata,
            remaining=context.time_remaining(),
            sha=hashlib.sha256(first).hexdigest(),
        )
    if plan.get("headers"):
        context.send_initial_metadata(pairs(plan["headers"]))
    if plan.get("gate"):
        _gate.wait()
    chunk = "x" * plan.get("chunk", 0)
    gap = plan.get("gap_ms", 0) / 1000
    count = plan.get("tokens", 0)
    for index in range(count):
        if gap and gone.wait(gap):
            break
        yield wire.token(index, chunk or f"token {index} ")
    if plan.get("hang"):
        gone.wait(60)
    if gone.is_set():
        return
    finished.set()
    if plan.get("end", True):
        yield wire.token(count, "", end=True)
    if plan.get("trailers"):
        context.set_trailing_metadata(pairs(plan["trailers"]))
    if plan.get("code"):
        context.set_code(next(c for c in grpc.StatusCode if c.value[0] == plan["code"]))
        context.set_details(plan.get("details", ""))


def health(_, context):
    return wire.number(1, 1) + wire.text(2, wire.text(1, "backend") + wire.text(2, "grpcio"))


def control(message, context):
    command = dict(wire.fields(message)).get(2, b"").decode()
    return wire.text(2, command + "_response") + wire.text(3, wire.text(1, "status") + wire.text(2, "ok"))


def main(path, threads="10", grace="0", *channel_args):
    handlers = grpc.method_handlers_generic_handler(
        "cy.llm.AiInference",
        {
            "StreamPredict": grpc.stream_stream_rpc_method_handler(predict),
            "Health": grpc.unary_unary_rpc_method_handler(health),
            "Control": grpc.unary_unary_rpc_method_handler(control),
        },
    )
    if os.path.exists(path):
        os.unlink(path)
    server = grpc.server(
        concurrent.futures.ThreadPoolExecutor(max_workers=int(threads)),
        options=wire.OPTIONS
        + [
            ("grpc.keepalive_time_ms", 30000),
            ("grpc.keepalive_timeout_ms", 10000),
            ("grpc.keepalive_permit_without_calls", 1),
        ]
        + [(key, int(value)) for key, value in (one.split("=") for one in channel_args)],
    )
    server.add_generic_rpc_handlers((handlers,))
    server.add_insecure_port(f"unix:{path}")
    server.start()
    stopped = threading.Event()

    def stop():
        server.stop(float(grace)).wait()
        stopped.set()

    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=stop).start())
    threading.Thread(target=lambda: sys.stdin.readline() and _gate.set(), daemon=True).start()
    say("listening")
    while not stopped.wait(0.05):
        pass
    # Threads that sleep behind the gate would keep it.
    os._exit(0)


main(*sys.argv[1:])

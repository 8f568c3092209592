"""A gateway on grpcio (C-core): `gateway.py ADDRESS JOB`, the job a JSON object. Tells the outcome as one JSON object.

op "streams": runs `calls` at the same time on one channel. Each has a `plan` for the worker and may have `metadata`,
`deadline` (seconds), `read_ms` (pause after each message), `cancel_after` (messages), `late_half_close`, `pad` (bytes
added to the request), `after` (the index of a call that has to end first). With `service_config` (JSON) the channel does
what it says.
op "churn": `gateways` channels, each of which makes one stream after the other for `seconds`; tells how many ended OK, and
every other end.
op "storm": `innocents` paced streams of `seconds`, and beside them on the same channel `rate` streams a second that are
cancelled a moment after they were opened.
"""

import collections
import hashlib
import json
import queue
import random
import sys
import threading
import time

import grpc

import wire


def metadata_of(items):
    return [(k, v.hex() if isinstance(v, bytes) else v) for k, v in items or ()]


def values(items):
    return [(k, bytes.fromhex(v) if k.endswith("-bin") else v) for k, v in items or ()]


def run(method, job):
    request = wire.request(json.dumps(job["plan"]) + "\n" + "p" * job.get("pad", 0))
    outgoing = queue.Queue()
    outgoing.put(request)
    if not job.get("late_half_close"):
        outgoing.put(None)
    call = method(
        iter(outgoing.get, None),
        metadata=values(job.get("metadata")),
        timeout=job.get("deadline"),
    )
    out = {"messages": 0, "tokens": 0, "ended": False, "in_order": True, "sha": hashlib.sha256(request).hexdigest()}
    sizes = 0
    started = time.monotonic()
    try:
        for message in call:
            found = dict(wire.fields(message))
            out["in_order"] = out["in_order"] and found.get(4, 0) == out["messages"]
            out["messages"] += 1
            sizes += len(message)
            if found.get(2):
                out["tokens"] += 1
            if found.get(3):
                out["ended"] = True
                outgoing.put(None)
            if job.get("read_ms"):
                time.sleep(job["read_ms"] / 1000)
            if out["messages"] == job.get("cancel_after"):
                call.cancel()
    except grpc.RpcError:
        pass
    outgoing.put(None)
    out.update(
        bytes=sizes,
        seconds=time.monotonic() - started,
        code=call.code().value[0],
        details=call.details(),
        initial=metadata_of(call.initial_metadata()),
        trailing=metadata_of(call.trailing_metadata()),
    )
    return out


def streams(method, job):
    outcomes = [None] * len(job["calls"])
    ended = [threading.Event() for _ in outcomes]

    def one(i):
        if job["calls"][i].get("after") is not None:
            ended[job["calls"][i]["after"]].wait()
        outcomes[i] = run(method, job["calls"][i])
        ended[i].set()

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(outcomes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def storm(method, job):
    seconds, rate = job["seconds"], job["rate"]
    innocents = []
    paced = {"tokens": int(seconds * 20), "gap_ms": 50, "quiet": True}

    def innocent():
        innocents.append(run(method, {"plan": paced}))

    threads = [threading.Thread(target=innocent) for _ in range(job["innocents"])]
    for thread in threads:
        thread.start()
    codes = collections.Counter()
    request = wire.request(json.dumps({"hang": True, "quiet": True}))
    began = time.monotonic()
    sent = 0
    rng = random.Random(7)
    waiting = collections.deque()
    while time.monotonic() - began < seconds:
        now = time.monotonic()
        if sent < (now - began) * rate:
            call = method(iter([request]))
            call.add_callback(lambda call=call: None)
            waiting.append((now + rng.random() * 0.03, call))
            sent += 1
        while waiting and waiting[0][0] <= now:
            call = waiting.popleft()[1]
            call.cancel()
            codes[call.code().value[0]] += 1
        time.sleep(0.001)
    for _, call in waiting:
        call.cancel()
        codes[call.code().value[0]] += 1
    for thread in threads:
        thread.join()
    return {"innocents": innocents, "cancelled": sent, "codes": codes}


def churn(address, job):
    ok = collections.Counter()
    others = []

    def one(_):
        options = wire.OPTIONS + [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        with grpc.insecure_channel(address, options=options) as channel:
            method = channel.stream_stream(wire.PREDICT)
            until = time.monotonic() + job["seconds"]
            while time.monotonic() < until:
                out = run(method, {"plan": {"tokens": 1, "quiet": True}})
                if out["code"] == 0:
                    ok["ok"] += 1
                else:
                    others.append(out)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(job["gateways"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"ok": ok["ok"], "others": others}


def main(address, job):
    if job["op"] == "churn":
        return print(json.dumps(churn(address, job)))
    options = list(wire.OPTIONS)
    if "service_config" in job:
        options.append(("grpc.service_config", json.dumps(job["service_config"])))
    with grpc.insecure_channel(address, options=options) as channel:
        method = channel.stream_stream(wire.PREDICT)
        print(json.dumps({"streams": streams, "storm": storm}[job["op"]](method, job)))


main(sys.argv[1], json.loads(sys.argv[2]))

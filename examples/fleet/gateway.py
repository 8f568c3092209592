"""A gateway on C-core (python3-grpcio) that balances over the sidecars: `gateway.py TARGET RATE SECONDS`.

Opens RATE streams a second, follows the hint of each refusal (`grpc-retry-pushback-ms`), and tells its account as one line
of JSON.
"""

import collections
import json
import sys
import threading
import time
from concurrent import futures

import grpc

PREDICT = "/cy.llm.AiInference/StreamPredict"
MOST_TRIES = 6


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def text(number, value):
    data = value.encode() if isinstance(value, str) else value
    return varint(number * 8 + 2) + varint(len(data)) + data


REQUEST = text(1, "model-1") + text(2, "a question") + text(6, text(1, "trace") + text(2, "c-core") + text(3, "player"))


def is_token(message):
    """Whether the message has a chunk (field 2): its first fields are the trace id (1) and the chunk."""
    at = 0
    while at < len(message):
        tag = message[at]
        at += 1
        if tag & 7 == 0:
            while message[at] > 0x7F:
                at += 1
            at += 1
            continue
        if tag & 7 == 2:
            size = shift = 0
            while True:
                byte = message[at]
                at += 1
                size |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            if tag >> 3 == 2:
                return size > 0
            at += size
            continue
        at += 8 if tag & 7 == 1 else 4
    return False


class Account:
    def __init__(self):
        self.lock = threading.Lock()
        self.streams = self.ok = self.tokens = self.dropped = self.hinted = self.unhinted = self.gave_up = 0
        self.ends = collections.Counter()
        self.first = []


def attempt(method, account):
    """One try: the seconds to wait before the next one, 0 when it is served, None when no other is wanted."""
    began = time.monotonic()
    tokens = 0
    call = method(iter([REQUEST]), timeout=60, wait_for_ready=True)
    try:
        for message in call:
            if is_token(message):
                if tokens == 0:
                    with account.lock:
                        account.first.append(time.monotonic() - began)
                tokens += 1
    except grpc.RpcError:
        pass
    trailers = dict(call.trailing_metadata() or ())
    code = call.code()
    with account.lock:
        account.tokens += tokens
        if code == grpc.StatusCode.OK:
            account.ok += 1
            return 0
        reason = trailers.get("cy-reason", "own: " + (call.details() or code.name)[:60])
        account.ends[reason] += 1
        # What the sidecar has delivered and this library has not handed on.
        account.dropped += max(0, int(trailers.get("cy-chunks-delivered", tokens)) - tokens)
        hint = trailers.get("grpc-retry-pushback-ms")
        if hint is not None:
            account.hinted += 1
            return int(hint) / 1000
        # A stream that broke in the middle was no refusal: the caller decides. Here it asks again.
        if tokens == 0 and "cy-reason" in trailers:
            account.unhinted += 1
        return 0.5


def stream(method, account):
    for _ in range(MOST_TRIES):
        wait = attempt(method, account)
        if wait == 0:
            return
        time.sleep(wait)
    with account.lock:
        account.gave_up += 1


def main():
    target, rate, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    policy = sys.argv[4] if len(sys.argv) > 4 else "round_robin"
    # The first that the library knows.
    config = {"loadBalancingConfig": [{policy: {}}, {"round_robin": {}}]}
    options = [
        ("grpc.service_config", json.dumps(config)),
        ("grpc.enable_retries", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    channel = grpc.insecure_channel(target, options)
    method = channel.stream_stream(PREDICT)
    account = Account()
    grpc.channel_ready_future(channel).result(30)
    with futures.ThreadPoolExecutor(400) as pool:
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            due = int((time.monotonic() - began) * rate) - account.streams
            for _ in range(due):
                account.streams += 1
                pool.submit(stream, method, account)
            time.sleep(0.005)
    print(
        json.dumps(
            {
                "streams": account.streams,
                "ok": account.ok,
                "tokens": account.tokens,
                "dropped": account.dropped,
                "hinted": account.hinted,
                "unhinted": account.unhinted,
                "gaveUp": account.gave_up,
                "ends": account.ends,
                "firstTokenMillis": [1000 * one for one in account.first],
            }
        )
    )


main()

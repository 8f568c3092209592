"""The few messages of the wire contract that the Python peers speak, without generated code."""

PREDICT = "/cy.llm.AiInference/StreamPredict"
OPTIONS = [
    ("grpc.max_send_message_length", 100 * 1024 * 1024),
    ("grpc.max_receive_message_length", 100 * 1024 * 1024),
]


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


def number(field, value):
    return varint(field * 8) + varint(value)


def fields(message):
    """The fields of a message as a list of (number, value)."""
    at = 0
    out = []

    def read_varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        tag = read_varint()
        kind = tag & 7
        if kind == 0:
            out.append((tag >> 3, read_varint()))
            continue
        size = read_varint() if kind == 2 else 8 if kind == 1 else 4
        out.append((tag >> 3, message[at : at + size]))
        at += size
    return out


def request(prompt):
    """A StreamPredictRequest."""
    metadata = text(1, "trace-1") + text(2, "tenant-1") + text(3, "player-1")
    return text(1, "model-1") + text(2, prompt) + text(6, metadata)


def token(index, chunk, end=False):
    """A StreamPredictResponse."""
    return (
        text(1, "trace-1")
        + (text(2, chunk) if chunk else b"")
        + (number(3, 1) if end else b"")
        + (number(4, index) if index else b"")
    )

"""A peer on python-h2, which checks every frame that it gets.

serve PORT [CERT KEY]   sends back each body
call  PORT COUNT [CA]   COUNT requests on one connection, 20,000 bytes each; prints how many came back whole
"""
import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events


def context_of(side, *files):
    context = ssl.SSLContext(side)
    context.set_alpn_protocols(["h2"])
    if side is ssl.PROTOCOL_TLS_SERVER:
        context.load_cert_chain(*files)
    else:
        context.load_verify_locations(*files)
    return context


def flush(connection, sock, waiting):
    """Sends of each stream what the windows allow."""
    for stream, (body, last) in list(waiting.items()):
        while body:
            size = min(connection.local_flow_control_window(stream), connection.max_outbound_frame_size, len(body))
            if size <= 0:
                break
            connection.send_data(stream, body[:size])
            body = body[size:]
        waiting[stream] = (body, last)
        if not body and last:
            connection.end_stream(stream)
            del waiting[stream]
    sock.sendall(connection.data_to_send())


def serve(port, *files):
    listener = socket.create_server(("127.0.0.1", int(port)))
    context = context_of(ssl.PROTOCOL_TLS_SERVER, *files) if files else None
    while True:
        sock, _ = listener.accept()
        try:
            if context is not None:
                sock = context.wrap_socket(sock, server_side=True)
            serve_one(sock)
        except OSError:
            pass


def serve_one(sock):
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    connection.initiate_connection()
    sock.sendall(connection.data_to_send())
    waiting = {}
    while True:
        data = sock.recv(65536)
        if not data:
            return
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                connection.send_headers(event.stream_id, [(":status", "200"), ("content-type", "text/plain")])
                waiting[event.stream_id] = (b"", False)
            elif isinstance(event, h2.events.DataReceived):
                body, last = waiting[event.stream_id]
                waiting[event.stream_id] = (body + event.data, last)
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                waiting[event.stream_id] = (waiting[event.stream_id][0], True)
        flush(connection, sock, waiting)


def call(port, count, *files):
    sock = socket.create_connection(("localhost", int(port)), timeout=30)
    if files:
        sock = context_of(ssl.PROTOCOL_TLS_CLIENT, *files).wrap_socket(sock, server_hostname="localhost")
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    waiting, sent, got, whole = {}, {}, {}, 0
    for number in range(int(count)):
        stream = connection.get_next_available_stream_id()
        fields = [(":method", "POST"), (":path", "/echo"), (":scheme", "http"), (":authority", "localhost")]
        fields += [("te", "trailers"), ("content-type", "application/grpc")]
        connection.send_headers(stream, fields + [("x-number", str(number)), ("authorization", "secret")])
        # A gRPC message: its prefix, and 20,000 bytes.
        sent[stream] = b"\0" + (20000).to_bytes(4, "big") + bytes([number % 256]) * 20000
        waiting[stream] = (sent[stream], True)
        got[stream] = b""
    flush(connection, sock, waiting)
    open_streams = set(sent)
    while open_streams:
        data = sock.recv(65536)
        if not data:
            break
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                got[event.stream_id] += event.data
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                whole += got[event.stream_id] == sent[event.stream_id]
                open_streams.discard(event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                open_streams.discard(event.stream_id)
        flush(connection, sock, waiting)
    connection.close_connection()
    sock.sendall(connection.data_to_send())
    print(f"{whole} whole")


{"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:])

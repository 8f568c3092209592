"""A C-core peer without messages of its own: bytes as they are.

serve PORT [CERT KEY]        /echo/Stream sends back each message
call  PORT COUNT [CA] [MANY] COUNT streams at once, MANY (20) messages each, CA "" for none; prints how many came back whole, and what became of the others
"""
import sys
import threading
from concurrent import futures

import grpc

same = lambda message: message


class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method != "/echo/Stream":
            return None
        return grpc.stream_stream_rpc_method_handler(lambda messages, context: messages, same, same)


def serve(port, cert=None, key=None):
    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[Echo()])
    if cert is None:
        server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        pair = (open(key, "rb").read(), open(cert, "rb").read())
        server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials([pair]))
    server.start()
    server.wait_for_termination()


def call(port, count, ca="", many=20):
    if ca == "":
        channel = grpc.insecure_channel(f"localhost:{port}")
    else:
        channel = grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(open(ca, "rb").read()))
    whole, others = [], set()

    def one(number):
        sent = [bytes([number % 256]) * (7 * i * i + 1) for i in range(int(many))]
        metadata = (("x-number", str(number)), ("x-data-bin", bytes(range(256))))
        stream = channel.stream_stream("/echo/Stream", same, same)(iter(sent), metadata=metadata, timeout=30)
        try:
            got = list(stream)
        except grpc.RpcError as error:
            others.add(f"{error.code()}: {error.details()}")
            return
        if got == sent and stream.code() == grpc.StatusCode.OK:
            whole.append(number)
        else:
            others.add(f"{len(got)} messages, {stream.code()}")

    threads = [threading.Thread(target=one, args=(number,)) for number in range(int(count))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    channel.close()
    print(f"{len(whole)} whole", *sorted(others), sep=", ")


{"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:])

"""A real unix socket that speaks, or misspeaks, as Cilium's agent."""

import contextlib
import socket
import threading


@contextlib.contextmanager
def agent(path, converse):
    """Serve connections at the path, each by converse(connection, resource) in a thread, until the block ends."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(5)
    ended = threading.Event()

    def serve():
        while True:
            connection, _address = listener.accept()
            if ended.is_set():
                return
            with connection, contextlib.suppress(OSError):
                question = b""
                while b"\r\n\r\n" not in question:
                    question += connection.recv(4096)
                converse(connection, question.split()[1].decode(), ended)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield str(path)
    finally:
        ended.set()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as last, contextlib.suppress(OSError):
            last.connect(str(path))
        thread.join(10)
        listener.close()


def answering(documents):
    """A converse that answers with these texts, by resource; with 404 as the agent, where there is none."""

    def converse(connection, resource, ended):
        if resource not in documents:
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        body = documents[resource].encode()
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )

    return converse


def saying(*pieces, pause=0.0):
    """A converse that says these bytes, with pauses in between, and hangs up."""

    def converse(connection, resource, ended):
        for piece in pieces:
            connection.sendall(piece)
            ended.wait(pause)

    return converse


def hanging(*pieces):
    """A converse that says these bytes and then neither speaks nor hangs up."""

    def converse(connection, resource, ended):
        for piece in pieces:
            connection.sendall(piece)
        ended.wait(60)

    return converse

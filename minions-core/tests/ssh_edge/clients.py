"""Clients of others against the gateway: clients.py CHECK PORT KEY KNOWN_HOSTS. Says nothing where all is well."""

import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
import fcntl

HOST, LIMIT = "127.0.0.1", 15


def ssh(*words):
    return [
        "ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
        "-o", f"UserKnownHostsFile={KNOWN}", "-o", "StrictHostKeyChecking=yes", "-o", "LogLevel=ERROR",
        "-i", KEY, "-p", str(PORT), *words,
    ]


def until(read, wanted):
    """Reads until a pattern has come."""
    seen, end = b"", time.monotonic() + LIMIT
    while time.monotonic() < end:
        found = re.search(wanted, seen)
        if found:
            return found
        piece = read()
        if piece is None:
            continue
        assert piece, f"it ended, and no {wanted} in {seen}"
        seen += piece
    raise AssertionError(f"no {wanted} in {seen}")


def http(send, recv):
    send(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    answer = b""
    while True:
        piece = recv(65536)
        if not piece:
            break
        answer += piece
    assert answer.startswith(b"HTTP/1.1 200") and b"hello from web" in answer, answer


def check_paramiko():
    import paramiko

    client = paramiko.SSHClient()
    client.load_host_keys(KNOWN)
    key = paramiko.Ed25519Key.from_private_key_file(KEY)
    client.connect(HOST, PORT, "web", pkey=key, look_for_keys=False, allow_agent=False, timeout=LIMIT)
    _, out, err = client.exec_command("cat; echo told >&2; exit 3", timeout=LIMIT)
    out.channel.sendall(b"sent\n" * 10000)
    out.channel.shutdown_write()
    assert out.read() == b"sent\n" * 10000 and err.read() == b"told\n"
    assert out.channel.recv_exit_status() == 3
    forward = client.get_transport().open_channel("direct-tcpip", ("localhost", 80), (HOST, 1))
    http(forward.sendall, forward.recv)
    shell = client.invoke_shell(term="xterm", width=91, height=27)
    shell.settimeout(LIMIT)
    shell.send(b"stty size\n")
    until(lambda: shell.recv(4096), rb"27 91")
    shell.resize_pty(width=77, height=33)
    shell.send(b"stty size\n")
    until(lambda: shell.recv(4096), rb"33 77")
    shell.close()
    sftp(client)
    client.close()


def sftp(client):
    files = client.open_sftp()
    with files.open("/root/paramiko", "wb") as file:
        file.write(b"x" * 100_000)
    with files.open("/root/paramiko", "rb") as file:
        assert file.read() == b"x" * 100_000
    assert files.stat("/root/paramiko").st_size == 100_000
    assert "paramiko" in files.listdir("/root")
    files.rename("/root/paramiko", "/root/renamed")
    files.remove("/root/renamed")
    assert "renamed" not in files.listdir("/root")


def check_asyncssh():
    import asyncio

    import asyncssh

    async def run():
        options = dict(known_hosts=KNOWN, client_keys=[KEY], config=None, agent_path=None)
        async with asyncssh.connect(HOST, PORT, username="web", **options) as connection:
            runs = [connection.run(f"echo {number}; exit {number}") for number in range(10)]
            for number, ended in enumerate(await asyncio.gather(*runs)):
                assert (ended.stdout, ended.exit_status) == (f"{number}\n", number), ended
            listener = await connection.forward_local_port(HOST, 0, "localhost", 80)
            reader, writer = await asyncio.open_connection(HOST, listener.get_port())
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert b"hello from web" in await reader.read()
            async with connection.start_sftp_client() as files:
                async with files.open("/root/asyncssh", "wb") as file:
                    await file.write(b"y" * 100_000)
                async with files.open("/root/asyncssh", "rb") as file:
                    assert await file.read() == b"y" * 100_000
        async with asyncssh.connect(HOST, PORT, username="minions", **options) as connection:
            ended = await connection.run("whoami")
            assert ended.exit_status == 0 and ended.stdout.strip(), ended

    asyncio.run(asyncio.wait_for(run(), LIMIT))


def check_resize():
    """OpenSSH in a terminal that changes its size."""
    child, screen = pty.fork()
    if child == 0:
        os.execvp("ssh", ssh("-tt", "-l", "web", HOST))

    def resize(rows, columns):
        fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read():
        ready, _, _ = select.select([screen], [], [], 1)
        return os.read(screen, 4096) if ready else None

    resize(40, 101)
    until(read, rb"[#$] ")
    for rows, columns in [(41, 99), (20, 60)]:
        resize(rows, columns)
        os.kill(child, signal.SIGWINCH)
        end = time.monotonic() + LIMIT
        while True:
            os.write(screen, b"stty size\n")
            if until(read, rb"\n(\d+ \d+)\r?\n").group(1) == f"{rows} {columns}".encode():
                break
            assert time.monotonic() < end, "the size is not known"
    os.write(screen, b"exit 4\n")
    while True:
        try:
            if not os.read(screen, 4096):
                break
        except OSError:
            break
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4


def check_vscode():
    """What VS Code Remote does: a shell with its script on stdin, and then its server's port by the same connection."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        proxy = free.getsockname()[1]
    words = ssh("-v", "-T", "-D", f"{HOST}:{proxy}", "-o", "ConnectTimeout=15", "-l", "web", HOST, "sh")
    words[words.index("LogLevel=ERROR")] = "LogLevel=DEBUG"
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    script = b"""
unset NOT_SET
export VSCODE_AGENT_FOLDER=/root/.vscode-server
if [ ! -d "$VSCODE_AGENT_FOLDER" ]; then mkdir -p "$VSCODE_AGENT_FOLDER"; fi
echo "begun: $(uname -s) $(uname -m)"
echo 'echo from a file' > /root/.vscode-server/install.sh
sh /root/.vscode-server/install.sh
echo "listeningOn==80=="
"""
    child.stdin.write(script)
    child.stdin.flush()

    def read():
        ready, _, _ = select.select([child.stdout], [], [], 1)
        return os.read(child.stdout.fileno(), 4096) if ready else None

    port = int(until(read, rb"listeningOn==(\d+)==").group(1))
    for _ in range(3):
        with socket.create_connection((HOST, proxy), timeout=LIMIT) as stream:
            stream.sendall(b"\x05\x01\x00")
            assert stream.recv(2) == b"\x05\x00"
            stream.sendall(b"\x05\x01\x00\x03" + bytes([9]) + b"localhost" + struct.pack("!H", port))
            assert stream.recv(10)[1] == 0
            http(stream.sendall, stream.recv)
    child.stdin.close()
    assert child.wait(LIMIT) == 0


CHECK, PORT, KEY, KNOWN = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
{"paramiko": check_paramiko, "asyncssh": check_asyncssh, "resize": check_resize, "vscode": check_vscode}[CHECK]()

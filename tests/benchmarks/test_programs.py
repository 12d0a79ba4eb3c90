"""A request to stop reaches the program that runs, and reaches it once."""

import os
import signal
import threading
import time

from benchmarks.programs import Programs


def test_a_stop_reaches_the_program_once_and_starts_no_other(tmp_path):
    script = tmp_path / "child.py"
    script.write_text(
        "import pathlib, signal, time\n"
        f"log = pathlib.Path({str(tmp_path / 'log')!r})\n"
        "def stop(*_):\n    log.open('a').write('stop ')\n"
        "signal.signal(signal.SIGTERM, stop)\nsignal.signal(signal.SIGINT, stop)\n"
        "log.write_text('ready ')\n"
        "end = time.time() + 20\n"
        "while 'stop' not in log.read_text() and time.time() < end:\n    time.sleep(0.02)\n"
        "time.sleep(0.5)\nraise SystemExit(130)\n"
    )

    def interrupt():
        # Twice, as an impatient user does.
        for written in ("ready", "stop"):
            while not (tmp_path / "log").exists() or written not in (tmp_path / "log").read_text():
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with Programs() as programs:
        threading.Thread(target=interrupt).start()
        assert programs.run(script) == 130
        assert programs.stopping
        # Not started.
        assert programs.run(script) == 1
    assert (tmp_path / "log").read_text() == "ready stop "
    assert signal.getsignal(signal.SIGINT) is before

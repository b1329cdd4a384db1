# expect: signals reach nobody outside
import os, signal

for pid in (0, -1, 1, 2, os.getppid()):
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM):
        try:
            os.kill(pid, number)
        except OSError as error:
            print(pid, error.errno)
print("alive", os.getppid())

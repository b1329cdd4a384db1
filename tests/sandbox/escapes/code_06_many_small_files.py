# expect: killed, or refused: files without contents use the kernel's memory
import os

number = 0
while True:
    os.close(os.open(f"/tmp/{number}", os.O_CREAT | os.O_WRONLY))
    number += 1

# expect: no socket but a pair, and the pair reaches nobody else
import ctypes, socket

for family in (1, 2, 10, 16, 17, 40):
    for kind in (1, 2, 3):
        try:
            socket.socket(family, kind)
            print("ESCAPED", family, kind)
        except OSError:
            pass
left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
for address in ("\0ptc_canary_abstract", "/tmp/socket"):
    try:
        left.sendto(b"x", address)
        print("ESCAPED sendto")
    except OSError as error:
        print(error.errno)
try:
    left.sendmsg([b"x"], [], 0, "\0ptc_canary_abstract")
    print("ESCAPED sendmsg")
except OSError as error:
    print(error.errno)

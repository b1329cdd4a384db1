# expect: killed: the 32-bit way into the kernel has other numbers than the filter knows
import ctypes, mmap, platform

if platform.machine() == "x86_64":
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20; int 0x80; ret
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    print("ESCAPED", ctypes.CFUNCTYPE(ctypes.c_int)(address)())

import base64, hashlib, struct
data = (await read_text("poem")).encode()
print(hashlib.sha256(data).hexdigest()[:16], base64.b64encode(data[:9]).decode(), struct.unpack(">H", data[:2]))

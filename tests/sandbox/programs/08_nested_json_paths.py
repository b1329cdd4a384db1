import json
def paths(node, at="$"):
    if isinstance(node, dict):
        for key, value in node.items():
            yield from paths(value, f"{at}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from paths(value, f"{at}[{index}]")
    else:
        yield at, node
for path, value in paths(json.loads(await read_text("json"))):
    print(path, value)

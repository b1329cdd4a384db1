import json, os, pathlib, tempfile
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "sales.json"
    path.write_text(json.dumps(await get_sales("Seoul")))
    print(path.name, len(json.loads(path.read_text())), path.stat().st_size > 1000)
print(os.path.exists(folder))

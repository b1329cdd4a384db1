import csv, io
from collections import defaultdict
teams = defaultdict(list)
for row in csv.DictReader(io.StringIO(await read_text("csv"))):
    teams[row["team"]].append((row["name"], int(row["points"])))
for team, members in sorted(teams.items()):
    print(team, sum(points for _, points in members), [name for name, _ in members])

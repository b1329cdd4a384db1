root = await tree(4)
stack, total, leaves = [root], 0, 0
while stack:
    node = stack.pop()
    total += node["value"]
    leaves += not node["children"]
    stack += node["children"]
print(total, leaves)

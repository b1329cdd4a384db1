from collections import Counter
words = Counter((await read_text("poem")).split())
for word, number in sorted(words.items(), key=lambda pair: (-pair[1], pair[0])):
    print(f"{word:>6} {'#' * number}")

from string import Template, ascii_uppercase
line = Template("$item sold for $amount").substitute((await get_sales("Seoul"))[0])
print(line.title(), ascii_uppercase[:3], line.replace("sold", "went").split(" ", 2))

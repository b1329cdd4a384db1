from abc import ABC, abstractmethod
class Report(ABC):
    def __init__(self, rows):
        self.rows = rows
    @abstractmethod
    def line(self, row): ...
    def text(self):
        return "\n".join(self.line(row) for row in self.rows)
class Short(Report):
    @staticmethod
    def _trim(value):
        return value[2:]
    def line(self, row):
        return f"{self._trim(row['id'])}={row['amount']}"
    @property
    def size(self):
        return len(self.rows)
report = Short((await get_sales("Seoul", 5))[:3])
print(report.text(), report.size)

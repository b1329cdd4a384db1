class BookingError(Exception):
    def __init__(self, account, reason):
        super().__init__(f"{account}: {reason}")
        self.account = account
async def safe_book(account, amount):
    try:
        return await book(account, amount)
    except ValueError as error:
        raise BookingError(account, error) from error
for amount in (3, -1):
    try:
        print((await safe_book("rent", amount))["number"])
    except BookingError as error:
        print(error, error.account, repr(error.__cause__))

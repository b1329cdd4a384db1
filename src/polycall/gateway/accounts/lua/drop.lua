-- ARGV: holder, spent, now, member.  Gives 1 where the lease was given up.  What the ledger reported
-- of its holder is `known`: should that only have slept, it will tell of the same.
local expires = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[4]))
if not expires or expires >= tonumber(ARGV[3]) then return 0 end
redis.call('ZREM', KEYS[2], ARGV[4])
local amount = redis.call('HGET', KEYS[1], 'amount:' .. ARGV[1])
if not amount then return 0 end
local over = string.format('%.0f', tonumber(ARGV[2]) - tonumber(amount))
redis.call('HINCRBY', KEYS[1], 'taken', over)
redis.call('HINCRBY', KEYS[1], 'leased', string.format('%.0f', 0 - tonumber(amount)))
redis.call('HDEL', KEYS[1], 'amount:' .. ARGV[1], 'settled:' .. ARGV[1])
redis.call('HINCRBY', KEYS[1], 'known:' .. ARGV[1], ARGV[2])
return 1
